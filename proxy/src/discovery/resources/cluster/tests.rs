use std::time::Duration;

use weft_api::xds::pb::envoy::config::cluster::v3::circuit_breakers::{Thresholds, thresholds::RetryBudget};
use weft_api::xds::pb::envoy::config::cluster::v3::cluster::CommonLbConfig;
use weft_api::xds::pb::envoy::config::cluster::v3::{
    CircuitBreakers, LoadBalancingPolicy, OutlierDetection, load_balancing_policy::Policy,
};
use weft_api::xds::pb::envoy::config::core::v3::health_check::{
    GrpcHealthCheck, HealthChecker, HttpHealthCheck, TcpHealthCheck,
};
use weft_api::xds::pb::envoy::config::core::v3::{HealthCheck, TypedExtensionConfig};
use weft_api::xds::pb::envoy::config::route::v3::route_action::HashPolicy;
use weft_api::xds::pb::envoy::config::route::v3::route_action::hash_policy::{
    ConnectionProperties, Cookie, Header, PolicySpecifier,
};
use weft_api::xds::pb::envoy::extensions::load_balancing_policies::common::v3::locality_lb_config::{
    LocalityConfigSpecifier, ZoneAwareLbConfig,
};
use weft_api::xds::pb::envoy::extensions::load_balancing_policies::common::v3::{
    ConsistentHashingLbConfig, LocalityLbConfig, SlowStartConfig,
};
use weft_api::xds::pb::envoy::extensions::load_balancing_policies::least_request::v3::LeastRequest;
use weft_api::xds::pb::envoy::extensions::load_balancing_policies::maglev::v3::Maglev;
use weft_api::xds::pb::envoy::extensions::load_balancing_policies::ring_hash::v3::RingHash;
use weft_api::xds::pb::envoy::extensions::load_balancing_policies::round_robin::v3::RoundRobin;
use weft_api::xds::pb::envoy::r#type::v3::{Int64Range, Percent};
use weft_api::xds::pb::google::protobuf::{Any, Duration as XdsDuration, value::Kind};
use weft_rules::balance::{Algorithm, SlowStart};
use weft_rules::hash::HashKey;
use weft_rules::health::Probe;

use super::*;
use crate::discovery::resources::tests::{NAME, refused};
use crate::discovery::testing as make;

fn read(cluster: &Cluster) -> Arc<ClusterPolicy> {
    parse(cluster).unwrap().policy
}

fn seconds(seconds: i64) -> Option<XdsDuration> {
    Some(XdsDuration { seconds, nanos: 0 })
}

fn balanced(name: &str, config: Any) -> Cluster {
    let extension = TypedExtensionConfig { name: name.to_owned(), typed_config: Some(config) };
    let policies = vec![Policy { typed_extension_config: Some(extension) }];
    Cluster { load_balancing_policy: Some(LoadBalancingPolicy { policies }), ..make::eds_cluster(NAME) }
}

#[test]
fn without_a_policy_everything_is_the_default() {
    assert_eq!(*read(&make::eds_cluster(NAME)), ClusterPolicy::default());
}

#[test]
fn the_manifest_and_the_times_of_connections_are_read() {
    let text = |text: &str| Kind::StringValue(text.to_owned());
    #[allow(deprecated)]
    let policy = read(&Cluster {
        metadata: Some(xds::metadata([
            (xds::METADATA_MANIFEST, text("TrafficPolicy shop/api")),
            (xds::METADATA_INTERNAL_TRAFFIC, text("Local")),
            (xds::METADATA_LOCALITY, text("PreferSameNode")),
        ])),
        connect_timeout: seconds(3),
        common_http_protocol_options: Some(HttpProtocolOptions {
            idle_timeout: seconds(60),
            max_connection_duration: seconds(0),
            max_stream_duration: seconds(600),
            ..HttpProtocolOptions::default()
        }),
        ..make::eds_cluster(NAME)
    });
    assert_eq!((&*policy.manifest, policy.connect_timeout.as_secs()), ("TrafficPolicy shop/api", 3));
    assert!(policy.node_local && policy.node_first);
    assert_eq!((policy.idle_timeout, policy.max_connection_age), (Some(Duration::from_secs(60)), None));
    assert_eq!(policy.max_stream_age, Some(Duration::from_secs(600)));
}

