use prost::Name;
use weft_api::xds::pb::envoy::config::cluster::v3::{CircuitBreakers, circuit_breakers::Thresholds};
use weft_api::xds::pb::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use weft_api::xds::pb::envoy::config::core::v3::{ApiVersion, GrpcService, HealthStatus};
use weft_api::xds::pb::envoy::config::listener::v3::FilterChain;
use weft_api::xds::pb::envoy::config::ratelimit::v3::RateLimitServiceConfig;
use weft_api::xds::pb::envoy::config::route::v3::{route, route_action::RequestMirrorPolicy};
use weft_api::xds::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use weft_api::xds::pb::envoy::extensions::filters::http::ratelimit::v3::RateLimit;
use weft_api::xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use weft_api::xds::pb::envoy::r#type::v3::TokenBucket;
use weft_api::xds::pb::google::protobuf::value::Kind;
use weft_api::xds::{self, Listener};
use weft_rules::route::Action;

use super::*;
use crate::discovery::testing::*;
use crate::discovery::values::{Destination, Protocol, Traffic};

const API: &str = "10.96.0.10:80";

/// A graph with the control plane and the threads played by hand.
struct World {
    graph: Graph,
    now: Instant,
    subscribed: BTreeSet<String>,
    answers: Vec<(SocketAddr, Answer)>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            graph: Graph::new(Instant::now()),
            now: Instant::now(),
            subscribed: BTreeSet::new(),
            answers: Vec::new(),
        };
        world.settle();
        world
    }

    fn settle(&mut self) {
        for change in self.graph.take_changes() {
            match change {
                Change::Subscribe(key) => assert!(self.subscribed.insert(format!("{} {}", key.kind.name(), key.name))),
                Change::Unsubscribe(key) => {
                    assert!(self.subscribed.remove(&format!("{} {}", key.kind.name(), key.name)));
                }
            }
        }
        self.answers.extend(self.graph.take_answers());
    }

    fn want(&mut self, dialled: &str) {
        self.graph.want(dialled.parse().unwrap(), self.now);
        self.settle();
    }

    fn give<M: prost::Message + Name>(&mut self, name: &str, version: &str, message: &M) -> Vec<String> {
        let any = xds::pack(message);
        let kind = ResourceKind::from_type_url(&any.type_url).unwrap();
        let faults = self.graph.apply(kind, &[resource(name, version, any)], &[], self.now);
        self.settle();
        faults
    }

    fn remove(&mut self, kind: ResourceKind, name: &str) {
        self.graph.apply(kind, &[], &[name.to_owned()], self.now);
        self.settle();
    }

    /// A service with one cluster and these endpoints.
    fn give_service(&mut self, dialled: &str, name: &str, endpoints: &[(&str, u16)]) {
        self.give(dialled, "1", &http_listener(dialled, name));
        self.give(name, "1", &routes(name, vec![route(prefix("/"), &[(name, 1)])]));
        self.give_cluster(name, endpoints);
    }

    fn give_cluster(&mut self, name: &str, endpoints: &[(&str, u16)]) {
        self.give(name, "1", &eds_cluster(name));
        self.give(name, "1", &assignment(name, endpoints));
    }

    fn known(&mut self) -> Arc<Destination> {
        match self.answers.pop() {
            Some((_, Answer::Known(destination))) => destination,
            other => panic!("{other:?} is not a destination"),
        }
    }

    fn subscribed(&self) -> Vec<&str> {
        self.subscribed.iter().map(String::as_str).collect()
    }
}

fn backends(traffic: &Traffic) -> Vec<(String, u32)> {
    let rules = traffic.routes.rules().iter();
    let backends = rules.filter_map(|rule| match &rule.action {
        Action::Forward(forward) => {
            Some(forward.backends.iter().map(|(backend, weight)| (backend.target.name.to_string(), weight)))
        }
        Action::Redirect(_) | Action::Respond(_) => None,
    });
    backends.flatten().collect()
}

