use super::*;

fn pod(ready: &str, ends: bool) -> Pod {
    let mut pod = serde_json::json!({
        "metadata": {"name": "weft-control-0"},
        "status": {"conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": ready}]},
    });
    if ends {
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    }
    serde_json::from_value(pod).unwrap()
}

#[test]
fn a_pod_that_ends_is_not_asked() {
    assert!(is_ready(&pod("True", false)));
    assert!(!is_ready(&pod("False", false)));
    assert!(!is_ready(&pod("True", true)));
    assert!(!is_ready(&Pod::default()));
}
