use serde_json::json;

use super::*;

fn verdict_on(object: Value) -> Verdict {
    verdict(&Request { object, ..Request::default() })
}

fn route(spec: Value) -> Value {
    let mut object = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "api", "namespace": "shop"}, "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "api"}]}});
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    object
}

fn policy(spec: Value) -> Value {
    json!({"apiVersion": "weft.dev/v1alpha1", "kind": "TrafficPolicy",
        "metadata": {"name": "api", "namespace": "shop"}, "spec": spec})
}

#[test]
fn good_objects_are_stored_without_a_word() {
    let good = route(json!({"rules": [{"backendRefs": [{"name": "api-v1", "port": 80}]}]}));
    assert_eq!(verdict_on(good), Verdict::ALLOWED);
    assert_eq!(
        verdict_on(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}})),
        Verdict::ALLOWED
    );
}

#[test]
fn what_is_no_route_is_refused_with_its_field() {
    let Verdict::Denied { reason } = verdict_on(route(json!({"rules": [{"matches": 7}]}))) else {
        panic!("not refused")
    };
    assert!(reason.starts_with("spec.rules[0].matches"), "{reason}");
}

#[test]
fn what_others_can_do_is_a_warning() {
    let mut route = route(json!({"rules": [{"filters": [{"type": "CORS", "cors": {}}]}]}));
    let Verdict::Allowed { warnings } = verdict_on(route.clone()) else { panic!("refused") };
    assert!(warnings.iter().any(|warning| warning.contains("CORS")), "{warnings:?}");
    // A route of a Gateway is none of ours.
    route["spec"]["parentRefs"] = json!([{"name": "gateway"}]);
    assert_eq!(verdict_on(route), Verdict::ALLOWED);
}

#[test]
fn anything_wrong_with_our_own_kinds_is_refused() {
    let target = json!([{"group": "", "kind": "Service", "name": "api"}]);
    let wrong = policy(json!({"targetRefs": target, "requests": {"max": -1}}));
    let Verdict::Denied { reason } = verdict_on(wrong.clone()) else { panic!("not refused") };
    assert!(reason.contains("requests"), "{reason}");

    // But what was wrong already, and is not changed, may be labelled or deleted.
    let request = Request { object: wrong.clone(), old_object: wrong.clone(), ..Request::default() };
    assert_eq!(verdict(&request), Verdict::ALLOWED);
    let mut leaving = wrong;
    leaving["metadata"]["deletionTimestamp"] = json!("2026-11-24T00:00:00Z");
    assert_eq!(verdict_on(leaving), Verdict::ALLOWED);
}
