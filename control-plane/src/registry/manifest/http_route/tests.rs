use std::time::Duration;

use crate::mesh::{
    Forward, HeaderEdits, PathEdit, PathMatch, Redirect, Route, RouteAction, RouteRule, RuleRetry, RuleTimeouts,
    Session, TextMatch,
};
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

fn route(rule: &str) -> Route {
    good(&manifest(&[rule])).routes.values().next().unwrap().as_ref().clone()
}

/// The route as far as it is in force, and what is wrong with it.
fn partial(rule: &str) -> (Option<Route>, String) {
    let (manifests, faults) = read(&manifest(&[rule]));
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    (manifests.routes.values().next().map(|route| route.as_ref().clone()), faults.join("\n"))
}

/// The one rule of a route that is good.
fn rule(text: &str) -> RouteRule {
    route(text).requests()[0].clone()
}

fn forward(text: &str) -> Forward {
    let RouteAction::Forward(forward) = rule(text).action else { panic!("{text}") };
    *forward
}

const TO_V1: &str = "backendRefs: [{name: api-v1, port: 80}]";

#[test]
fn a_rule_has_defaults() {
    let route = route(TO_V1);
    let rule = &route.requests()[0];
    assert_eq!((rule.name.as_ref(), &rule.matches[0].path), ("0", &PathMatch::Prefix("/".into())));
    let RouteAction::Forward(forward) = &rule.action else { panic!("{rule:?}") };
    let backends = &forward.backends;
    assert_eq!(
        (backends[0].service.to_string().as_str(), backends[0].port, backends[0].weight),
        ("shop/api-v1", 80, 1)
    );
    assert_eq!((forward.timeouts, &forward.retry, &forward.session), (RuleTimeouts::default(), &None, &None));
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
    let rule = &route.requests()[0];
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
        ("cookies: [{name: a}]", "spec.rules[0].matches[0].cookies: is no field of the HTTPRoute"),
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
            "mirror: {}, backendRefs: [{name: a, port: 1}]",
            "spec.rules[0].mirror: is no field of the HTTPRoute; the rule",
        ),
        ("backendRefs: [{name: a, port: 1, namespace: B}]", "backendRefs[0].namespace: \"B\" is not the name of a"),
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
        assert_eq!(route.map(|route| route.requests()[0].action.clone()), Some(RouteAction::Refuse), "{rule}");
    }
}

#[test]
fn timeouts_and_retries_are_read_as_they_are_written() {
    let ms = |ms| Some(Duration::from_millis(ms));
    for (timeouts, request, attempt) in [
        ("{}", None, None),
        ("{request: 1500ms}", ms(1500), None),
        ("{backendRequest: 1s}", None, ms(1000)),
        ("{request: 2s, backendRequest: 1s}", ms(2000), ms(1000)),
        ("{request: 0s, backendRequest: 1s}", ms(0), ms(1000)),
        ("{request: 1m30s, backendRequest: 0s}", ms(90_000), ms(0)),
    ] {
        let found = forward(&format!("timeouts: {timeouts}, {TO_V1}")).timeouts;
        assert_eq!(found, RuleTimeouts { request, attempt }, "{timeouts}");
    }
    let found = forward(&format!("retry: {{attempts: 3, codes: [500, 503], backoff: 100ms}}, {TO_V1}")).retry;
    assert_eq!(found, Some(RuleRetry { attempts: Some(3), codes: vec![500, 503], backoff: ms(100) }));
}