#[test]
fn the_balancer_is_the_first_known_one() {
    let slow_start_config = Some(SlowStartConfig {
        slow_start_window: seconds(30),
        min_weight_percent: Some(Percent { value: 20.0 }),
        ..SlowStartConfig::default()
    });
    let zones = ZoneAwareLbConfig::default();
    let zones = LocalityLbConfig { locality_config_specifier: Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zones)) };
    let in_turn = RoundRobin { slow_start_config, locality_lb_config: Some(zones) };
    let policy = read(&balanced("round_robin", xds::pack(&in_turn)));
    let expected = SlowStart { window: Duration::from_secs(30), min_percent: 20, aggression: 1.0 };
    assert_eq!((policy.balance.algorithm, policy.balance.slow_start), (Algorithm::RoundRobin, Some(expected)));
    assert!(policy.balance.zone_aware);

    let least = xds::pack(&LeastRequest::default());
    assert_eq!(read(&balanced("least", least.clone())).balance.algorithm, Algorithm::LeastRequest);
    assert_eq!(read(&balanced(xds::PEAK_EWMA, least.clone())).balance.algorithm, Algorithm::PeakEwma);

    let mut unknown_first = balanced("least", least);
    let unknown = TypedExtensionConfig { name: "x".to_owned(), typed_config: Some(xds::pack(&RouteLike::default())) };
    let policies = &mut unknown_first.load_balancing_policy.as_mut().unwrap().policies;
    policies.insert(0, Policy { typed_extension_config: Some(unknown) });
    assert_eq!(read(&unknown_first).balance.algorithm, Algorithm::LeastRequest);
    unknown_first.load_balancing_policy.as_mut().unwrap().policies.truncate(1);
    refused(NAME, &unknown_first, "load_balancing_policy.policies");
}

/// Something that is no load balancer.
use weft_api::xds::RouteConfiguration as RouteLike;

#[test]
fn hashes_are_of_the_first_key_that_is_there() {
    let key = |specifier, terminal| HashPolicy { terminal, policy_specifier: Some(specifier) };
    let header = || PolicySpecifier::Header(Header { header_name: "X-User".to_owned(), regex_rewrite: None });
    let cookie = |name: &str| {
        let (name, path) = (name.to_owned(), "/".to_owned());
        PolicySpecifier::Cookie(Cookie { name, ttl: seconds(0), path, ..Cookie::default() })
    };
    let source = || PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true });
    let hashing = |hash_policy| {
        let config = Some(ConsistentHashingLbConfig { hash_policy, ..ConsistentHashingLbConfig::default() });
        balanced("ring", xds::pack(&RingHash { consistent_hashing_lb_config: config, ..RingHash::default() }))
    };
    let policy = read(&hashing(vec![key(header(), true), key(cookie("s"), true), key(source(), false)]));
    let expected = [
        HashKey::Header("x-user".parse().unwrap()),
        HashKey::Cookie { name: "s".to_owned(), ttl: Some(Duration::ZERO), path: "/".to_owned() },
        HashKey::Source,
    ];
    assert_eq!((policy.balance.algorithm, policy.balance.hash.as_slice()), (Algorithm::RingHash, &expected[..]));
    assert_eq!(read(&balanced("maglev", xds::pack(&Maglev::default()))).balance.algorithm, Algorithm::Maglev);

    let at = "load_balancing_policy.policies[0].typed_extension_config.typed_config";
    let keys = format!("{at}.consistent_hashing_lb_config.hash_policy");
    refused(NAME, &hashing(vec![key(header(), false), key(source(), true)]), &format!("{keys}[0].terminal"));
    refused(NAME, &hashing(vec![key(cookie("a b"), true)]), &format!("{keys}[0].cookie.name"));
    let nothing = PolicySpecifier::ConnectionProperties(ConnectionProperties::default());
    refused(NAME, &hashing(vec![key(nothing, true)]), &format!("{keys}[0]"));
    let three = LeastRequest { choice_count: make::uint(3), ..LeastRequest::default() };
    refused(NAME, &balanced("least", xds::pack(&three)), &format!("{at}.choice_count"));
    let slow = SlowStartConfig { min_weight_percent: Some(Percent { value: 101.0 }), ..SlowStartConfig::default() };
    let slow = RoundRobin { slow_start_config: Some(slow), ..RoundRobin::default() };
    refused(NAME, &balanced("turn", xds::pack(&slow)), &format!("{at}.slow_start_config.min_weight_percent"));
}

