//! What is picked, by policy and by request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use weft_rules::balance::{Algorithm, BalancePolicy, SlowStart};

use crate::discovery::{Cluster, ClusterCounters, ClusterPolicy, Endpoint, Endpoints, Place};
use crate::path::upstream::testing::{World, endpoint};
use crate::path::upstream::{ClusterState, PickBy};

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

/// Where each of many hashes leads to.
fn places(world: &World, cluster: &ClusterState, tried: &[SocketAddr]) -> Vec<u16> {
    let hashes = (0..500_u64).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    hashes
        .map(|hash| {
            let by = PickBy { hash: Some(hash), tried, ..PickBy::default() };
            world.pick(cluster, &by).unwrap().endpoint.address.port()
        })
        .collect()
}

#[test]
fn a_hash_leads_to_one_endpoint_in_each_proxy_and_few_move_when_one_leaves() {
    let (world, other) = (World::new(), World::new());
    for algorithm in [Algorithm::RingHash, Algorithm::Maglev] {
        let (named, cluster) = world.cluster(policy(algorithm), endpoints(1..=10));
        let before = places(&world, &cluster, &[]);
        assert_eq!(before, places(&other, &other.upstreams.cluster(&named), &[]));
        let (_named, without) = world.cluster(policy(algorithm), endpoints(1..=9));
        let after = places(&world, &without, &[]);
        let stayed = before.iter().zip(&after).filter(|(before, after)| before == after).count();
        assert!(stayed > 400, "{algorithm:?}: {stayed} of 500");
    }
}

#[test]
fn a_hash_whose_endpoint_was_tried_leads_to_one_other_endpoint() {
    let world = World::new();
    for algorithm in [Algorithm::RingHash, Algorithm::Maglev] {
        let (_named, cluster) = world.cluster(policy(algorithm), endpoints(1..=10));
        let (before, tried) = (places(&world, &cluster, &[]), [endpoint(3).address]);
        let after = places(&world, &cluster, &tried);
        assert_eq!(after, places(&world, &cluster, &tried));
        assert!(before.iter().zip(&after).all(|(before, after)| if *before == 3 {
            *after != 3
        } else {
            before == after
        }));
    }
}

#[test]
fn the_own_zone_comes_first_while_it_has_endpoints() {
    let world = World::new();
    let zoned = |port, zone| Endpoint { place: place(zone, ""), ..endpoint(port) };
    let all = || vec![zoned(1, "a"), zoned(2, "a"), zoned(3, "b"), zoned(4, "")];
    for algorithm in [Algorithm::PeakEwma, Algorithm::RoundRobin, Algorithm::LeastRequest, Algorithm::Random] {
        let balance = BalancePolicy { algorithm, zone_aware: true, ..BalancePolicy::default() };
        let zone_aware = ClusterPolicy { balance, ..ClusterPolicy::default() };
        let (_named, cluster) = world.cluster(zone_aware, all());
        for (zone, picks) in [("", vec![1, 2, 3, 4]), ("a", vec![1, 2]), ("b", vec![3]), ("c", vec![1, 2, 3, 4])] {
            world.upstreams.maintain(Instant::now(), &place(zone, ""));
            assert_eq!(world.picks(&cluster, &PickBy::default(), 500), picks, "{algorithm:?} in {zone:?}");
        }
        world.upstreams.maintain(Instant::now(), &place("a", ""));
        let tried = [endpoint(1).address, endpoint(2).address];
        assert_eq!(world.picks(&cluster, &PickBy { tried: &tried, ..PickBy::default() }, 200), [3, 4]);
        let (_named, cluster) = world.cluster(policy(algorithm), all());
        assert_eq!(world.picks(&cluster, &PickBy::default(), 500), [1, 2, 3, 4], "not asked for");
    }
}

fn place(zone: &str, node: &str) -> Place {
    Place { zone: zone.into(), node: node.into() }
}