#[test]
fn headers_are_edited_for_a_rule_and_for_a_backend() {
    let edits = |key: &str| {
        format!("{key}: {{set: [{{name: X-Set, value: a}}], add: [{{name: x-add, value: 'b, c'}}], remove: [x-gone]}}")
    };
    let expected = HeaderEdits {
        set: vec![("x-set".into(), "a".into())],
        add: vec![("x-add".into(), "b, c".into())],
        remove: vec!["x-gone".into()],
    };
    let request = format!("{{type: RequestHeaderModifier, {}}}", edits("requestHeaderModifier"));
    let response = format!("{{type: ResponseHeaderModifier, {}}}", edits("responseHeaderModifier"));
    let found = rule(&format!("filters: [{request}, {response}], {TO_V1}")).filters;
    assert_eq!((&found.request_headers, &found.response_headers), (&expected, &expected));
    let rewrite = "{type: URLRewrite, urlRewrite: {hostname: v1.example.com}}";
    let found = forward(&format!("backendRefs: [{{name: a, port: 1, filters: [{request}, {response}, {rewrite}]}}]"));
    let backend = &found.backends[0];
    assert_eq!((&backend.request_headers, &backend.response_headers), (&expected, &expected));
    assert_eq!(backend.host.as_deref(), Some("v1.example.com"));
}

#[test]
fn mirrors_have_a_share() {
    let mirrors = |share: &str| {
        let mirror = format!("{{type: RequestMirror, requestMirror: {{backendRef: {{name: m, port: 81}}{share}}}}}");
        forward(&format!("filters: [{mirror}, {mirror}], {TO_V1}")).mirrors
    };
    for (share, expected) in [
        ("", 1_000_000),
        (", percent: 0", 0),
        (", percent: 15", 150_000),
        (", fraction: {numerator: 1}", 10_000),
        (", fraction: {numerator: 1, denominator: 3}", 333_333),
        (", fraction: {numerator: 2000, denominator: 2000}", 1_000_000),
    ] {
        let found = mirrors(share);
        assert_eq!(found.iter().map(|mirror| mirror.per_million).collect::<Vec<_>>(), [expected; 2], "{share}");
        assert_eq!((found[0].service.to_string().as_str(), found[0].port, found[1].filter), ("shop/m", 81, 1));
    }
}

#[test]
fn redirects_and_rewrites_are_read() {
    let redirect =
        |text: &str| match rule(&format!("filters: [{{type: RequestRedirect, requestRedirect: {text}}}]")).action {
            RouteAction::Redirect(redirect) => redirect,
            other => panic!("{other:?}"),
        };
    let none = Redirect { scheme: None, host: None, port: None, path: None, status: 302 };
    assert_eq!(redirect("{}"), none);
    assert_eq!(
        redirect(
            "{scheme: https, hostname: example.org, port: 8443, statusCode: 308, path: {type: ReplaceFullPath, replaceFullPath: /a}}"
        ),
        Redirect {
            scheme: Some("https".into()),
            host: Some("example.org".into()),
            port: Some(8443),
            path: Some(PathEdit::Full("/a".into())),
            status: 308
        }
    );
    let rewrite = |text: &str| {
        let matches = "matches: [{path: {value: /old}}]";
        forward(&format!("{matches}, filters: [{{type: URLRewrite, urlRewrite: {text}}}], {TO_V1}"))
    };
    let found = rewrite("{hostname: a.b, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}");
    assert_eq!((found.host.as_deref(), found.path), (Some("a.b"), Some(PathEdit::Prefix("/new".into()))));
    let found = rewrite("{path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}}");
    assert_eq!(found.path, Some(PathEdit::Prefix("".into())));
}

#[test]
fn sessions_are_cookies_or_headers() {
    for (text, expected) in [
        ("{}", Session::Cookie { name: "weft-session".into(), ttl: None }),
        ("{sessionName: Mine, type: Cookie}", Session::Cookie { name: "Mine".into(), ttl: None }),
        (
            "{absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}",
            Session::Cookie { name: "weft-session".into(), ttl: Some(Duration::from_secs(3600)) },
        ),
        ("{sessionName: X-Mine, type: Header}", Session::Header { name: "x-mine".into() }),
    ] {
        assert_eq!(forward(&format!("sessionPersistence: {text}, {TO_V1}")).session, Some(expected), "{text}");
    }
}

