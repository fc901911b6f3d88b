use crate::registry::testing::{DEMO, conflicts};

/// What is wrong with the demo and one manifest more, without the file and the line.
fn found(more: &str) -> Vec<String> {
    let faults = conflicts(&format!("{DEMO}\n---\n{more}"));
    faults.iter().map(|fault| fault.splitn(3, ':').nth(2).unwrap().trim().to_owned()).collect()
}

fn route(kind: &str, name: &str, spec: &str) -> String {
    let metadata = format!("{{name: {name}, namespace: shop}}");
    format!("apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {metadata}\nspec: {{{spec}}}")
}

const API: &str = "parentRefs: [{group: '', kind: Service, name: api}]";
const TO_V1: &str = "rules: [{backendRefs: [{name: api-v1, port: 80}]}]";

#[test]
fn a_mesh_that_fits_together_has_none() {
    assert_eq!(found(&route("HTTPRoute", "r", &format!("{API}, {TO_V1}"))), [""; 0]);
    // A route for all ports need not be for each of them: 3306 speaks no HTTP.
    let users = "parentRefs: [{group: '', kind: Service, name: users}]";
    assert_eq!(found(&route("HTTPRoute", "r", &format!("{users}, {TO_V1}"))), [""; 0]);
    let gateway = "parentRefs: [{name: gateway}], rules: [{backendRefs: [{name: gone, port: 1}]}]";
    assert_eq!(found(&route("HTTPRoute", "r", gateway)), [""; 0]);
}

#[test]
fn faults_have_the_line_of_the_field() {
    let text = format!(
        "{DEMO}\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r, namespace: shop}}\nspec:\n  {API}\n  rules:\n  - backendRefs:\n    - {{name: api-v1, port: 80}}\n    - {{name: gone, port: 80}}\n"
    );
    let line = text.lines().position(|line| line.contains("gone")).unwrap() + 1;
    let expected = format!(
        "mesh.yaml:{line}: spec.rules[0].backendRefs[1]: there is no Service shop/gone; its share is answered 500"
    );
    assert_eq!(conflicts(&text), [expected]);
}

#[test]
fn parents_and_backends_have_to_be_there() {
    for (kind, spec, expected) in [
        (
            "HTTPRoute",
            format!("parentRefs: [{{group: '', kind: Service, name: gone}}], {TO_V1}"),
            "spec.parentRefs[0]: there is no Service shop/gone; the HTTPRoute has no effect there",
        ),
        (
            "HTTPRoute",
            format!("parentRefs: [{{group: '', kind: Service, name: api, port: 81}}], {TO_V1}"),
            "spec.parentRefs[0]: Service shop/api has no such port; the HTTPRoute has no effect there",
        ),
        (
            "GRPCRoute",
            format!("{API}, rules: [{{backendRefs: [{{name: api-v1, port: 81}}]}}]"),
            "spec.rules[0].backendRefs[0]: Service shop/api-v1 has no port 81; its share is answered 500",
        ),
        (
            "HTTPRoute",
            format!("{API}, rules: [{{backendRefs: [{{name: api-v1, namespace: bank, port: 80}}]}}]"),
            "spec.rules[0].backendRefs[0]: Service bank/api-v1 is in another namespace, and no ReferenceGrant in \"bank\" \
             lets HTTPRoutes of \"shop\" name it; its share is answered 500",
        ),
        (
            "HTTPRoute",
            format!(
                "{API}, rules: [{{filters: [{{type: RequestMirror, requestMirror: {{backendRef: {{name: gone, port: 80}}}}}}], \
                 backendRefs: [{{name: api-v1, port: 80}}]}}]"
            ),
            "spec.rules[0].filters[0]: there is no Service shop/gone; nothing is mirrored there",
        ),
        (
            "HTTPRoute",
            format!(
                "{API}, rules: [{{filters: [{{type: ExtensionRef, extensionRef: {{group: weft.dev, kind: FaultInjection, \
                 name: f}}}}], backendRefs: [{{name: api-v1, port: 80}}]}}]"
            ),
            "spec.rules[0].filters[0]: there is no FaultInjection shop/f; the rule answers 500",
        ),
        (
            "TCPRoute",
            "parentRefs: [{group: '', kind: Service, name: users, port: 3306}], rules: [{backendRefs: [{name: gone, port: 1}]}]"
                .to_owned(),
            "spec.rules[0].backendRefs[0]: there is no Service shop/gone; its share is reset",
        ),
    ] {
        assert_eq!(found(&route(kind, "r", &spec)), [expected], "{spec}");
    }
}