fn addresses(traffic: &Traffic) -> Vec<String> {
    let rules = traffic.routes.rules().iter();
    let clusters = rules.filter_map(|rule| match &rule.action {
        Action::Forward(forward) => forward.targets().next().cloned(),
        Action::Redirect(_) | Action::Respond(_) => None,
    });
    let opaque =
        traffic.opaque.iter().filter_map(|weighted| weighted.iter().next().map(|(cluster, _)| cluster.clone()));
    let all = clusters.chain(opaque).flat_map(|cluster| cluster.endpoints().all.clone());
    all.map(|endpoint| endpoint.address.to_string()).collect()
}

#[test]
fn subscribes_to_each_resource_when_it_is_named() {
    let mut world = World::new();
    assert_eq!(world.subscribed(), ["Listener inbound"]);
    world.want(API);
    assert_eq!(world.subscribed(), ["Listener 10.96.0.10:80", "Listener inbound"]);
    world.give(API, "1", &http_listener(API, "shop/api:80"));
    assert!(world.subscribed.contains("RouteConfiguration shop/api:80"));
    world.give("shop/api:80", "1", &routes("shop/api:80", vec![route(prefix("/"), &[("shop/api-v1:80", 1)])]));
    assert!(world.subscribed.contains("Cluster shop/api-v1:80"));
    world.give("shop/api-v1:80", "1", &eds_cluster("shop/api-v1:80"));
    assert!(world.subscribed.contains("ClusterLoadAssignment shop/api-v1:80"));
    assert!(world.answers.is_empty(), "published before the endpoints are there");
    world.give("shop/api-v1:80", "1", &assignment("shop/api-v1:80", &[("10.1.0.1", 8080)]));

    let destination = world.known();
    let traffic = destination.traffic();
    assert_eq!(traffic.protocol, Protocol::Http);
    assert_eq!(traffic.service.as_ref(), "shop/api:80");
    assert!(traffic.opaque.is_none());
    assert_eq!(addresses(&traffic), ["10.1.0.1:8080"]);
}

#[test]
fn new_routes_wait_for_all_their_clusters_and_the_old_clusters_stay_until_then() {
    let mut world = World::new();
    world.want(API);
    world.give_service(API, "shop/api:80", &[("10.1.0.1", 8080)]);
    let destination = world.known();

    let split = [("shop/v1:80", 9), ("shop/v2:80", 1)];
    world.give("shop/api:80", "2", &routes("shop/api:80", vec![route(prefix("/"), &split)]));
    world.give_cluster("shop/v1:80", &[("10.1.0.2", 8080)]);
    assert_eq!(backends(&destination.traffic()), [("shop/api:80".to_owned(), 1)]);
    world.give("shop/api:80", "2", &assignment("shop/api:80", &[("10.1.0.9", 8080)]));
    assert_eq!(addresses(&destination.traffic()), ["10.1.0.9:8080"], "the old cluster is not served any more");

    world.give_cluster("shop/v2:80", &[("10.1.0.3", 8080)]);
    assert_eq!(backends(&destination.traffic()), [("shop/v1:80".to_owned(), 9), ("shop/v2:80".to_owned(), 1)]);
    assert!(!world.subscribed.contains("Cluster shop/api:80"), "the old cluster is still subscribed to");
    assert!(!world.subscribed.contains("ClusterLoadAssignment shop/api:80"));
    assert!(world.answers.is_empty(), "threads know the destination already");
}

#[test]
fn a_change_of_endpoints_touches_nothing_but_the_endpoints() {
    let mut world = World::new();
    world.want(API);
    world.give_service(API, "shop/api:80", &[("10.1.0.1", 8080), ("10.1.0.2", 8080)]);
    let destination = world.known();
    let before = destination.traffic().clone();
    let first = backends_of_first_rule(&before).endpoints().all[0].clone();
    world.give("shop/api:80", "2", &assignment("shop/api:80", &[("10.1.0.1", 8080), ("10.1.0.3", 8080)]));
    assert!(Arc::ptr_eq(&before, &destination.traffic()));
    assert_eq!(addresses(&before), ["10.1.0.1:8080", "10.1.0.3:8080"]);
    let again = backends_of_first_rule(&before).endpoints().all[0].clone();
    assert!(Arc::ptr_eq(&first, &again), "an endpoint that did not change is another one");
}