/// A filter that is wrong, and what is said about it.
const BAD_FILTERS: [(&str, &str); 23] = [
    ("type: CORS, cors: {allowOrigins: ['*']}", "filters[0].cors: CORS is not supported; the rule answers 500"),
    ("type: ExternalAuth, externalAuth: {protocol: HTTP}", "filters[0].externalAuth: ExternalAuth is not supported"),
    ("type: RequestMirror", "filters[0].requestMirror: is missing: the type is RequestMirror"),
    ("type: RequestRedirect, requestRedirect: {}, urlRewrite: {}", "filters[0].urlRewrite: is of another type"),
    (
        "type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: 'a b', value: c}]}",
        "requestHeaderModifier.set[0].name: \"a b\" is not the name of a header",
    ),
    (
        "type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: c}]}",
        "requestHeaderModifier.set[0].name: \"Host\" is for the proxy alone",
    ),
    (
        "type: ResponseHeaderModifier, responseHeaderModifier: {remove: [X-Weft-Reason]}",
        "responseHeaderModifier.remove[0]: \"X-Weft-Reason\" is for the proxy",
    ),
    (
        "type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}], remove: [A]}",
        "requestHeaderModifier.remove[0]: \"A\" is changed already",
    ),
    (
        "type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: a, value: \"b\\nc\"}]}",
        "responseHeaderModifier.add[0].value: \"b\\nc\" is no header's value",
    ),
    (
        "type: RequestMirror, requestMirror: {backendRef: {name: m, port: 1}, percent: 101}",
        "requestMirror.percent: 101 of 100 is no share",
    ),
    (
        "type: RequestMirror, requestMirror: {backendRef: {name: m, port: 1}, fraction: {numerator: 1, denominator: 0}}",
        "requestMirror.fraction: 1 of 0 is no share",
    ),
    (
        "type: RequestMirror, requestMirror: {backendRef: {name: m, port: 1}, percent: 1, fraction: {numerator: 1}}",
        "requestMirror.fraction: and percent exclude each other",
    ),
    ("type: RequestMirror, requestMirror: {backendRef: {name: m}}", "requestMirror.backendRef.port: is missing"),
    (
        "type: RequestRedirect, requestRedirect: {scheme: ftp}",
        "requestRedirect.scheme: \"ftp\" is not one of http, https",
    ),
    ("type: RequestRedirect, requestRedirect: {statusCode: 304}", "requestRedirect.statusCode: 304 is not one of"),
    ("type: RequestRedirect, requestRedirect: {port: 70000}", "requestRedirect.port: 70000 is not a port"),
    ("type: RequestRedirect, requestRedirect: {}", "backendRefs: and a RequestRedirect exclude each other"),
    ("type: URLRewrite, urlRewrite: {hostname: 'a:80'}", "urlRewrite.hostname: \"a:80\" is no host name"),
    (
        "type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: a}}",
        "urlRewrite.path.replaceFullPath: \"a\" is no path",
    ),
    (
        "type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replacePrefixMatch: /a}}",
        "urlRewrite.path.replacePrefixMatch: is of another type",
    ),
    (
        "type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /a}}",
        "filters: ReplacePrefixMatch needs matches of type PathPrefix",
    ),
    (
        "type: ExtensionRef, extensionRef: {group: x.io, kind: Y, name: z}",
        "extensionRef.kind: Y of \"x.io\" is not supported",
    ),
    (
        "type: RequestHeaderModifier, requestHeaderModifier: {sets: []}",
        "filters[0].requestHeaderModifier.sets: is no field of the HTTPRoute; the rule answers 500",
    ),
];

#[test]
fn a_filter_that_cannot_be_done_makes_the_rule_answer_500() {
    for (filter, expected) in BAD_FILTERS {
        let exact = "matches: [{path: {type: Exact, value: /a}}]";
        let (route, faults) = partial(&format!("{exact}, filters: [{{{filter}}}], {TO_V1}"));
        assert!(faults.contains(expected), "{filter}: {faults}");
        assert_eq!(route.map(|route| route.requests()[0].action.clone()), Some(RouteAction::Refuse), "{filter}");
    }
    let twice = "{type: RequestHeaderModifier, requestHeaderModifier: {}}";
    let (_, faults) = partial(&format!("filters: [{twice}, {twice}], {TO_V1}"));
    assert!(faults.contains("filters[1].type: RequestHeaderModifier is there twice"), "{faults}");
    let (_, faults) = partial(
        "backendRefs: [{name: a, port: 1, filters: [{type: RequestMirror, requestMirror: {backendRef: {name: m, port: 1}}}]}]",
    );
    assert!(
        faults.contains("backendRefs[0].filters[0].requestMirror: RequestMirror is supported for a whole"),
        "{faults}"
    );
}

