//! What TrafficPolicies say, in clusters and routes.

use super::*;

fn policy(name: &str, spec: &str) -> String {
    format!(
        "\n---\napiVersion: weft.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{targetRefs: [{{kind: Service, name: {name}}}], {spec}}}"
    )
}

fn under(spec: &str) -> Mesh {
    mesh(&format!("{DEMO}{}", policy("api", spec)))
}

fn of(mesh: &Mesh, name: &str) -> Cluster {
    unpack(&found(mesh, ResourceKind::Cluster, name).unwrap().any).unwrap()
}

/// The extension that balances: its name and the type of its configuration.
fn balancer(cluster: &Cluster) -> Option<(String, Any)> {
    let policies = &cluster.load_balancing_policy.as_ref()?.policies;
    let extension = policies[0].typed_extension_config.clone().unwrap();
    Some((extension.name, extension.typed_config.unwrap()))
}

#[test]
fn without_a_policy_a_cluster_says_nothing_of_it() {
    let cluster = of(&mesh(DEMO), "shop/api:80");
    let (kind, eds) = (cluster.cluster_discovery_type.clone(), cluster.eds_cluster_config.clone());
    let bare = Cluster {
        name: "shop/api:80".to_owned(),
        cluster_discovery_type: kind,
        eds_cluster_config: eds,
        ..Cluster::default()
    };
    assert_eq!(cluster, bare);
    // A policy that says nothing shows nevertheless.
    let cluster = of(&under(""), "shop/api:80");
    assert_eq!(xds::metadata_text(cluster.metadata.as_ref(), xds::METADATA_MANIFEST), Some("TrafficPolicy shop/api"));
    assert_eq!(Cluster { metadata: None, ..cluster }, bare);
}

