use crate::mesh::{GrpcMethod, PathMatch, RouteAction, RouteKind, RouteRule, TextMatch};
use crate::registry::testing::{good, read};

fn manifest(rule: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {{name: r, namespace: shop}}
spec:
  parentRefs: [{{group: '', kind: Service, name: api}}]
  rules:
  - {{{rule}}}"
    )
}

const TO_V1: &str = "backendRefs: [{name: api-v1, port: 80}]";

fn rule(text: &str) -> RouteRule {
    let manifests = good(&manifest(text));
    let route = manifests.routes.values().next().unwrap();
    assert_eq!(route.kind, RouteKind::Grpc);
    route.requests()[0].clone()
}

#[test]
fn services_and_methods_are_paths() {
    let exact = |service, method| GrpcMethod { exact: true, service, method };
    for (method, path, written) in [
        ("{service: a.B, method: C}", PathMatch::Exact("/a.B/C".into()), exact(3, 1)),
        ("{service: a.B}", PathMatch::Prefix("/a.B".into()), exact(3, 0)),
        ("{type: Exact, method: C}", PathMatch::Regex("/[^/]+/C".into()), exact(0, 1)),
        (
            "{type: RegularExpression, service: 'a.*', method: 'Get|List'}",
            PathMatch::Regex("/(?:a.*)/(?:Get|List)".into()),
            GrpcMethod { exact: false, service: 3, method: 8 },
        ),
        (
            "{type: RegularExpression, method: 'Get.*'}",
            PathMatch::Regex("/[^/]+/(?:Get.*)".into()),
            GrpcMethod { exact: false, service: 0, method: 5 },
        ),
    ] {
        let found = &rule(&format!("matches: [{{method: {method}}}], {TO_V1}")).matches[0];
        assert_eq!((&found.path, found.grpc), (&path, Some(written)), "{method}");
    }
}

#[test]
fn a_rule_without_conditions_has_every_call() {
    for text in [TO_V1.to_owned(), format!("matches: [{{}}], {TO_V1}")] {
        let rule = rule(&text);
        assert_eq!(rule.matches[0].path, PathMatch::Prefix("/".into()));
        assert_eq!(rule.matches[0].grpc, Some(GrpcMethod::default()));
    }
    let headers = "matches: [{headers: [{name: X-A, value: b}, {name: x-c, value: d, type: RegularExpression}]}]";
    let found = &rule(&format!("{headers}, {TO_V1}")).matches[0];
    assert_eq!(
        found.headers,
        [("x-a".into(), TextMatch::Exact("b".into())), ("x-c".into(), TextMatch::Regex("d".into()))]
    );
}

#[test]
fn filters_and_sessions_are_those_of_an_http_route_without_redirects_and_rewrites() {
    let set = "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}]}}";
    let mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: m, port: 1}}}";
    let rule = rule(&format!("filters: [{set}, {mirror}], sessionPersistence: {{}}, {TO_V1}"));
    assert_eq!(rule.filters.request_headers.set, [("a".into(), "b".into())]);
    let RouteAction::Forward(forward) = rule.action else { panic!() };
    assert_eq!((forward.mirrors.len(), forward.session.is_some()), (1, true));
    for (text, expected) in [
        (
            "filters: [{type: RequestRedirect, requestRedirect: {}}]",
            "spec.rules[0].filters[0].type: RequestRedirect is no filter of a GRPCRoute; the rule answers 500",
        ),
        ("filters: [{type: URLRewrite, urlRewrite: {}}]", "filters[0].type: URLRewrite is no filter of a GRPCRoute"),
        ("timeouts: {request: 1s}", "spec.rules[0].timeouts: is no field of the GRPCRoute; the rule answers 500"),
        ("retry: {}", "spec.rules[0].retry: is no field of the GRPCRoute; the rule answers 500"),
    ] {
        let (manifests, faults) = read(&manifest(&format!("{text}, {TO_V1}")));
        assert!(faults[0].to_string().contains(expected), "{text}: {faults:?}");
        assert_eq!(manifests.routes.values().next().unwrap().requests()[0].action, RouteAction::Refuse);
    }
}

#[test]
fn a_condition_that_is_not_understood_leaves_the_route_out() {
    for (condition, expected) in [
        ("method: {}", "matches[0].method: has neither service nor method; the object is left out"),
        ("method: {service: 'a/b'}", "matches[0].method.service: \"a/b\" is not the name of a gRPC service or method"),
        (
            "method: {type: RegularExpression, method: '('}",
            "matches[0].method.method: \"(\" is not a regular expression",
        ),
        ("method: {type: Prefix, service: a}", "matches[0].method.type"),
        ("path: {value: /a}", "spec.rules[0].matches[0].path: is no field of the GRPCRoute"),
        ("headers: [{name: 'a b', value: c}]", "matches[0].headers[0].name: \"a b\" is not the name of a header"),
    ] {
        let (manifests, faults) = read(&manifest(&format!("matches: [{{{condition}}}], {TO_V1}")));
        assert!(faults[0].to_string().contains(expected), "{condition}: {faults:?}");
        assert!(manifests.routes.is_empty(), "{condition}");
    }
}
