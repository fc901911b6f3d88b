use serde_json::json;

use super::*;

fn written(verdict: Verdict) -> Value {
    serde_json::to_value(verdict.answer("u-1".to_owned())).unwrap()
}

#[test]
fn answers_have_the_form_that_the_api_server_reads() {
    assert_eq!(
        written(Verdict::ALLOWED),
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": "u-1", "allowed": true}})
    );
    let denied = written(Verdict::Denied { reason: "spec.x: is wrong".to_owned() });
    assert_eq!(denied["response"]["allowed"], false);
    assert_eq!(denied["response"]["status"], json!({"code": 422, "reason": "Invalid", "message": "spec.x: is wrong"}));
    let patch = json_patch::diff(&json!({}), &json!({"a": 1}));
    let patched = written(Verdict::Patched { patch, warnings: vec!["w".to_owned()] });
    assert_eq!(patched["response"]["patchType"], "JSONPatch");
    let patch = STANDARD.decode(patched["response"]["patch"].as_str().unwrap()).unwrap();
    assert_eq!(String::from_utf8(patch).unwrap(), r#"[{"op":"add","path":"/a","value":1}]"#);
    assert_eq!(patched["response"]["warnings"], json!(["w"]));
}

#[test]
fn warnings_are_few_and_short() {
    let warnings = (0..20).map(|_| "ä".repeat(1000)).collect();
    let warnings = written(Verdict::Allowed { warnings })["response"]["warnings"].as_array().unwrap().clone();
    assert_eq!(warnings.len(), 11);
    assert_eq!(warnings[0].as_str().unwrap().chars().count(), 253);
    assert_eq!(warnings[10], "and 10 more");
}

#[test]
fn requests_are_read_with_objects_as_they_are() {
    let text = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "namespace": "shop", "operation": "CREATE", "dryRun": true, "oldObject": null,
        "object": {"kind": "Pod", "spec": {"new": 1.50}}}});
    let review: Review = serde_json::from_value(text).unwrap();
    assert!(review.request.dry_run && review.request.old_object.is_null());
    assert_eq!(review.request.object["spec"]["new"], 1.5);
}
