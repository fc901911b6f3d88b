//! Ejection as a cluster does it: who is picked, and what is told.

use std::time::{Duration, Instant};

use weft_rules::balance::BalancePolicy;
use weft_rules::outlier::{Observation, OutlierPolicy};

use crate::discovery::{ClusterPolicy, Endpoint, Place};
use crate::path::upstream::testing::{World, endpoint};
use crate::path::upstream::{ClusterState, PickBy};

const EJECTION: Duration = Duration::from_secs(30);

fn policy(max_ejected_percent: u8, panic_percent: u8) -> ClusterPolicy {
    let outlier = OutlierPolicy {
        consecutive_5xx: Some(2),
        consecutive_gateway: None,
        success_rate: None,
        base_ejection: EJECTION,
        max_ejected_percent,
        ..OutlierPolicy::default()
    };
    let balance = BalancePolicy { panic_percent, ..BalancePolicy::default() };
    ClusterPolicy { outlier: Some(outlier), balance, ..ClusterPolicy::default() }
}

fn endpoints() -> Vec<Endpoint> {
    (1..=4).map(endpoint).collect()
}

/// Lets the endpoint with this port fail so often that it is ejected, if it may be.
fn fail(world: &World, cluster: &ClusterState, port: u16) {
    let others: Vec<_> = (1..=4).filter(|other| *other != port).map(|other| endpoint(other).address).collect();
    let picked = world.pick(cluster, &PickBy { tried: &others, ..PickBy::default() }).unwrap();
    assert_eq!(picked.endpoint.address.port(), port);
    picked.observe(Observation::ServerError);
    picked.observe(Observation::ServerError);
}

fn ejected(world: &World) -> Vec<u16> {
    world.conditions.snapshot(Instant::now()).ejected.iter().map(|ejected| ejected.address.port()).collect()
}

#[test]
fn an_ejected_endpoint_gets_nothing_until_its_time_is_over() {
    let world = World::new();
    let (_named, cluster) = world.cluster(policy(100, 0), endpoints());
    fail(&world, &cluster, 2);
    assert_eq!(world.picks(&cluster, &PickBy::default(), 200), [1, 3, 4]);
    let session = PickBy { session: Some(endpoint(2).address), ..PickBy::default() };
    assert_eq!(world.picks(&cluster, &session, 200), [1, 3, 4], "nor for a session");
    assert_eq!(ejected(&world), [2]);
    world.upstreams.maintain(Instant::now() + EJECTION / 2, &Place::default());
    assert_eq!(ejected(&world), [2]);
    world.upstreams.maintain(Instant::now() + EJECTION, &Place::default());
    assert!(ejected(&world).is_empty());
}

#[test]
fn no_more_are_ejected_than_may_be() {
    let world = World::new();
    let (_named, cluster) = world.cluster(policy(50, 0), endpoints());
    fail(&world, &cluster, 1);
    fail(&world, &cluster, 2);
    fail(&world, &cluster, 3);
    assert_eq!(ejected(&world), [1, 2]);
    assert_eq!(world.picks(&cluster, &PickBy::default(), 200), [3, 4]);
}

#[test]
fn where_too_few_are_left_all_are_used() {
    let world = World::new();
    let (_named, cluster) = world.cluster(policy(100, 50), endpoints());
    fail(&world, &cluster, 1);
    fail(&world, &cluster, 2);
    assert_eq!(world.picks(&cluster, &PickBy::default(), 200), [3, 4]);
    fail(&world, &cluster, 3);
    assert_eq!(world.picks(&cluster, &PickBy::default(), 500), [1, 2, 3, 4]);
    let session = PickBy { session: Some(endpoint(1).address), ..PickBy::default() };
    assert_eq!(world.picks(&cluster, &session, 10), [1]);
}

#[test]
fn where_all_are_ejected_and_that_is_no_panic_there_is_none() {
    let world = World::new();
    let (_named, cluster) = world.cluster(policy(100, 0), endpoints());
    (1..=4).for_each(|port| fail(&world, &cluster, port));
    assert!(world.pick(&cluster, &PickBy::default()).is_none());
}

#[test]
fn a_success_between_failures_saves_the_endpoint() {
    let world = World::new();
    let (_named, cluster) = world.cluster(policy(100, 0), vec![endpoint(1)]);
    let picked = world.pick(&cluster, &PickBy::default()).unwrap();
    for observation in [Observation::ServerError, Observation::Success, Observation::ServerError] {
        picked.observe(observation);
    }
    assert!(ejected(&world).is_empty());
}

#[test]
fn what_was_told_is_taken_back_with_the_cluster() {
    let world = World::new();
    let (named, cluster) = world.cluster(policy(100, 0), endpoints());
    fail(&world, &cluster, 2);
    let used = world.pick(&cluster, &PickBy::default()).unwrap();
    drop((named, cluster));
    world.upstreams.maintain(Instant::now(), &Place::default());
    assert!(ejected(&world).is_empty());
    used.observe(Observation::ServerError);
    used.observe(Observation::ServerError);
    assert!(ejected(&world).is_empty(), "nobody would say when it is over");
}