fn backends_of_first_rule(traffic: &Traffic) -> Arc<crate::discovery::Cluster> {
    match &traffic.routes.rules()[0].action {
        Action::Forward(forward) => forward.targets().next().unwrap().clone(),
        Action::Redirect(_) | Action::Respond(_) => panic!("does not forward"),
    }
}

#[test]
fn what_does_not_exist_is_unknown_until_it_exists() {
    let mut world = World::new();
    world.want(API);
    world.remove(ResourceKind::Listener, API);
    assert!(matches!(world.answers.pop(), Some((_, Answer::Unknown))));
    assert!(world.subscribed.contains("Listener 10.96.0.10:80"), "nobody would tell when it comes to exist");
    world.give_service(API, "shop/api:80", &[("10.1.0.1", 8080)]);
    assert_eq!(addresses(&world.known().traffic()), ["10.1.0.1:8080"]);
}

#[test]
fn a_deleted_service_is_unknown_to_new_connections_and_stays_for_open_ones() {
    let mut world = World::new();
    world.want(API);
    world.give_service(API, "shop/api:80", &[("10.1.0.1", 8080)]);
    let destination = world.known();
    world.remove(ResourceKind::Listener, API);
    assert!(matches!(world.answers.pop(), Some((_, Answer::Unknown))));
    assert_eq!(addresses(&destination.traffic()), ["10.1.0.1:8080"]);
    assert_eq!(world.subscribed(), ["Listener 10.96.0.10:80", "Listener inbound"]);

    world.give_service(API, "shop/api:80", &[("10.1.0.2", 8080)]);
    let again = world.known();
    assert!(Arc::ptr_eq(&destination, &again), "open connections would not see its changes");
    assert_eq!(addresses(&destination.traffic()), ["10.1.0.2:8080"]);
}

#[test]
fn a_cluster_that_does_not_exist_holds_nothing_up() {
    let mut world = World::new();
    world.want(API);
    world.give(API, "1", &http_listener(API, "shop/api:80"));
    world.give("shop/api:80", "1", &routes("shop/api:80", vec![route(prefix("/"), &[("shop/gone:80", 1)])]));
    world.remove(ResourceKind::Cluster, "shop/gone:80");
    let destination = world.known();
    assert!(!backends_of_first_rule(&destination.traffic()).exists);
    assert!(addresses(&destination.traffic()).is_empty());
    world.give_cluster("shop/gone:80", &[("10.1.0.1", 8080)]);
    assert!(backends_of_first_rule(&destination.traffic()).exists);
    assert_eq!(addresses(&destination.traffic()), ["10.1.0.1:8080"]);
    world.remove(ResourceKind::Cluster, "shop/gone:80");
    assert!(addresses(&destination.traffic()).is_empty(), "traffic still goes to a cluster that was deleted");
}

#[test]
fn removed_endpoints_get_no_traffic() {
    let mut world = World::new();
    world.want(API);
    world.give_service(API, "shop/api:80", &[("10.1.0.1", 8080)]);
    let destination = world.known();
    world.remove(ResourceKind::ClusterLoadAssignment, "shop/api:80");
    assert!(addresses(&destination.traffic()).is_empty());
}

#[test]
fn a_bad_version_is_named_and_the_last_good_one_stays() {
    let mut world = World::new();
    world.want(API);
    world.give_service(API, "shop/api:80", &[("10.1.0.1", 8080)]);
    let destination = world.known();
    let before = destination.traffic().clone();
    let bad = routes("shop/api:80", vec![route(prefix("/"), &[("shop/api:80", 1)]), route(regex("(["), &[("x", 1)])]);
    let faults = world.give("shop/api:80", "2", &bad);
    assert_eq!(faults.len(), 1);
    assert!(faults[0].contains("shop/api:80"), "{faults:?}");
    assert!(faults[0].contains("virtual_hosts[0].routes[1].match.safe_regex.regex: "), "{faults:?}");
    assert!(Arc::ptr_eq(&before, &destination.traffic()));
    let state = world.graph.state(world.now);
    let refused = state.iter().find(|state| state.kind == ResourceKind::RouteConfiguration).unwrap();
    assert_eq!((refused.version.as_str(), refused.status), ("1", ResourceStatus::Held));
    assert!(refused.error.as_ref().unwrap().contains("safe_regex"));
}

