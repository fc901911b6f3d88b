use crate::mesh::RouteKind;
use crate::registry::testing::{faults, good};

fn manifest(from: &str, to: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {{name: g, namespace: bank}}\n\
         spec: {{from: [{from}], to: [{to}]}}"
    )
}

const HTTP: &str = "{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}";

#[test]
fn routes_and_services_are_read_and_all_else_is_passed_by() {
    let from = format!(
        "{HTTP}, {{group: gateway.networking.k8s.io, kind: Gateway, namespace: shop}}, {{group: x, kind: HTTPRoute, namespace: y}}"
    );
    let text =
        manifest(&from, "{group: '', kind: Service}, {group: '', kind: Secret}, {group: '', kind: Service, name: a}");
    let manifests = good(&text);
    let grant = manifests.reference_grants.values().next().unwrap();
    assert_eq!(grant.from, [(RouteKind::Http, "shop".into())]);
    assert_eq!(grant.to, [None, Some("a".into())]);
}

#[test]
fn a_grant_that_may_grant_less_is_not_used() {
    for (text, expected) in [
        (
            manifest(&HTTP.replace("shop}", "shop, port: 1}"), "{group: '', kind: Service}"),
            "spec.from[0].port: is no field",
        ),
        (
            manifest(&HTTP.replace("shop", "Shop"), "{group: '', kind: Service}"),
            "spec.from[0].namespace: \"Shop\" is not",
        ),
        (manifest("{group: a, kind: b}", "{group: '', kind: Service}"), "spec.from[0]: missing field"),
    ] {
        let faults = faults(&text);
        assert!(faults[0].contains(expected) && faults[0].ends_with("the object is left out"), "{faults:?}");
    }
}
