//! What routes do on a request's way.

use pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use pb::envoy::extensions::filters::http::stateful_session::v3::StatefulSessionPerRoute;

use super::*;

/// The demo with an HTTPRoute `r` for `api`, and more.
fn routed(rules: &str, more: &str) -> Mesh {
    with(&format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r, namespace: shop}}\n\
         spec: {{parentRefs: [{{group: '', kind: Service, name: api}}], rules: [{rules}]}}{more}"
    ))
}

const V1: &str = "backendRefs: [{name: api-v1, port: 80}]";

#[test]
fn headers_are_set_added_and_removed() {
    let edits = "{set: [{name: a, value: '100%'}], add: [{name: b, value: ''}], remove: [c]}";
    let request = format!("{{type: RequestHeaderModifier, requestHeaderModifier: {edits}}}");
    let response = format!("{{type: ResponseHeaderModifier, responseHeaderModifier: {edits}}}");
    insta::assert_snapshot!(routes(&routed(&format!("{{filters: [{request}, {response}], {V1}}}"), ""), "shop/api:80"), @r"
    r/0: /* -> shop/api-v1:80 within 0s0ns request [a=100%% b+= -c] response [a=100%% b+= -c]
    unmatched: /* -> 404
    ");
    let host = "{type: URLRewrite, urlRewrite: {hostname: v1.example}}";
    let backends = format!("backendRefs: [{{name: api-v1, port: 80, filters: [{request}, {response}, {host}]}}]");
    insta::assert_snapshot!(routes(&routed(&format!("{{{backends}}}"), ""), "shop/api:80"), @r"
    r/0: /* -> 1 shop/api-v1:80 request [a=100%% b+= -c] response [a=100%% b+= -c] host v1.example within 0s0ns
    unmatched: /* -> 404
    ");
}

#[test]
fn requests_are_redirected_rewritten_and_mirrored() {
    let redirect = "{type: RequestRedirect, requestRedirect: {scheme: https, hostname: a.b, port: 8443, statusCode: 308, \
                    path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}}}";
    let full = "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: '/a\\1'}}}";
    let prefix =
        "{type: URLRewrite, urlRewrite: {hostname: h, path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}}";
    let mirror = |share: &str| {
        format!("{{type: RequestMirror, requestMirror: {{backendRef: {{name: api-v2, port: 80}}, {share}}}}}")
    };
    let gone = mirror("percent: 1").replace("api-v2", "gone");
    let rules = format!(
        "{{name: redirect, filters: [{redirect}]}}, {{name: full, filters: [{full}], {V1}}}, \
         {{name: prefix, filters: [{prefix}], {V1}}}, \
         {{name: mirrors, filters: [{}, {}, {}, {gone}], {V1}}}",
        mirror("percent: 15"),
        mirror("fraction: {numerator: 1, denominator: 1000}"),
        mirror("fraction: {numerator: 1, denominator: 3}"),
    );
    insta::assert_snapshot!(routes(&routed(&rules, ""), "shop/api:80"), @r"
    r/redirect: /* -> PERMANENT_REDIRECT a.b:8443 scheme https prefix /
    r/full: /* -> shop/api-v1:80 within 0s0ns s^/.*$/a\\1
    r/prefix: /* -> shop/api-v1:80 within 0s0ns host h prefix /x
    r/mirrors: /* -> shop/api-v1:80 within 0s0ns mirror 15/100 shop/api-v2:80 mirror 10/10000 shop/api-v2:80 mirror 333333/1000000 shop/api-v2:80
    unmatched: /* -> 404
    ");
}

#[test]
fn faults_and_sessions_are_for_single_routes() {
    let fault = "{type: ExtensionRef, extensionRef: {group: weft.dev, kind: FaultInjection, name: f}}";
    let rule = format!("{{filters: [{fault}], sessionPersistence: {{sessionName: s}}, {V1}}}");
    let injection = "\n---\n{apiVersion: weft.dev/v1alpha1, kind: FaultInjection, metadata: {name: f, namespace: shop}, spec: \
                     {delay: {fixed: 2s, percent: 0.5}, abort: {grpcStatus: UNAVAILABLE}, headers: [{name: x, value: y}]}}";
    let mesh = routed(&rule, injection);
    insta::assert_snapshot!(routes(&mesh, "shop/api:80"), @r"
    r/0: /* -> shop/api-v1:80 within 0s0ns +envoy.filters.http.fault +envoy.filters.http.stateful_session
    unmatched: /* -> 404
    ");
    let resource = found(&mesh, ResourceKind::RouteConfiguration, "shop/api:80").unwrap();
    let configuration: RouteConfiguration = unpack(&resource.any).unwrap();
    let config = &configuration.virtual_hosts[0].routes[0].typed_per_filter_config;
    let fault: HttpFault = unpack(&config["envoy.filters.http.fault"]).unwrap();
    insta::assert_debug_snapshot!((fault.delay, fault.abort, fault.headers.len()), @r#"
    (
        Some(
            FaultDelay {
                percentage: Some(
                    FractionalPercent {
                        numerator: 50,
                        denominator: TenThousand,
                    },
                ),
                fault_delay_secifier: Some(
                    FixedDelay(
                        Duration {
                            seconds: 2,
                            nanos: 0,
                        },
                    ),
                ),
            },
        ),
        Some(
            FaultAbort {
                percentage: Some(
                    FractionalPercent {
                        numerator: 100,
                        denominator: Hundred,
                    },
                ),
                response_body: "",
                error_type: Some(
                    GrpcStatus(
                        14,
                    ),
                ),
            },
        ),
        1,
    )
    "#);
    let session: StatefulSessionPerRoute = unpack(&config["envoy.filters.http.stateful_session"]).unwrap();
    assert!(format!("{session:?}").contains("CookieBasedSessionState"));
    // Without the FaultInjection nobody knows what was meant.
    assert!(routes(&routed(&rule, ""), "shop/api:80").starts_with("r/0: /* -> 500\n"));
    (0..10).for_each(|_| {
        assert_eq!(found(&mesh, ResourceKind::RouteConfiguration, "shop/api:80").unwrap().version, resource.version);
    });
}

#[test]
fn routes_tell_the_manifest_that_they_are_from() {
    let mesh = routed(
        &format!("{{{V1}}}, {{name: n, matches: [{{path: {{value: /a}}}}, {{path: {{value: /b}}}}], {V1}}}"),
        "",
    );
    insta::assert_snapshot!(read::manifests(&mesh, "shop/api:80"), @r"
    r/n: HTTPRoute shop/r rules[1]
    r/n: HTTPRoute shop/r rules[1]
    r/0: HTTPRoute shop/r rules[0]
    unmatched: Service shop/api
    ");
    insta::assert_snapshot!(read::manifests(&mesh, "shop/users:80"), @"default: Service shop/users");
    insta::assert_snapshot!(read::manifests(&demo_split(&[split("api", &[("api-v1", 0, 1)])]), "shop/api:80"), @"split: Split shop/api");
}

#[test]
fn calls_are_matched_by_service_and_method() {
    let grpc = |rules: &str| {
        with(&format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {{name: g, namespace: shop}}\n\
             spec: {{parentRefs: [{{group: '', kind: Service, name: api}}], rules: [{rules}]}}"
        ))
    };
    let rule = |name: &str, method: &str| format!("{{name: {name}, matches: [{{method: {{{method}}}}}], {V1}}}");
    let rules = [
        format!("{{name: any, {V1}}}"),
        rule("regex", "type: RegularExpression, service: 'a.verylong.*', method: 'Get.*'"),
        rule("method", "method: Get"),
        rule("service", "service: a.Users"),
        rule("longer", "service: a.Users.Admin"),
        rule("both", "service: a.Users, method: Get"),
        format!(
            "{{name: header, matches: [{{method: {{service: a.Users, method: Get}}, headers: [{{name: h, value: x}}]}}], {V1}}}"
        ),
    ];
    insta::assert_snapshot!(routes(&grpc(&rules.join(", ")), "shop/api:80"), @r"
    g/longer: /a.Users.Admin/* grpc -> shop/api-v1:80 within 0s0ns
    g/header: =/a.Users/Get h=x grpc -> shop/api-v1:80 within 0s0ns
    g/both: =/a.Users/Get grpc -> shop/api-v1:80 within 0s0ns
    g/service: /a.Users/* grpc -> shop/api-v1:80 within 0s0ns
    g/method: ~/[^/]+/Get grpc -> shop/api-v1:80 within 0s0ns
    g/regex: ~/(?:a.verylong.*)/(?:Get.*) grpc -> shop/api-v1:80 within 0s0ns
    g/any: /* grpc -> shop/api-v1:80 within 0s0ns
    unmatched: /* -> 404
    ");
}

#[test]
fn a_backend_of_another_namespace_needs_a_grant() {
    let bank =
        "\n---\n{apiVersion: v1, kind: Service, metadata: {name: pays, namespace: bank}, spec: {ports: [{port: 80}]}}";
    let rules = "{backendRefs: [{name: pays, namespace: bank, port: 80}, {name: api-v1, port: 80}]}, \
                 {name: alone, backendRefs: [{name: pays, namespace: bank, port: 80}]}";
    insta::assert_snapshot!(routes(&routed(rules, bank), "shop/api:80"), @r"
    r/0: /* -> 1 weft.dev/refused, 1 shop/api-v1:80 within 0s0ns
    r/alone: /* -> 500
    unmatched: /* -> 404
    ");
    let grant = "\n---\n{apiVersion: gateway.networking.k8s.io/v1, kind: ReferenceGrant, metadata: {name: g, namespace: bank}, \
                 spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}], to: [{group: '', kind: Service}]}}";
    insta::assert_snapshot!(routes(&routed(rules, &format!("{bank}{grant}")), "shop/api:80"), @r"
    r/0: /* -> 1 bank/pays:80, 1 shop/api-v1:80 within 0s0ns
    r/alone: /* -> bank/pays:80 within 0s0ns
    unmatched: /* -> 404
    ");
}