#[test]
fn the_good_resources_of_a_partly_bad_response_apply() {
    let mut world = World::new();
    let other = "10.96.0.11:80";
    world.want(API);
    world.want(other);
    let good = resource(API, "1", xds::pack(&http_listener(API, "shop/api:80")));
    let bad = resource(other, "1", xds::pack(&Listener { name: other.to_owned(), ..Listener::default() }));
    let faults = world.graph.apply(ResourceKind::Listener, &[bad, good], &[], world.now);
    world.settle();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains(other) && faults[0].contains("filter_chains"), "{faults:?}");
    assert!(world.subscribed.contains("RouteConfiguration shop/api:80"));
}

#[test]
fn a_destination_that_needs_a_bad_resource_is_unavailable_at_once_and_again() {
    let mut world = World::new();
    world.want(API);
    world.give(API, "1", &Listener { name: API.to_owned(), ..Listener::default() });
    assert!(matches!(world.answers.pop(), Some((_, Answer::Unavailable))));
    world.want(API);
    assert!(matches!(world.answers.pop(), Some((_, Answer::Unavailable))));
    world.give_service(API, "shop/api:80", &[("10.1.0.1", 8080)]);
    assert_eq!(addresses(&world.known().traffic()), ["10.1.0.1:8080"]);
}

#[test]
fn what_two_destinations_share_stays_until_neither_needs_it() {
    let mut world = World::new();
    let other = "[fd00::10]:80";
    world.want(API);
    world.give_service(API, "shop/api:80", &[("10.1.0.1", 8080)]);
    world.want(other);
    world.give(other, "1", &http_listener(other, "shop/api:80"));
    assert_eq!(addresses(&world.known().traffic()), ["10.1.0.1:8080"], "all was there already");
    world.graph.release(API.parse().unwrap());
    world.settle();
    assert!(world.subscribed.contains("Cluster shop/api:80"));
    assert!(!world.subscribed.contains("Listener 10.96.0.10:80"));
    world.graph.release(other.parse().unwrap());
    world.settle();
    assert_eq!(world.subscribed(), ["Listener inbound"]);
    assert_eq!(world.graph.subscriptions().count(), 1);
}

#[test]
fn the_same_version_again_changes_nothing() {
    let mut world = World::new();
    world.want(API);
    world.give_service(API, "shop/api:80", &[("10.1.0.1", 8080)]);
    let destination = world.known();
    let before = destination.traffic().clone();
    world.give_service(API, "shop/api:80", &[("10.1.0.1", 8080)]);
    assert!(Arc::ptr_eq(&before, &destination.traffic()));
}

#[test]
fn another_configuration_of_a_cluster_is_another_cluster_with_the_same_endpoints() {
    let mut world = World::new();
    world.want(API);
    world.give_service(API, "shop/api:80", &[("10.1.0.1", 8080)]);
    let destination = world.known();
    let before = backends_of_first_rule(&destination.traffic());
    let timeout = Some(xds::pb::google::protobuf::Duration { seconds: 7, nanos: 0 });
    world.give("shop/api:80", "2", &xds::Cluster { connect_timeout: timeout, ..eds_cluster("shop/api:80") });
    let after = backends_of_first_rule(&destination.traffic());
    assert_ne!(before.id, after.id);
    assert_eq!(after.policy.connect_timeout.as_secs(), 7);
    assert_eq!(addresses(&destination.traffic()), ["10.1.0.1:8080"]);
}