#[test]
fn the_panic_threshold_is_a_percentage() {
    let panic = |value| {
        let config = CommonLbConfig { healthy_panic_threshold: Some(Percent { value }), ..CommonLbConfig::default() };
        Cluster { common_lb_config: Some(config), ..make::eds_cluster(NAME) }
    };
    assert_eq!(read(&panic(0.0)).balance.panic_percent, 0);
    refused(NAME, &panic(-1.0), "common_lb_config.healthy_panic_threshold");
    refused(NAME, &panic(f64::NAN), "common_lb_config.healthy_panic_threshold");
}

#[test]
fn limits_and_the_retry_budget_are_read() {
    let limited = |thresholds| {
        let breakers = CircuitBreakers { thresholds, ..CircuitBreakers::default() };
        Cluster { circuit_breakers: Some(breakers), ..make::eds_cluster(NAME) }
    };
    let thresholds = Thresholds {
        max_connections: make::uint(10),
        max_pending_requests: make::uint(0),
        max_requests: make::uint(30),
        retry_budget: Some(RetryBudget {
            budget_percent: Some(Percent { value: 25.0 }),
            budget_interval: seconds(5),
            min_retry_concurrency: make::uint(1),
        }),
        ..Thresholds::default()
    };
    let policy = read(&limited(vec![thresholds, Thresholds { priority: 1, ..Thresholds::default() }]));
    let limits = policy.limits;
    assert_eq!((limits.max_connections, limits.max_pending, limits.max_requests), (Some(10), Some(0), Some(30)));
    let budget = policy.budget;
    assert_eq!((budget.ratio, budget.min_per_second, budget.window), (0.25, 1, Duration::from_secs(5)));

    let at = "circuit_breakers.thresholds";
    let none = Thresholds { max_connections: make::uint(0), ..Thresholds::default() };
    refused(NAME, &limited(vec![none]), &format!("{at}[0].max_connections"));
    let retries = Thresholds { max_retries: make::uint(3), ..Thresholds::default() };
    refused(NAME, &limited(vec![retries]), &format!("{at}[0].max_retries"));
    refused(NAME, &limited(vec![thresholds, thresholds]), &format!("{at}[1].priority"));
    let budget = RetryBudget { budget_interval: seconds(0), ..RetryBudget::default() };
    let zero = Thresholds { retry_budget: Some(budget), ..Thresholds::default() };
    refused(NAME, &limited(vec![zero]), &format!("{at}[0].retry_budget.budget_interval"));
}

