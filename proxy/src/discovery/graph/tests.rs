use prost::Name;
use weft_api::xds::{self, Listener};
use weft_rules::route::Action;

use super::*;
use crate::discovery::testing::*;
use crate::discovery::values::{Destination, Protocol, Traffic};

mod inbound;
mod memory;
mod policy;

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