#[test]
fn names_are_resolved_while_they_are_needed() {
    let mut world = World::new();
    let dialled = "10.96.0.12:443";
    world.want(dialled);
    world.give(dialled, "1", &tcp_listener(dialled, "shop/outside:443"));
    world.give("shop/outside:443", "1", &dns_cluster("shop/outside:443", "db.example", 443));
    let host: Arc<str> = "db.example".into();
    assert_eq!(world.graph.take_name_changes(), [NameChange::Start(host.clone())]);
    assert!(world.answers.is_empty(), "published before the name was resolved");

    let resolved: Vec<IpAddr> = vec!["192.0.2.2".parse().unwrap(), "192.0.2.1".parse().unwrap()];
    world.graph.resolved(&host, Some(&resolved), world.now);
    world.settle();
    let destination = world.known();
    assert_eq!(destination.traffic().protocol, Protocol::Opaque);
    assert_eq!(destination.traffic().service.as_ref(), "shop/outside:443");
    assert_eq!(addresses(&destination.traffic()), ["192.0.2.1:443", "192.0.2.2:443"]);

    world.graph.resolved(&host, None, world.now);
    assert_eq!(addresses(&destination.traffic()).len(), 2, "a failure took away what was known");
    world.graph.release(dialled.parse().unwrap());
    assert_eq!(world.graph.take_name_changes(), [NameChange::Stop(host)]);
}

#[test]
fn a_name_that_cannot_be_resolved_holds_nothing_up() {
    let mut world = World::new();
    let dialled = "10.96.0.12:443";
    world.want(dialled);
    world.give(dialled, "1", &tcp_listener(dialled, "shop/outside:443"));
    world.give("shop/outside:443", "1", &dns_cluster("shop/outside:443", "db.example", 443));
    world.graph.resolved(&"db.example".into(), None, world.now);
    world.settle();
    assert!(addresses(&world.known().traffic()).is_empty());
}

#[test]
fn a_port_that_is_not_declared_has_routes_and_an_opaque_way() {
    let mut world = World::new();
    world.want(API);
    world.give(API, "1", &detecting_listener(API, "shop/api:80"));
    world.give("shop/api:80", "1", &routes("shop/api:80", vec![route(prefix("/"), &[("shop/api:80", 1)])]));
    world.give_cluster("shop/api:80", &[("10.1.0.1", 8080)]);
    let destination = world.known();
    assert_eq!(destination.traffic().protocol, Protocol::Detect);
    assert!(destination.traffic().opaque.is_some());
    assert_eq!(addresses(&destination.traffic()), ["10.1.0.1:8080", "10.1.0.1:8080"]);
}

#[test]
fn policies_of_this_pod_stay_when_it_is_removed() {
    let mut world = World::new();
    let chain = inbound_chain(8080, application_http_chain(), Some("permissive"));
    let listener = Listener { name: "inbound".to_owned(), filter_chains: vec![chain], ..Listener::default() };
    assert!(world.give("inbound", "1", &listener).is_empty());
    assert!(world.graph.take_inbound().is_some());
    world.remove(ResourceKind::Listener, "inbound");
    assert!(world.graph.take_inbound().is_none());
}

#[test]
fn the_state_of_each_resource_is_shown_with_its_age() {
    let mut world = World::new();
    world.want(API);
    world.give(API, "v7", &http_listener(API, "shop/api:80"));
    let later = world.now + std::time::Duration::from_secs(90);
    let state = world.graph.state(later);
    let shown: Vec<_> = state.iter().map(|state| (state.kind.name(), state.name.as_str(), state.status)).collect();
    assert_eq!(
        shown,
        [
            ("Listener", API, ResourceStatus::Held),
            ("Listener", "inbound", ResourceStatus::Requested),
            ("RouteConfiguration", "shop/api:80", ResourceStatus::Requested),
        ]
    );
    assert_eq!((state[0].version.as_str(), state[0].age.as_secs()), ("v7", 90));
}

#[test]
fn the_policy_of_a_cluster_is_shown_as_in_the_manifest() {
    let mut world = World::new();
    world.want(API);
    world.give_service(API, "shop/api:80", &[("10.1.0.1", 8080)]);
    let state = world.graph.state(world.now);
    let cluster = state.iter().find(|state| state.kind == ResourceKind::Cluster).unwrap();
    let shown = serde_json::to_value(cluster).unwrap();
    assert_eq!(shown["policy"]["loadBalancer.algorithm"], "PeakEwma");
    let listener = serde_json::to_value(&state[0]).unwrap();
    assert!(listener.get("policy").is_none());
}

