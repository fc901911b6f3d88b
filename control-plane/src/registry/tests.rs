use serde_json::json;

use super::*;

#[test]
fn an_object_is_checked_by_itself() {
    let route = |port: u32| {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "api", "namespace": "shop", "generation": 3},
            "spec": {
                "parentRefs": [{"group": "", "kind": "Service", "name": "api"}],
                "rules": [{"backendRefs": [{"name": "api-v1", "port": port}]}],
            },
        })
    };
    assert_eq!(check(&route(80)), Some(Checked { usable: true, faults: Vec::new() }));
    let checked = check(&route(70_000)).unwrap();
    let fault = &checked.faults[0];
    assert_eq!(fault.field, "spec.rules[0].backendRefs[0].port");
    assert!(fault.to_string().starts_with("HTTPRoute shop/api: spec.rules[0]"), "{fault}");
    let about = ObjectRef { kind: "HTTPRoute", name: ObjectName::new("shop", "api"), generation: 3 };
    assert_eq!(fault.object, Some(about));
}

#[test]
fn what_cannot_be_used_and_what_is_not_read_is_told_apart() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "status": {"podIP": "x"}});
    let checked = check(&pod).unwrap();
    assert_eq!((checked.usable, checked.faults[0].field.as_str()), (false, "status.podIP"));
    assert_eq!(check(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}})), None);
}
