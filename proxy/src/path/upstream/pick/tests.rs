//! What is picked, by policy and by request.

use weft_rules::balance::{Algorithm, BalancePolicy};

use crate::discovery::{ClusterPolicy, Endpoint};
use crate::path::upstream::PickBy;
use crate::path::upstream::testing::{World, endpoint};

fn policy(algorithm: Algorithm) -> ClusterPolicy {
    ClusterPolicy { balance: BalancePolicy { algorithm, ..BalancePolicy::default() }, ..ClusterPolicy::default() }
}

fn endpoints(ports: std::ops::RangeInclusive<u16>) -> Vec<Endpoint> {
    ports.map(endpoint).collect()
}

const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::PeakEwma,
    Algorithm::RoundRobin,
    Algorithm::LeastRequest,
    Algorithm::Random,
    Algorithm::RingHash,
    Algorithm::Maglev,
];

#[test]
fn every_algorithm_reaches_every_endpoint() {
    let world = World::new();
    for algorithm in ALGORITHMS {
        let (_named, cluster) = world.cluster(policy(algorithm), endpoints(1..=4));
        assert_eq!(world.picks(&cluster, &PickBy::default(), 500), [1, 2, 3, 4], "{algorithm:?}");
    }
}

#[test]
fn no_algorithm_takes_what_was_tried_or_drains_while_there_are_others() {
    let world = World::new();
    let tried = [endpoint(1).address, endpoint(2).address];
    for algorithm in ALGORITHMS {
        let mut all = endpoints(1..=4);
        all[3].draining = true;
        let (_named, cluster) = world.cluster(policy(algorithm), all);
        for hash in [None, Some(7), Some(u64::MAX)] {
            let by = PickBy { hash, tried: &tried, ..PickBy::default() };
            assert_eq!(world.picks(&cluster, &by, 100), [3], "{algorithm:?}");
        }
    }
}

#[test]
fn where_all_were_tried_one_is_tried_again() {
    let world = World::new();
    let tried = [endpoint(1).address];
    for algorithm in ALGORITHMS {
        let (_named, cluster) = world.cluster(policy(algorithm), endpoints(1..=1));
        let by = PickBy { hash: Some(7), tried: &tried, ..PickBy::default() };
        assert_eq!(world.picks(&cluster, &by, 1), [1], "{algorithm:?}");
    }
}

#[test]
fn what_drains_is_taken_where_nothing_else_is() {
    let world = World::new();
    let (_named, cluster) =
        world.cluster(policy(Algorithm::PeakEwma), vec![Endpoint { draining: true, ..endpoint(1) }]);
    assert_eq!(world.picks(&cluster, &PickBy::default(), 10), [1]);
}

#[test]
fn a_cluster_without_endpoints_has_none_to_pick() {
    let world = World::new();
    let (_named, cluster) = world.cluster(policy(Algorithm::Maglev), Vec::new());
    assert!(world.pick(&cluster, &PickBy { hash: Some(1), ..PickBy::default() }).is_none());
}

#[test]
fn round_robin_takes_one_after_the_other() {
    let world = World::new();
    let (_named, cluster) = world.cluster(policy(Algorithm::RoundRobin), endpoints(1..=3));
    let picks: Vec<u16> =
        (0..6).map(|_| world.pick(&cluster, &PickBy::default()).unwrap().endpoint.address.port()).collect();
    assert_eq!(picks[..3], picks[3..]);
    let mut round = picks[..3].to_vec();
    round.sort_unstable();
    assert_eq!(round, [1, 2, 3]);
}

#[test]
fn a_session_stays_with_its_endpoint_until_it_drains() {
    let world = World::new();
    let session = Some(endpoint(2).address);
    let (_named, cluster) = world.cluster(policy(Algorithm::RoundRobin), endpoints(1..=3));
    assert_eq!(world.picks(&cluster, &PickBy { session, ..PickBy::default() }, 10), [2]);
    let tried = [endpoint(2).address];
    assert_eq!(world.picks(&cluster, &PickBy { session, tried: &tried, ..PickBy::default() }, 10), [1, 3]);
    let mut all = endpoints(1..=3);
    all[1].draining = true;
    let (_named, cluster) = world.cluster(policy(Algorithm::RoundRobin), all);
    assert_eq!(world.picks(&cluster, &PickBy { session, ..PickBy::default() }, 10), [1, 3]);
}