#[test]
fn a_route_where_it_has_no_effect_is_told() {
    let users = |port| format!("parentRefs: [{{group: '', kind: Service, name: users, port: {port}}}], {TO_V1}");
    assert_eq!(
        found(&route("HTTPRoute", "r", &users(3306))),
        ["spec.parentRefs[0]: port 3306 of Service shop/users is declared to speak no HTTP (appProtocol, its name or \
             its number); the HTTPRoute has no effect there"]
    );
    assert_eq!(
        found(&route("TCPRoute", "r", &format!("{API}, {TO_V1}"))),
        ["spec.parentRefs[0]: port 80 of Service shop/api is declared to speak HTTP (appProtocol or its name); the \
             TCPRoute has no effect there"]
    );
    let two = [route("HTTPRoute", "r", &users(80)), route("GRPCRoute", "r", &users(80))].join("\n---\n");
    assert_eq!(
        found(&two),
        [
            "spec.parentRefs[0]: port 80 of Service shop/users has a GRPCRoute, which is more specific; the HTTPRoute has no \
             effect there"
        ]
    );
}

#[test]
fn of_two_routes_for_the_same_connections_the_older_has_them() {
    let tcp = |name| {
        route(
            "TCPRoute",
            name,
            &format!("parentRefs: [{{group: '', kind: Service, name: users, port: 3306}}], {TO_V1}"),
        )
    };
    assert_eq!(
        found(&[tcp("b"), tcp("a")].join("\n---\n")),
        ["spec.parentRefs: TCPRoute shop/a is older and has all connections to port 3306 of Service shop/users"]
    );
    let tls = |name, host: &str| {
        let parent = "parentRefs: [{group: '', kind: Service, name: users, port: 80}]";
        route("TLSRoute", name, &format!("hostnames: [{host}], {parent}, {TO_V1}"))
    };
    assert_eq!(found(&[tls("a", "a.b"), tls("b", "'*.b'")].join("\n---\n")), [""; 0]);
    assert_eq!(
        found(&[tls("a", "a.b"), tls("b", "A.b")].join("\n---\n")),
        ["spec.parentRefs: TLSRoute shop/a is older and has connections for \"a.b\" to port 80 of Service shop/users"]
    );
}

#[test]
fn policies_are_for_targets_that_are_there_and_that_no_older_one_has() {
    let policy = |name: &str, spec: &str| {
        format!(
            "apiVersion: weft.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{{spec}}}"
        )
    };
    let limit = "rateLimit: {local: [{name: l, requests: 1, per: 1s}]}";
    let global =
        "rateLimit: {global: {service: {name: gone, port: 1}, domain: d, descriptors: [[{key: k, value: v}]]}}";
    for (spec, expected) in [
        (
            "targetRefs: [{kind: Service, name: gone}]".to_owned(),
            "spec.targetRefs[0]: there is no Service shop/gone; the policy has no effect there",
        ),
        (
            "targetRefs: [{kind: Service, name: api}, {kind: Service, name: api, sectionName: x}]".to_owned(),
            "spec.targetRefs[1]: Service shop/api has no port of the name \"x\"; the policy has no effect there",
        ),
        (
            format!("targetRefs: [{{kind: Service, name: users, sectionName: mysql}}], {limit}"),
            "spec.targetRefs[0]: Service shop/users speaks no HTTP: the policy's rate limits have no effect there",
        ),
        (
            format!("targetRefs: [{{kind: Service, name: api}}], {global}"),
            "spec.rateLimit.global.service: there is no Service shop/gone with a port 1; requests pass",
        ),
    ] {
        assert_eq!(found(&policy("p", &spec)), [expected], "{spec}");
    }
    let api = "targetRefs: [{kind: Service, name: api}]";
    assert_eq!(
        found(&[policy("b", api), policy("a", api)].join("\n---\n")),
        ["spec.targetRefs[0]: TrafficPolicy shop/a is older and for the same; this one has no effect there"]
    );
}