#[test]
fn retries_and_sessions_that_cannot_be_done_make_the_rule_answer_500() {
    for (text, expected) in [
        ("retry: {attempts: 11}", "retry.attempts: 11 is out of range: 0 to 10; the rule answers 500"),
        ("retry: {codes: [503, 200]}", "retry.codes[1]: 200 is no status of an error: 400 to 599"),
        ("retry: {backoff: 2h}", "retry.backoff: \"2h\" is out of range"),
        ("sessionPersistence: {idleTimeout: 1m}", "sessionPersistence.idleTimeout: is not supported"),
        (
            "sessionPersistence: {absoluteTimeout: 1m}",
            "sessionPersistence.absoluteTimeout: is supported for cookies of",
        ),
        (
            "sessionPersistence: {cookieConfig: {lifetimeType: Permanent}}",
            "sessionPersistence.absoluteTimeout: is missing",
        ),
        ("sessionPersistence: {type: Header, cookieConfig: {}}", "sessionPersistence.cookieConfig: is for sessions of"),
        ("sessionPersistence: {sessionName: 'a;b'}", "sessionPersistence.sessionName: \"a;b\" is not the name of a"),
    ] {
        let (route, faults) = partial(&format!("{text}, {TO_V1}"));
        assert!(faults.contains(expected), "{text}: {faults}");
        assert_eq!(route.map(|route| route.requests()[0].action.clone()), Some(RouteAction::Refuse), "{text}");
    }
}

#[test]
fn of_several_conditions_on_one_name_the_first_counts() {
    let (route, faults) =
        partial(&format!("matches: [{{headers: [{{name: a, value: b}}, {{name: A, value: c}}]}}], {TO_V1}"));
    assert_eq!(route.unwrap().requests()[0].matches[0].headers, [("a".into(), TextMatch::Exact("b".into()))]);
    assert!(faults.contains("headers[1].name: \"a\" has a condition already"), "{faults}");
}

#[test]
fn parents_are_services_of_any_namespace() {
    let parents = |parents: &str| {
        let text = manifest(&[TO_V1]).replace("[{group: '', kind: Service, name: api}]", parents);
        let (manifests, faults) = read(&text);
        let route = manifests.routes.values().next().unwrap().clone();
        (route.parents.clone(), faults.first().map(ToString::to_string).unwrap_or_default())
    };
    let (found, faults) =
        parents("[{name: gateway}, {group: core, kind: Service, name: api, port: 80, sectionName: http}]");
    assert_eq!((found.len(), faults.as_str()), (1, ""));
    assert_eq!((found[0].port, found[0].section.as_deref()), (Some(80), Some("http")));
    let (found, faults) = parents("[{group: '', kind: Service, name: api, namespace: bank}]");
    assert_eq!((found[0].service.to_string().as_str(), faults.as_str()), ("bank/api", ""));
    let text = manifest(&[TO_V1]).replace("name: api}]", "name: api, namespace: B}]");
    let (manifests, faults) = read(&text);
    assert!(manifests.routes.is_empty());
    assert!(faults[0].to_string().contains("spec.parentRefs[0].namespace: \"B\" is no RFC 1123 label"), "{faults:?}");
}

#[test]
fn what_has_no_effect_is_told() {
    let text = manifest(&[TO_V1]).replace("spec:\n", "spec:\n  hostnames: [a.com]\n  useDefaultGateways: All\n");
    let faults: Vec<_> = read(&text).1.iter().map(ToString::to_string).collect();
    assert!(faults.iter().any(|fault| fault.starts_with("mesh.yaml:7: spec.hostnames: has no meaning")), "{faults:?}");
    assert!(
        faults.iter().any(|fault| fault.starts_with("mesh.yaml:8: spec.useDefaultGateways: has no meaning")),
        "{faults:?}"
    );
}
