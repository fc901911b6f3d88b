use crate::mesh::{RouteKind, Rules};
use crate::registry::testing::{good, read};

fn manifest(kind: &str, version: &str, spec: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/{version}
kind: {kind}
metadata: {{name: r, namespace: shop}}
spec: {{parentRefs: [{{group: '', kind: Service, name: db}}], {spec}}}"
    )
}

const TO_DB: &str = "rules: [{backendRefs: [{name: db-1, port: 5432, weight: 9}, {name: db-2, port: 5432}]}]";

#[test]
fn connections_have_names_and_backends() {
    for version in ["v1", "v1alpha2"] {
        let manifests = good(&manifest("TCPRoute", version, TO_DB));
        let ((kind, _), route) = manifests.routes.iter().next().unwrap();
        let Rules::Connections { hostnames, backends: Some(backends) } = &route.rules else { panic!("{route:?}") };
        assert_eq!((*kind, hostnames.len()), (RouteKind::Tcp, 0));
        let shares: Vec<_> = backends.iter().map(|to| (to.service.to_string(), to.port, to.weight)).collect();
        assert_eq!(shares, [("shop/db-1".to_owned(), 5432, 9), ("shop/db-2".to_owned(), 5432, 1)]);
    }
    for version in ["v1", "v1alpha3", "v1alpha2"] {
        let text = manifest("TLSRoute", version, &format!("hostnames: [A.b, '*.c.d', a.b], {TO_DB}"));
        let manifests = good(&text);
        let Rules::Connections { hostnames, .. } = &manifests.routes.values().next().unwrap().rules else { panic!() };
        assert_eq!(hostnames.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["a.b", "*.c.d"]);
    }
}

#[test]
fn names_that_cannot_be_understood_leave_the_route_out() {
    for (spec, expected) in [
        (TO_DB.to_owned(), "spec.hostnames: is empty"),
        (format!("hostnames: [], {TO_DB}"), "spec.hostnames: is empty"),
        (format!("hostnames: ['a.*'], {TO_DB}"), "spec.hostnames[0]: \"a.*\" is no DNS name, with or without \"*.\""),
        (format!("hostnames: [a.b, 10.0.0.1], {TO_DB}"), "spec.hostnames[1]: \"10.0.0.1\" is no DNS name"),
        ("hostnames: [a.b], rules: []".to_owned(), "spec.rules: is empty"),
    ] {
        let (manifests, faults) = read(&manifest("TLSRoute", "v1", &spec));
        assert!(faults[0].to_string().contains(expected), "{spec}: {faults:?}");
        assert!(manifests.routes.is_empty(), "{spec}");
    }
}

#[test]
fn a_rule_that_cannot_be_done_resets_connections() {
    for (rule, expected) in [
        (
            "backendRefs: [{name: a, port: 1, weight: 0}]",
            "backendRefs: no backend has a weight above 0: the connections are",
        ),
        ("backendRefs: []", "backendRefs: no backend has a weight above 0: the connections are reset"),
        ("backendRefs: [{name: a}]", "backendRefs[0].port: is missing: a Service needs one; the connections are reset"),
        (
            "backendRefs: [{name: a, port: 1, filters: []}]",
            "backendRefs[0].filters: is no field of the TCPRoute; the conn",
        ),
        (
            "filters: [], backendRefs: [{name: a, port: 1}]",
            "spec.rules[0].filters: is no field of the TCPRoute; the conn",
        ),
    ] {
        let (manifests, faults) = read(&manifest("TCPRoute", "v1alpha2", &format!("rules: [{{{rule}}}]")));
        assert!(faults[0].to_string().contains(expected), "{rule}: {faults:?}");
        let Rules::Connections { backends, .. } = &manifests.routes.values().next().unwrap().rules else { panic!() };
        assert_eq!(*backends, None, "{rule}");
    }
    let (manifests, faults) = read(&manifest("TCPRoute", "v1alpha2", &TO_DB.replace("]}]", "]}, {backendRefs: []}]")));
    assert!(faults[0].to_string().contains("spec.rules[1]: is never reached"), "{faults:?}");
    let Rules::Connections { backends, .. } = &manifests.routes.values().next().unwrap().rules else { panic!() };
    assert!(backends.is_some());
}
