use std::time::Duration;

use crate::mesh::{HttpRoute, PathMatch, RouteAction, TextMatch};
use crate::registry::testing::{good, read};

/// An HTTPRoute for the Service `api`, its rules in flow style, one a line from line 9 on.
fn manifest(rules: &[&str]) -> String {
    let rules: String = rules.iter().map(|rule| format!("  - {{{rule}}}\n")).collect();
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: r
  namespace: shop
spec:
  parentRefs: [{{group: '', kind: Service, name: api}}]
  rules:
{rules}"
    )
}

fn route(rule: &str) -> HttpRoute {
    good(&manifest(&[rule])).http_routes.values().next().unwrap().as_ref().clone()
}

/// The route as far as it is in force, and what is wrong with it.
fn partial(rule: &str) -> (Option<HttpRoute>, String) {
    let (manifests, faults) = read(&manifest(&[rule]));
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    (manifests.http_routes.values().next().map(|route| route.as_ref().clone()), faults.join("\n"))
}

const TO_V1: &str = "backendRefs: [{name: api-v1, port: 80}]";

#[test]
fn a_rule_has_defaults() {
    let route = route(TO_V1);
    let rule = &route.rules[0];
    assert_eq!((rule.name.as_ref(), &rule.matches[0].path), ("0", &PathMatch::Prefix("/".into())));
    let RouteAction::Forward { backends, timeout } = &rule.action else { panic!("{rule:?}") };
    assert_eq!(
        (backends[0].service.to_string().as_str(), backends[0].port, backends[0].weight),
        ("shop/api-v1", 80, 1)
    );
    assert_eq!(*timeout, Duration::ZERO);
    assert_eq!(route.created, i64::MAX);
}

#[test]
fn conditions_are_read() {
    let route = route(&format!(
        "name: n, matches: [{{path: {{type: PathPrefix, value: /a/}}, method: GET,
          headers: [{{name: X-A, value: b}}, {{name: x-c, value: 'd.*', type: RegularExpression}}],
          queryParams: [{{name: Q, value: r}}]}}, {{path: {{type: Exact, value: /e}}}},
          {{path: {{type: RegularExpression, value: '/[a-z]+'}}}}], {TO_V1}"
    ));
    let rule = &route.rules[0];
    assert_eq!(rule.name.as_ref(), "n");
    let first = &rule.matches[0];
    assert_eq!((&first.path, first.method.as_deref()), (&PathMatch::Prefix("/a".into()), Some("GET")));
    assert_eq!(
        first.headers,
        [("x-a".into(), TextMatch::Exact("b".into())), ("x-c".into(), TextMatch::Regex("d.*".into()))]
    );
    assert_eq!(first.query, [("Q".into(), TextMatch::Exact("r".into()))]);
    assert_eq!(rule.matches[1].path, PathMatch::Exact("/e".into()));
    assert_eq!(rule.matches[2].path, PathMatch::Regex("/[a-z]+".into()));
}

#[test]
fn a_condition_that_is_not_understood_leaves_the_route_out() {
    for (condition, expected) in [
        ("path: {type: RegularExpression, value: 'a('}", "matches[0].path.value: \"a(\" is not a regular expression"),
        (
            "path: {type: RegularExpression, value: '(?=a)'}",
            "matches[0].path.value: \"(?=a)\" is not a regular expression",
        ),
        ("path: {type: RegularExpression, value: '(a{1000}){1000}'}", "is not a regular expression of linear time"),
        ("path: {value: a}", "matches[0].path.value: \"a\" is not a path"),
        ("path: {value: /a//b}", "matches[0].path.value: \"/a//b\" has \"//\" in it"),
        ("path: {value: /a/..}", "has \"/..\" in it"),
        ("path: {value: '/a%2Fb'}", "has \"%2F\" in it"),
        ("path: {type: Glob, value: /a}", "matches[0].path.type"),
        ("headers: [{name: 'a b', value: c}]", "matches[0].headers[0].name: \"a b\" is not the name of a header"),
        ("headers: [{name: a, value: '[', type: RegularExpression}]", "matches[0].headers[0].value: \"[\" is not"),
        ("queryParams: [{name: '', value: c}]", "matches[0].queryParams[0].name: is empty"),
        ("cookies: [{name: a}]", "spec.rules[0].matches[0].cookies: is no field of the HTTPRoute's standard channel"),
    ] {
        let (route, faults) = partial(&format!("matches: [{{{condition}}}], {TO_V1}"));
        assert!(faults.contains(expected), "{condition}: {faults}");
        assert!(faults.starts_with("mesh.yaml:9: spec.rules[0]."), "{faults}");
        assert_eq!(route, None, "{condition}");
    }
}