#[test]
fn mirrors_are_clusters_too() {
    let mut world = World::new();
    world.want(API);
    world.give(API, "1", &http_listener(API, "shop/api:80"));
    let mut mirrored = route(prefix("/"), &[("shop/api:80", 1)]);
    if let Some(route::Action::Route(action)) = &mut mirrored.action {
        action.request_mirror_policies.push(RequestMirrorPolicy {
            cluster: "shop/shadow:80".to_owned(),
            disable_shadow_host_suffix_append: true,
            ..RequestMirrorPolicy::default()
        });
    }
    world.give("shop/api:80", "1", &routes("shop/api:80", vec![mirrored]));
    world.give_cluster("shop/api:80", &[("10.1.0.1", 8080)]);
    assert!(world.answers.is_empty(), "published before the mirror is there");
    world.give_cluster("shop/shadow:80", &[("10.1.0.2", 8080)]);
    let destination = world.known();
    let traffic = destination.traffic();
    let Action::Forward(forward) = &traffic.routes.rules()[0].action else { panic!("does not forward") };
    assert_eq!(forward.mirrors[0].target.endpoints().all.len(), 1);
}

#[test]
fn a_consumer_has_its_own_routes() {
    let mut world = World::new();
    world.want(API);
    world.give(API, "1", &http_listener(API, "shop/api:80@web"));
    assert!(world.subscribed.contains("RouteConfiguration shop/api:80@web"));
    let name = "shop/api:80@web";
    world.give(name, "1", &routes(name, vec![route(prefix("/"), &[("shop/api:80", 1)])]));
    world.give_cluster("shop/api:80", &[("10.1.0.1", 8080)]);
    assert_eq!(world.known().traffic().service.as_ref(), "shop/api:80");
}

#[test]
fn connections_that_may_not_go_anywhere_wait_for_no_cluster() {
    let mut world = World::new();
    world.want(API);
    world.give(API, "1", &tcp_listener(API, "weft.dev/refused"));
    assert_eq!(world.subscribed(), ["Listener 10.96.0.10:80", "Listener inbound"]);
    let destination = world.known();
    let traffic = destination.traffic();
    let (cluster, _) = traffic.opaque.as_ref().unwrap().iter().next().unwrap();
    assert!(!cluster.exists);
}

#[test]
fn limits_are_counted_on_under_another_policy_and_health_is_known_of_another_endpoint() {
    let mut world = World::new();
    world.want(API);
    world.give_service(API, "shop/api:80", &[("10.1.0.1", 8080)]);
    let destination = world.known();
    let before = backends_of_first_rule(&destination.traffic());
    before.endpoints().all[0].health.set_healthy(false);
    let limited = |max_connections| {
        let thresholds = Thresholds { max_connections: uint(max_connections), ..Thresholds::default() };
        let breakers = CircuitBreakers { thresholds: vec![thresholds], ..CircuitBreakers::default() };
        xds::Cluster { circuit_breakers: Some(breakers), ..eds_cluster("shop/api:80") }
    };
    world.give("shop/api:80", "2", &limited(5));
    let five = backends_of_first_rule(&destination.traffic());
    assert!(Arc::ptr_eq(&before.counters.requests, &five.counters.requests));
    let timeout = Some(xds::pb::google::protobuf::Duration { seconds: 7, nanos: 0 });
    world.give("shop/api:80", "3", &xds::Cluster { connect_timeout: timeout, ..limited(5) });
    let slower = backends_of_first_rule(&destination.traffic());
    assert_ne!(five.id, slower.id);
    let permits = |cluster: &crate::discovery::Cluster| cluster.counters.connections.clone().unwrap();
    assert!(Arc::ptr_eq(&permits(&five), &permits(&slower)));
    world.give("shop/api:80", "4", &limited(6));
    assert_eq!(permits(&backends_of_first_rule(&destination.traffic())).available_permits(), 6);

    let mut draining = assignment("shop/api:80", &[("10.1.0.1", 8080)]);
    draining.endpoints[0].lb_endpoints[0].health_status = HealthStatus::Draining.into();
    world.give("shop/api:80", "5", &draining);
    let cluster = backends_of_first_rule(&destination.traffic());
    assert!(cluster.endpoints().all[0].draining && !cluster.endpoints().all[0].health.is_healthy());
}