#[test]
fn algorithms_are_extensions() {
    use pb::envoy::extensions::load_balancing_policies::{least_request::v3::LeastRequest, ring_hash::v3::RingHash};

    let found = |spec: &str| balancer(&of(&under(&format!("loadBalancer: {{{spec}}}")), "shop/api:80"));
    let name = |spec: &str| found(spec).map(|(name, _)| name).unwrap_or_default();
    assert_eq!(name("algorithm: PeakEwma"), "");
    assert_eq!(name("algorithm: RoundRobin"), "envoy.load_balancing_policies.round_robin");
    assert_eq!(name("algorithm: LeastRequest"), "envoy.load_balancing_policies.least_request");
    assert_eq!(name("algorithm: Random"), "envoy.load_balancing_policies.random");
    assert_eq!(name("algorithm: Maglev, hashOn: [{source: true}]"), "envoy.load_balancing_policies.maglev");
    let (name, config) = found("slowStart: {window: 30s, aggression: 2}, locality: PreferSameZone").unwrap();
    assert_eq!(name, "weft.load_balancing_policies.peak_ewma");
    insta::assert_debug_snapshot!(unpack::<LeastRequest>(&config).unwrap(), @r#"
    LeastRequest {
        choice_count: None,
        active_request_bias: None,
        slow_start_config: Some(
            SlowStartConfig {
                slow_start_window: Some(
                    Duration {
                        seconds: 30,
                        nanos: 0,
                    },
                ),
                aggression: Some(
                    RuntimeDouble {
                        default_value: 2.0,
                        runtime_key: "weft.slow_start.aggression",
                    },
                ),
                min_weight_percent: Some(
                    Percent {
                        value: 10.0,
                    },
                ),
            },
        ),
        locality_lb_config: Some(
            LocalityLbConfig {
                locality_config_specifier: Some(
                    ZoneAwareLbConfig(
                        ZoneAwareLbConfig {
                            routing_enabled: None,
                            min_cluster_size: None,
                            fail_traffic_on_panic: false,
                            force_locality_direct_routing: false,
                            force_local_zone: None,
                            locality_basis: HealthyHostsNum,
                        },
                    ),
                ),
            },
        ),
        enable_full_scan: None,
        selection_method: NChoices,
    }
    "#);
    let (_, config) =
        found("algorithm: RingHash, hashOn: [{header: x-user}, {cookie: {name: c, ttl: 0s, path: /}}, {source: true}]")
            .unwrap();
    insta::assert_debug_snapshot!(unpack::<RingHash>(&config).unwrap().consistent_hashing_lb_config.unwrap().hash_policy, @r#"
    [
        HashPolicy {
            terminal: true,
            policy_specifier: Some(
                Header(
                    Header {
                        header_name: "x-user",
                        regex_rewrite: None,
                    },
                ),
            ),
        },
        HashPolicy {
            terminal: true,
            policy_specifier: Some(
                Cookie(
                    Cookie {
                        name: "c",
                        ttl: Some(
                            Duration {
                                seconds: 0,
                                nanos: 0,
                            },
                        ),
                        path: "/",
                        attributes: [],
                    },
                ),
            ),
        },
        HashPolicy {
            terminal: true,
            policy_specifier: Some(
                ConnectionProperties(
                    ConnectionProperties {
                        source_ip: true,
                    },
                ),
            ),
        },
    ]
    "#);
    let panic = of(&under("loadBalancer: {panicPercent: 0}"), "shop/api:80").common_lb_config.unwrap();
    assert_eq!(panic.healthy_panic_threshold.unwrap().value, 0.0);
}

#[test]
fn a_service_may_prefer_its_zone_by_itself() {
    let near = DEMO.replace("clusterIP: 10.96.0.10\n", "clusterIP: 10.96.0.10\n  trafficDistribution: PreferClose\n");
    assert_eq!(balancer(&of(&mesh(&near), "shop/api:80")).unwrap().0, "weft.load_balancing_policies.peak_ewma");
    let anywhere = mesh(&format!("{near}{}", policy("api", "loadBalancer: {locality: Anywhere}")));
    assert_eq!(balancer(&of(&anywhere, "shop/api:80")), None);
}

#[test]
fn a_preferred_node_is_told_with_the_endpoints() {
    let near = demo_on_nodes("trafficDistribution: PreferSameNode");
    assert_eq!(balancer(&of(&mesh(&near), "shop/api:80")).unwrap().0, "weft.load_balancing_policies.peak_ewma");
    let sub_zones = |text: &str| {
        let found = found(&mesh(text), ResourceKind::ClusterLoadAssignment, "shop/api:80").unwrap();
        let assignment: ClusterLoadAssignment = unpack(&found.any).unwrap();
        let localities = assignment.endpoints.into_iter().map(|group| group.locality.unwrap());
        localities.map(|at| format!("{}/{}", at.zone, at.sub_zone)).collect::<Vec<_>>()
    };
    assert_eq!(sub_zones(&near), ["a/n1", "b/n2"]);
    assert_eq!(sub_zones(&demo_on_nodes("trafficDistribution: PreferSameZone")), ["a/", "b/"]);
    let written = format!("{near}{}", policy("api", "loadBalancer: {locality: PreferSameZone}"));
    assert_eq!(sub_zones(&written), ["a/", "b/"], "a TrafficPolicy comes first");
    let text = |key| xds::metadata_text(of(&mesh(&near), "shop/api:80").metadata.as_ref(), key).map(str::to_owned);
    assert_eq!(text(xds::METADATA_LOCALITY).as_deref(), Some("PreferSameNode"));
    assert_eq!(text(xds::METADATA_INTERNAL_TRAFFIC), None);
}

#[test]
fn a_service_that_keeps_to_the_clients_node_has_the_endpoints_there_alone() {
    let mesh = mesh(&demo_on_nodes("internalTrafficPolicy: Local"));
    let endpoints = |pod: &str| {
        let found = resource(&mesh, ResourceKind::ClusterLoadAssignment, "shop/api:80", &node(pod)).unwrap();
        let assignment: ClusterLoadAssignment = unpack(&found.any).unwrap();
        let endpoints = assignment.endpoints.into_iter().flat_map(|group| group.lb_endpoints);
        endpoints
            .map(|at| xds::metadata_text(at.metadata.as_ref(), xds::METADATA_POD).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(endpoints("web"), ["api-v1"], "its node has one");
    assert_eq!(endpoints("api-v2"), ["api-v2"], "its slice tells its node");
    assert_eq!(endpoints("users"), [""; 0], "nobody knows its node");
    let text = |key| xds::metadata_text(of(&mesh, "shop/api:80").metadata.as_ref(), key).map(str::to_owned);
    assert_eq!(text(xds::METADATA_INTERNAL_TRAFFIC).as_deref(), Some("Local"));
}

#[test]
#[allow(deprecated, reason = "the field that is sent")]
fn limits_ejection_and_health_checks_are_told() {
    let mesh = under(
        "connections: {max: 1, connectTimeout: 2s, idleTimeout: 3s, maxAge: 4s}, \
         requests: {max: 5, maxPending: 0, maxStreamAge: 6s}, \
         retry: {budget: {percent: 30, minPerSecond: 7, window: 8s}}, \
         outlierDetection: {consecutiveGatewayErrors: 0, successRate: {}}, \
         healthCheck: {http: {path: /h, expectedStatuses: [200, 204]}}",
    );
    let cluster = of(&mesh, "shop/api:80");
    let seconds = |time: Option<pb::google::protobuf::Duration>| time.unwrap().seconds;
    assert_eq!(seconds(cluster.connect_timeout), 2);
    let options = cluster.common_http_protocol_options.unwrap();
    let times = [options.idle_timeout, options.max_connection_duration, options.max_stream_duration].map(seconds);
    assert_eq!(times, [3, 4, 6]);
    insta::assert_debug_snapshot!(cluster.circuit_breakers.unwrap().thresholds, @r"
    [
        Thresholds {
            priority: Default,
            max_connections: Some(
                UInt32Value {
                    value: 1,
                },
            ),
            max_pending_requests: Some(
                UInt32Value {
                    value: 0,
                },
            ),
            max_requests: Some(
                UInt32Value {
                    value: 5,
                },
            ),
            max_retries: None,
            retry_budget: Some(
                RetryBudget {
                    budget_percent: Some(
                        Percent {
                            value: 30.0,
                        },
                    ),
                    budget_interval: Some(
                        Duration {
                            seconds: 8,
                            nanos: 0,
                        },
                    ),
                    min_retry_concurrency: Some(
                        UInt32Value {
                            value: 7,
                        },
                    ),
                },
            ),
            track_remaining: false,
            max_connection_pools: None,
        },
    ]
    ");
    let outlier = cluster.outlier_detection.unwrap();
    let values = [
        &outlier.consecutive_5xx,
        &outlier.enforcing_consecutive_5xx,
        &outlier.consecutive_gateway_failure,
        &outlier.enforcing_consecutive_gateway_failure,
        &outlier.enforcing_success_rate,
        &outlier.success_rate_stdev_factor,
        &outlier.max_ejection_percent,
    ];
    let values = values.map(|value| value.as_ref().map(|value| value.value));
    assert_eq!(values, [Some(5), Some(100), None, Some(0), Some(100), Some(1900), Some(10)]);
    insta::assert_debug_snapshot!(cluster.health_checks[0].health_checker, @r#"
    Some(
        HttpHealthCheck(
            HttpHealthCheck {
                host: "",
                path: "/h",
                send: None,
                receive: [],
                response_buffer_size: None,
                request_headers_to_add: [],
                request_headers_to_remove: [],
                expected_statuses: [
                    Int64Range {
                        start: 200,
                        end: 201,
                    },
                    Int64Range {
                        start: 204,
                        end: 205,
                    },
                ],
                retriable_statuses: [],
                codec_client_type: Http1,
                service_name_matcher: None,
                method: MethodUnspecified,
            },
        ),
    )
    "#);
}

#[test]
fn routes_have_the_times_and_retries_of_the_policy() {
    let mesh = under("requests: {timeout: 15s, perTryTimeout: 2s, idleTimeout: 5m, maxStreamAge: 10m}");
    insta::assert_snapshot!(routes(&mesh, "shop/api:80"), @"default: /* -> shop/api:80 within 15s0ns idle 300 age 600 retry 2x connect-failure,refused-stream after 25-250ms each 2000ms");
    insta::assert_snapshot!(routes(&mesh, "shop/api-v1:80"), @"default: /* -> shop/api-v1:80 within 0s0ns");
    let mesh = under("retry: {}");
    insta::assert_snapshot!(routes(&mesh, "shop/api:80"), @"default: /* -> shop/api:80 within 0s0ns retry 2x connect-failure,refused-stream after 25-250ms");
    let mesh = under(
        "retry: {attempts: 3, retryOn: [5xx, reset], statusCodes: [429], grpcStatuses: [UNAVAILABLE], methods: [POST]}",
    );
    insta::assert_snapshot!(routes(&mesh, "shop/api:80"), @"default: /* -> shop/api:80 within 0s0ns retry 3x 5xx,reset,retriable-status-codes,unavailable [429] after 25-250ms =POST");
    let mesh = under("hedge: {after: 100ms, max: 3}");
    insta::assert_snapshot!(routes(&mesh, "shop/api:80"), @"default: /* -> shop/api:80 within 0s0ns retry 3x connect-failure,refused-stream after 25-250ms each 100ms =GET =HEAD =OPTIONS =TRACE =PUT =DELETE hedge");
    let text = format!("{DEMO}{}", policy("api", "requests: {timeout: 3s}, retry: {retryOn: [gateway-error]}"));
    let mesh = split_mesh(good(&text), &[split("api", &[("api-v1", 0, 1), ("api-v2", 0, 1)])]);
    insta::assert_snapshot!(routes(&mesh, "shop/api:80"), @"split: /* -> 1 shop/api-v1:80, 1 shop/api-v2:80 within 3s0ns retry 2x gateway-error after 25-250ms =GET =HEAD =OPTIONS =TRACE =PUT =DELETE");
}

#[test]
fn what_a_rule_says_comes_before_what_the_policy_says() {
    let rules = |fields: &str, policy: &str| {
        let route = format!(
            "\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r, namespace: shop}}\n\
             spec: {{parentRefs: [{{group: '', kind: Service, name: api}}], \
             rules: [{{{fields}, backendRefs: [{{name: api-v1, port: 80}}]}}]}}"
        );
        let text = routes(&mesh(&format!("{DEMO}{route}{policy}")), "shop/api:80");
        text.lines().next().unwrap().to_owned()
    };
    let said = policy(
        "api",
        "requests: {timeout: 15s, perTryTimeout: 2s}, retry: {attempts: 5, retryOn: [5xx], statusCodes: [429]}",
    );
    insta::assert_snapshot!(rules("timeouts: {request: 1s}", &said), @"r/0: /* -> shop/api-v1:80 within 1s0ns retry 5x 5xx,retriable-status-codes [429] after 25-250ms each 2000ms =GET =HEAD =OPTIONS =TRACE =PUT =DELETE");
    insta::assert_snapshot!(rules("timeouts: {request: 0s, backendRequest: 0s}", &said), @"r/0: /* -> shop/api-v1:80 within 0s0ns retry 5x 5xx,retriable-status-codes [429] after 25-250ms =GET =HEAD =OPTIONS =TRACE =PUT =DELETE");
    insta::assert_snapshot!(rules("retry: {attempts: 1, codes: [500], backoff: 1s}", &said), @"r/0: /* -> shop/api-v1:80 within 15s0ns retry 1x 5xx,retriable-status-codes [500] after 1000-10000ms each 2000ms =GET =HEAD =OPTIONS =TRACE =PUT =DELETE");
    insta::assert_snapshot!(rules("retry: {codes: [500]}", ""), @"r/0: /* -> shop/api-v1:80 within 0s0ns retry 2x connect-failure,refused-stream,reset,per-try-timeout,retriable-status-codes [500] after 25-250ms =GET =HEAD =OPTIONS =TRACE =PUT =DELETE");
    insta::assert_snapshot!(rules("timeouts: {backendRequest: 1s}", ""), @"r/0: /* -> shop/api-v1:80 within 0s0ns retry 2x connect-failure,refused-stream after 25-250ms each 1000ms");
    let hedged = policy("api", "hedge: {after: 100ms}");
    insta::assert_snapshot!(rules("timeouts: {backendRequest: 1s}", &hedged), @"r/0: /* -> shop/api-v1:80 within 0s0ns retry 2x connect-failure,refused-stream after 25-250ms each 1000ms");
}

#[test]
fn a_grpc_route_repeats_what_was_sent_only_if_the_policy_names_its_method() {
    let route = "\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: g, namespace: shop}\n\
                 spec: {parentRefs: [{group: '', kind: Service, name: api}], rules: [{backendRefs: [{name: api-v1, port: 80}]}]}";
    let text = format!("{DEMO}{route}{}", policy("api", "retry: {retryOn: [connect-failure, reset]}"));
    let text = routes(&mesh(&text), "shop/api:80");
    insta::assert_snapshot!(text.lines().next().unwrap(), @"g/0: /* grpc -> shop/api-v1:80 within 0s0ns retry 2x connect-failure,reset after 25-250ms =GET =HEAD =OPTIONS =TRACE =PUT =DELETE");
}