#[test]
fn the_own_node_comes_before_the_own_zone_while_it_has_usable_endpoints() {
    let world = World::new();
    let at = |port, zone, node| Endpoint { place: place(zone, node), ..endpoint(port) };
    let balance = BalancePolicy { zone_aware: true, ..BalancePolicy::default() };
    let policy = || ClusterPolicy { balance: balance.clone(), ..ClusterPolicy::default() };
    let all = vec![at(1, "a", "n1"), at(2, "a", "n2"), at(3, "a", "n2"), at(4, "b", "n3"), at(5, "b", "")];
    let (_named, cluster) = world.cluster(policy(), all.clone());
    let cases: [(_, _, &[u16]); 6] = [
        ("a", "n1", &[1]),
        ("a", "n2", &[2, 3]),
        ("a", "n4", &[1, 2, 3]),
        ("", "n3", &[4]),
        ("c", "n4", &[1, 2, 3, 4, 5]),
        ("", "", &[1, 2, 3, 4, 5]),
    ];
    for (zone, node, picks) in cases {
        world.upstreams.maintain(Instant::now(), &place(zone, node));
        assert_eq!(world.picks(&cluster, &PickBy::default(), 500), picks, "on {node:?} in {zone:?}");
    }
    world.upstreams.maintain(Instant::now(), &place("a", "n1"));
    let tried = [endpoint(1).address];
    let again = world.picks(&cluster, &PickBy { tried: &tried, ..PickBy::default() }, 200);
    assert_eq!(again, [2, 3, 4, 5], "another attempt goes elsewhere");
    let mut all = all;
    all[0].draining = true;
    let (_named, cluster) = world.cluster(policy(), all);
    assert_eq!(world.picks(&cluster, &PickBy::default(), 500), [2, 3], "one that drains is not usable");
}

#[tokio::test]
async fn a_zone_with_too_much_to_do_overflows() {
    let world = World::new();
    let zoned = |port, zone| Endpoint { place: place(zone, ""), ..endpoint(port) };
    let balance = BalancePolicy { algorithm: Algorithm::Random, zone_aware: true, ..BalancePolicy::default() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap().port();
    let zone_aware = ClusterPolicy { balance, ..ClusterPolicy::default() };
    let (_named, cluster) = world.cluster(zone_aware, vec![zoned(here, "a"), zoned(1, "b")]);
    world.upstreams.maintain(Instant::now(), &place("a", ""));
    assert_eq!(world.picks(&cluster, &PickBy::default(), 200), [here]);
    let busy = world.pick(&cluster, &PickBy::default()).unwrap();
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(busy.connect().await.unwrap());
    }
    assert_eq!(world.picks(&cluster, &PickBy::default(), 200), [1, here]);
    drop(open);
    assert_eq!(world.picks(&cluster, &PickBy::default(), 200), [here]);
}

#[test]
fn a_new_endpoint_gets_its_share_slowly() {
    let world = World::new();
    let window = Duration::from_secs(30);
    for algorithm in [Algorithm::PeakEwma, Algorithm::RoundRobin, Algorithm::LeastRequest, Algorithm::Random] {
        let slow_start = Some(SlowStart { window, min_percent: 10, aggression: 1.0 });
        let balance = BalancePolicy { algorithm, slow_start, ..BalancePolicy::default() };
        let policy = ClusterPolicy { balance, ..ClusterPolicy::default() };
        let all = |ports| Endpoints { all: endpoints(ports).into_iter().map(Arc::new).collect() };
        let known = Arc::new(ArcSwap::from_pointee(all(1..=3)));
        let counters = Arc::new(ClusterCounters::new(&policy.limits));
        let cluster = Cluster::sharing("shop/api:8080".into(), Arc::new(policy), counters, Arc::clone(&known));
        let cluster = world.upstreams.cluster(&Arc::new(cluster));
        let start = Instant::now();
        let share = |now| {
            let picks = (0..1000).filter_map(|_| cluster.pick(&world.upstreams, &PickBy::default(), now));
            picks.filter(|picked| picked.endpoint.address.port() == 4).count()
        };
        assert_eq!(share(start), 0);
        known.store(Arc::new(all(1..=4)));
        let (first, last) = (share(start), share(start + window));
        assert!(first < 100, "{algorithm:?}: {first} of 1000");
        assert!((150..350).contains(&last), "{algorithm:?}: {last} of 1000");
    }
}