/// An inbound listener with a rate of its own, and a rate limit service.
fn limited(burst: u32, zone: &str, service: &str) -> Listener {
    let token_bucket = TokenBucket {
        max_tokens: burst,
        tokens_per_fill: uint(1),
        fill_interval: Some(xds::pb::google::protobuf::Duration { seconds: 1, nanos: 0 }),
    };
    let local = LocalRateLimit { token_bucket: Some(token_bucket), ..LocalRateLimit::default() };
    let grpc = EnvoyGrpc { cluster_name: service.to_owned(), ..EnvoyGrpc::default() };
    let grpc = GrpcService { target_specifier: Some(TargetSpecifier::EnvoyGrpc(grpc)), ..GrpcService::default() };
    let rate_limit_service =
        Some(RateLimitServiceConfig { grpc_service: Some(grpc), transport_api_version: ApiVersion::V3.into() });
    let global = RateLimit { domain: "shop".to_owned(), rate_limit_service, ..RateLimit::default() };
    let filter =
        |any| HttpFilter { config_type: Some(http_filter::ConfigType::TypedConfig(any)), ..HttpFilter::default() };
    let http_filters = vec![filter(xds::pack(&local)), filter(xds::pack(&global))];
    let manager = HttpConnectionManager { http_filters, ..HttpConnectionManager::default() };
    let zone = xds::metadata([(xds::METADATA_ZONE, Kind::StringValue(zone.to_owned()))]);
    Listener {
        name: "inbound".to_owned(),
        filter_chains: vec![inbound_chain(8080, chain(xds::pack(&manager)), None)],
        default_filter_chain: Some(FilterChain { metadata: Some(zone), ..tcp_chain("inbound") }),
        ..Listener::default()
    }
}

#[test]
fn a_rate_limit_service_is_subscribed_to_and_nothing_waits_for_it() {
    let mut world = World::new();
    let service = "infra/ratelimit:8081";
    assert!(world.give("inbound", "1", &limited(5, "eu-1a", service)).is_empty());
    assert!(world.subscribed.contains("Cluster infra/ratelimit:8081"));
    let first = world.graph.take_inbound().unwrap();
    assert_eq!(&*first.zone, "eu-1a");
    assert!(!first.port(8080).limits.global[0].cluster.exists, "it is not there yet");
    world.give(service, "1", &eds_cluster(service));
    world.give(service, "1", &assignment(service, &[("10.1.0.7", 8081)]));
    let there = world.graph.take_inbound().unwrap();
    assert_eq!(there.port(8080).limits.global[0].cluster.endpoints().all.len(), 1);
    world.give(service, "2", &assignment(service, &[("10.1.0.8", 8081)]));
    assert!(world.graph.take_inbound().is_none(), "new endpoints are no news");

    // The same service under another policy, then none.
    let other = Listener { filter_chains: Vec::new(), ..limited(5, "eu-1a", service) };
    world.give("inbound", "2", &other);
    assert_eq!(world.subscribed(), ["Listener inbound"]);
}

#[test]
fn a_limit_that_stays_the_same_is_the_same() {
    let mut world = World::new();
    let service = "infra/ratelimit:8081";
    let mut local = |burst, zone: &str, version: &str| {
        world.give("inbound", version, &limited(burst, zone, service));
        world.graph.take_inbound().unwrap().port(8080).limits.local[0].clone()
    };
    let first = local(5, "eu-1a", "1");
    assert!(Arc::ptr_eq(&first, &local(5, "eu-1b", "2")), "what was counted is forgotten");
    assert!(!Arc::ptr_eq(&first, &local(6, "eu-1b", "3")));
}
