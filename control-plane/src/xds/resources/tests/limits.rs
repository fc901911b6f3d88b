//! Rate limits of the inbound listener.

use pb::envoy::extensions::filters::http::{local_ratelimit::v3::LocalRateLimit, ratelimit::v3::RateLimit};
use pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter;

use super::*;

fn limited(limits: &str) -> Mesh {
    with(&format!(
        "apiVersion: weft.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: p, namespace: shop}}\n\
         spec: {{targetRefs: [{{kind: Service, name: api}}], rateLimit: {{{limits}}}}}"
    ))
}

/// The filters' configurations of the first chain of a pod's inbound listener.
fn filters(mesh: &Mesh, pod: &str) -> Vec<Any> {
    let found = resource(mesh, ResourceKind::Listener, "inbound", &node(pod)).unwrap();
    let listener: Listener = unpack(&found.any).unwrap();
    let Some(ConfigType::TypedConfig(config)) = &listener.filter_chains[0].filters[0].config_type else { panic!() };
    let manager: HttpConnectionManager = unpack(config).unwrap();
    let config = |filter: pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter| {
        let Some(http_filter::ConfigType::TypedConfig(config)) = filter.config_type else { panic!() };
        config
    };
    manager.http_filters.into_iter().map(config).collect()
}

#[test]
fn pods_of_the_service_enforce_its_limits() {
    let mesh = limited(
        "local: [{name: a, requests: 1, per: 1s}], global: {service: {name: rl, namespace: infra, port: 1}, domain: d, \
         descriptors: [[{key: k, value: v}]]}",
    );
    insta::assert_snapshot!(listener(&mesh, "inbound", "api-v1"), @r"
    chain :8080 permissive envoy.filters.http.local_ratelimit envoy.filters.http.ratelimit http -> the application
    else permissive a tcp -> inbound
    ");
    insta::assert_snapshot!(listener(&mesh, "inbound", "web"), @r"
    chain :8080 permissive http -> the application
    else permissive tcp -> inbound
    ");
}

#[test]
fn a_local_limit_has_a_descriptor_by_its_name() {
    let mesh = limited(
        "local: [{name: each, requests: 100, per: 1m, burst: 200, by: [{header: x-user}, {peer: true}, {path: true}], \
         match: {path: {value: /a}, method: GET}}]",
    );
    let limit: LocalRateLimit = unpack(&filters(&mesh, "api-v1")[0]).unwrap();
    assert_eq!(limit.stat_prefix, "each");
    insta::assert_debug_snapshot!(limit.descriptors, @r#"
    [
        LocalRateLimitDescriptor {
            entries: [
                Entry {
                    key: "limit",
                    value: "each",
                },
                Entry {
                    key: "header:x-user",
                    value: "",
                },
                Entry {
                    key: "peer",
                    value: "",
                },
                Entry {
                    key: "path",
                    value: "",
                },
            ],
            token_bucket: Some(
                TokenBucket {
                    max_tokens: 200,
                    tokens_per_fill: Some(
                        UInt32Value {
                            value: 100,
                        },
                    ),
                    fill_interval: Some(
                        Duration {
                            seconds: 60,
                            nanos: 0,
                        },
                    ),
                },
            ),
            shadow_mode: false,
        },
    ]
    "#);
    insta::assert_debug_snapshot!(limit.rate_limits[0].actions, @r#"
    [
        Action {
            action_specifier: Some(
                HeaderValueMatch(
                    HeaderValueMatch {
                        descriptor_value: "each",
                        default_value: "",
                        descriptor_key: "limit",
                        expect_match: Some(
                            BoolValue {
                                value: true,
                            },
                        ),
                        headers: [
                            HeaderMatcher {
                                name: ":path",
                                invert_match: false,
                                treat_missing_header_as_empty: false,
                                header_match_specifier: Some(
                                    StringMatch(
                                        StringMatcher {
                                            ignore_case: false,
                                            match_pattern: Some(
                                                SafeRegex(
                                                    RegexMatcher {
                                                        regex: "/a(?:[/?].*)?",
                                                        engine_type: None,
                                                    },
                                                ),
                                            ),
                                        },
                                    ),
                                ),
                            },
                            HeaderMatcher {
                                name: ":method",
                                invert_match: false,
                                treat_missing_header_as_empty: false,
                                header_match_specifier: Some(
                                    StringMatch(
                                        StringMatcher {
                                            ignore_case: false,
                                            match_pattern: Some(
                                                Exact(
                                                    "GET",
                                                ),
                                            ),
                                        },
                                    ),
                                ),
                            },
                        ],
                    },
                ),
            ),
        },
        Action {
            action_specifier: Some(
                RequestHeaders(
                    RequestHeaders {
                        header_name: "x-user",
                        descriptor_key: "header:x-user",
                        skip_if_absent: false,
                    },
                ),
            ),
        },
        Action {
            action_specifier: Some(
                Metadata(
                    MetaData {
                        descriptor_key: "peer",
                        metadata_key: Some(
                            MetadataKey {
                                key: "weft.dev",
                                path: [
                                    PathSegment {
                                        segment: Some(
                                            Key(
                                                "peer",
                                            ),
                                        ),
                                    },
                                ],
                            },
                        ),
                        default_value: "",
                        source: Dynamic,
                        skip_if_absent: false,
                    },
                ),
            ),
        },
        Action {
            action_specifier: Some(
                RequestHeaders(
                    RequestHeaders {
                        header_name: ":path",
                        descriptor_key: "path",
                        skip_if_absent: false,
                    },
                ),
            ),
        },
    ]
    "#);
}

#[test]
fn a_global_limit_asks_a_cluster() {
    let mesh = limited(
        "global: {service: {name: rl, namespace: infra, port: 8081}, domain: shop, failOpen: false, \
         descriptors: [[{key: u, header: x-user}], [{key: p, path: true}, {key: m, method: true}]]}",
    );
    let limit: RateLimit = unpack(&filters(&mesh, "api-v2")[0]).unwrap();
    assert_eq!((limit.domain.as_str(), limit.failure_mode_deny, limit.rate_limits.len()), ("shop", true, 2));
    assert!(format!("{:?}", limit.rate_limit_service).contains("cluster_name: \"infra/rl:8081\""));
}

#[test]
fn a_pod_has_the_zone_of_its_label_or_of_its_slice() {
    let labelled = DEMO.replace("labels: {app: web,", "labels: {app: web, topology.kubernetes.io/zone: z,");
    let zone = |text: &str, pod: &str| {
        let text = listener(&mesh(text), "inbound", pod);
        text.lines().last().unwrap().to_owned()
    };
    assert_eq!(zone(DEMO, "web"), "else permissive tcp -> inbound");
    assert_eq!(zone(&labelled, "web"), "else permissive z tcp -> inbound");
    assert_eq!(zone(DEMO, "api-v2"), "else permissive b tcp -> inbound");
    let on_node = crate::registry::testing::demo_on_nodes("");
    assert_eq!(zone(&on_node, "api-v2"), "else permissive b n2 tcp -> inbound");
    let versions: std::collections::BTreeSet<_> = (0..10)
        .map(|_| resource(&mesh(DEMO), ResourceKind::Listener, "inbound", &node("api-v2")).unwrap().version)
        .collect();
    assert_eq!(versions.len(), 1);
}