#[test]
fn a_rule_that_asks_for_what_is_not_supported_answers_500() {
    for (rule, expected) in [
        (
            "filters: [{type: RequestMirror, requestMirror: {backendRef: {name: x, port: 1}}}], backendRefs: [{name: a, port: 1}]",
            "spec.rules[0].filters: filters are not supported; the rule answers 500",
        ),
        (
            "retry: {attempts: 3}, backendRefs: [{name: a, port: 1}]",
            "spec.rules[0].retry: is no field of the HTTPRoute's",
        ),
        (
            "backendRefs: [{name: a, port: 1, namespace: b}]",
            "backendRefs[0].namespace: \"b\" is not the HTTPRoute's own",
        ),
        ("backendRefs: [{name: a, port: 1, namespace: b}]", "needs a ReferenceGrant, which is not supported"),
        ("backendRefs: [{name: a, port: 1, kind: Pod}]", "backendRefs[0].kind: Pod of \"\" is not supported"),
        ("backendRefs: [{name: a}]", "backendRefs[0].port: is missing: a Service needs one"),
        ("backendRefs: [{name: a, port: 0}]", "backendRefs[0].port: 0 is not a port"),
        ("backendRefs: [{name: a, port: 1, weight: -1}]", "backendRefs[0].weight: -1 is not a weight"),
        ("backendRefs: [{name: a, port: 1, weight: 1000001}]", "weights are 0 to 1000000; the rule answers 500"),
        ("backendRefs: [{name: a, port: 1, weight: 0}]", "spec.rules[0].backendRefs: no backend has a weight above 0"),
        ("name: none", "spec.rules[0].backendRefs: no backend has a weight above 0"),
        ("backendRefs: [{name: a, port: 1}], timeouts: {request: 1 s}", "timeouts.request: \"1 s\" is no duration"),
        (
            "backendRefs: [{name: a, port: 1}], timeouts: {request: 1s, backendRequest: 2s}",
            "timeouts.backendRequest: 2s is longer than timeouts.request, 1s; the rule answers 500",
        ),
    ] {
        let (route, faults) = partial(rule);
        assert!(faults.contains(expected), "{rule}: {faults}");
        assert_eq!(route.map(|route| route.rules[0].action.clone()), Some(RouteAction::Refuse), "{rule}");
    }
}

#[test]
fn the_shorter_timeout_holds() {
    for (timeouts, expected) in [
        ("{}", 0),
        ("{request: 1500ms}", 1500),
        ("{backendRequest: 1s}", 1000),
        ("{request: 2s, backendRequest: 1s}", 1000),
        ("{request: 0s, backendRequest: 1s}", 1000),
        ("{request: 1m, backendRequest: 0s}", 60_000),
        ("{request: 0s}", 0),
    ] {
        let route = route(&format!("timeouts: {timeouts}, {TO_V1}"));
        let RouteAction::Forward { timeout, .. } = route.rules[0].action else { panic!("{timeouts}") };
        assert_eq!(timeout, Duration::from_millis(expected), "{timeouts}");
    }
}

#[test]
fn of_several_conditions_on_one_name_the_first_counts() {
    let (route, faults) =
        partial(&format!("matches: [{{headers: [{{name: a, value: b}}, {{name: A, value: c}}]}}], {TO_V1}"));
    assert_eq!(route.unwrap().rules[0].matches[0].headers, [("a".into(), TextMatch::Exact("b".into()))]);
    assert!(faults.contains("headers[1].name: \"a\" has a condition already"), "{faults}");
}

#[test]
fn parents_are_services_of_the_same_namespace() {
    let parents = |parents: &str| {
        let text = manifest(&[TO_V1]).replace("[{group: '', kind: Service, name: api}]", parents);
        let (manifests, faults) = read(&text);
        let route = manifests.http_routes.values().next().unwrap().clone();
        (route.parents.clone(), faults.first().map(ToString::to_string).unwrap_or_default())
    };
    let (found, faults) =
        parents("[{name: gateway}, {group: core, kind: Service, name: api, port: 80, sectionName: http}]");
    assert_eq!((found.len(), faults.as_str()), (1, ""));
    assert_eq!((found[0].port, found[0].section.as_deref()), (Some(80), Some("http")));
    let (found, faults) = parents("[{group: '', kind: Service, name: api, namespace: bank}]");
    assert!(found.is_empty());
    assert!(faults.contains("spec.parentRefs[0].namespace: \"bank\" is not the HTTPRoute's own namespace"), "{faults}");
}

#[test]
fn what_has_no_effect_is_told() {
    let text = manifest(&[TO_V1]).replace("spec:\n", "spec:\n  hostnames: [a.com]\n  useDefaultGateways: All\n");
    let faults: Vec<_> = read(&text).1.iter().map(ToString::to_string).collect();
    assert!(faults.iter().any(|fault| fault.starts_with("mesh.yaml:7: spec.hostnames: has no meaning")), "{faults:?}");
    assert!(
        faults.iter().any(|fault| fault.starts_with("mesh.yaml:8: spec.useDefaultGateways: is no field")),
        "{faults:?}"
    );
}