#[test]
fn criteria_of_ejection_are_on_as_in_envoy_unless_switched_off() {
    let ejecting = |detection| Cluster { outlier_detection: Some(detection), ..make::eds_cluster(NAME) };
    let default = read(&ejecting(OutlierDetection::default())).outlier.unwrap();
    assert_eq!((default.consecutive_5xx, default.consecutive_gateway), (Some(5), None));
    assert!(default.success_rate.is_some());
    let told = read(&ejecting(OutlierDetection {
        enforcing_consecutive_5xx: make::uint(0),
        consecutive_gateway_failure: make::uint(3),
        enforcing_consecutive_gateway_failure: make::uint(100),
        enforcing_success_rate: make::uint(0),
        interval: seconds(1),
        base_ejection_time: seconds(400),
        max_ejection_percent: make::uint(50),
        ..OutlierDetection::default()
    }))
    .outlier
    .unwrap();
    assert_eq!((told.consecutive_5xx, told.consecutive_gateway, told.success_rate), (None, Some(3), None));
    assert_eq!((told.max_ejection, told.max_ejected_percent), (Duration::from_secs(400), 50));

    let bad = |detection, path: &str| refused(NAME, &ejecting(detection), &format!("outlier_detection.{path}"));
    let none = OutlierDetection { consecutive_5xx: make::uint(0), ..OutlierDetection::default() };
    bad(none, "consecutive_5xx");
    let half = OutlierDetection { enforcing_success_rate: make::uint(50), ..OutlierDetection::default() };
    bad(half, "enforcing_success_rate");
    let share = OutlierDetection { enforcing_failure_percentage: make::uint(100), ..OutlierDetection::default() };
    bad(share, "enforcing_failure_percentage");
    bad(OutlierDetection { interval: seconds(0), ..OutlierDetection::default() }, "interval");
    let all = OutlierDetection { max_ejection_percent: make::uint(101), ..OutlierDetection::default() };
    bad(all, "max_ejection_percent");
}

#[test]
fn endpoints_are_checked_in_one_way() {
    let check = |checker| HealthCheck {
        interval: seconds(5),
        timeout: seconds(1),
        healthy_threshold: make::uint(2),
        unhealthy_threshold: make::uint(3),
        health_checker: Some(checker),
        ..HealthCheck::default()
    };
    let checked = |checks| Cluster { health_checks: checks, ..make::eds_cluster(NAME) };
    let range = |start, end| Int64Range { start, end };
    let http = HttpHealthCheck {
        path: "/healthz".to_owned(),
        expected_statuses: vec![range(200, 300)],
        ..HttpHealthCheck::default()
    };
    let policy = read(&checked(vec![check(HealthChecker::HttpHealthCheck(http.clone()))])).health.clone().unwrap();
    assert_eq!((policy.interval.as_secs(), policy.healthy_threshold, policy.unhealthy_threshold), (5, 2, 3));
    let Probe::Http { path, host, expected } = policy.probe else { panic!("{:?}", policy.probe) };
    assert_eq!((path.as_str(), host, expected.as_slice()), ("/healthz", None, std::slice::from_ref(&(200..300))));
    let grpc = GrpcHealthCheck { service_name: "api".to_owned(), ..GrpcHealthCheck::default() };
    let policy = read(&checked(vec![check(HealthChecker::GrpcHealthCheck(grpc))]));
    assert_eq!(policy.health.as_ref().unwrap().probe, Probe::Grpc { service: "api".to_owned() });
    let tcp = HealthChecker::TcpHealthCheck(TcpHealthCheck::default());
    assert_eq!(read(&checked(vec![check(tcp.clone())])).health.as_ref().unwrap().probe, Probe::Tcp);

    refused(NAME, &checked(vec![check(tcp.clone()), check(tcp.clone())]), "health_checks");
    let bad = |change: &dyn Fn(&mut HealthCheck), path: &str| {
        let mut bad = check(tcp.clone());
        change(&mut bad);
        refused(NAME, &checked(vec![bad]), &format!("health_checks[0].{path}"));
    };
    bad(&|bad| bad.interval = None, "interval");
    bad(&|bad| bad.timeout = seconds(0), "timeout");
    bad(&|bad| bad.unhealthy_threshold = make::uint(0), "unhealthy_threshold");
    bad(&|bad| bad.alt_port = make::uint(1), "alt_port");
    let with = |http: HttpHealthCheck| {
        move |bad: &mut HealthCheck| {
            bad.health_checker = Some(HealthChecker::HttpHealthCheck(http.clone()));
        }
    };
    bad(&with(HttpHealthCheck { path: "x".to_owned(), ..http.clone() }), "http_health_check.path");
    bad(&with(HttpHealthCheck { host: "a b".to_owned(), ..http.clone() }), "http_health_check.host");
    let ranges = HttpHealthCheck { expected_statuses: vec![range(300, 200)], ..http };
    bad(&with(ranges), "http_health_check.expected_statuses[0]");
}
