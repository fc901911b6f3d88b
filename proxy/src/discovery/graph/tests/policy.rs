//! Mirrors, consumer routes, refusals and policies.

use weft_api::xds::pb::envoy::config::cluster::v3::{CircuitBreakers, circuit_breakers::Thresholds};
use weft_api::xds::pb::envoy::config::core::v3::HealthStatus;
use weft_api::xds::pb::envoy::config::route::v3::{route, route_action::RequestMirrorPolicy};
use weft_rules::route::Action;

use super::*;

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
