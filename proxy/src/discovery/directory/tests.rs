use std::time::Instant;

use weft_rules::route::Routes;

use super::*;
use crate::discovery::values::{Protocol, Traffic};

const IDLE: Duration = Duration::from_secs(600);

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 96, 0, last], 80))
}

fn destination() -> Arc<Destination> {
    let traffic = Traffic {
        protocol: Protocol::Http,
        routes: Routes::new(Vec::new()),
        tls: Vec::new(),
        opaque: None,
        service: "a/b:80".into(),
    };
    Arc::new(Destination::new(Arc::new(traffic)))
}

/// The table with room for so many, without a control thread.
fn table(capacity: usize) -> (Arc<Shared>, Holdings) {
    let shared = Arc::new(Shared::default());
    (shared.clone(), Holdings::new(shared, capacity, IDLE))
}

fn admitted(evicted: &[SocketAddr]) -> Admission {
    Admission::Admitted { evicted: evicted.to_vec() }
}

#[test]
fn what_is_published_is_found_until_it_expires() {
    let (shared, mut holdings) = table(10);
    let start = Instant::now();
    assert_eq!(holdings.admit(address(1), start), admitted(&[]));
    assert_eq!(holdings.admit(address(1), start), Admission::Held);
    assert!(shared.lookup(address(1)).is_none());
    holdings.publish(address(1), Some(destination()));
    assert!(matches!(shared.lookup(address(1)), Some(Answer::Known(_))));
    assert!(holdings.expire(start).is_empty(), "it is marked as used");

    assert!(holdings.expire(start + IDLE / 2).is_empty());
    assert_eq!(holdings.expire(start + IDLE), [address(1)]);
    assert!(shared.lookup(address(1)).is_none());
    assert_eq!(shared.destinations.load(Ordering::Relaxed), 0);
}

#[test]
fn each_use_puts_the_expiry_off() {
    let (shared, mut holdings) = table(10);
    let start = Instant::now();
    holdings.admit(address(1), start);
    holdings.publish(address(1), None);
    assert!(holdings.expire(start).is_empty());
    assert!(matches!(shared.lookup(address(1)), Some(Answer::Unknown)));
    assert!(holdings.expire(start + IDLE).is_empty(), "it was used since the last look");
    assert_eq!(holdings.expire(start + IDLE * 2), [address(1)]);
}

#[test]
fn a_destination_that_a_connection_holds_never_expires() {
    let (shared, mut holdings) = table(1);
    let start = Instant::now();
    holdings.admit(address(1), start);
    holdings.publish(address(1), Some(destination()));
    let held = shared.lookup(address(1)).unwrap();
    assert!(holdings.expire(start + IDLE).is_empty());
    assert!(holdings.expire(start + IDLE * 3).is_empty());
    assert_eq!(holdings.admit(address(2), start + IDLE * 4), Admission::Full);
    drop(held);
    assert_eq!(holdings.expire(start + IDLE * 5), [address(1)]);
}

#[test]
fn the_one_that_was_unused_for_longest_makes_room() {
    let (shared, mut holdings) = table(3);
    let start = Instant::now();
    for last in 1..=3 {
        holdings.admit(address(last), start);
        holdings.publish(address(last), None);
    }
    let second = Duration::from_secs(1);
    holdings.expire(start);
    shared.lookup(address(1));
    shared.lookup(address(3));
    holdings.expire(start + second);
    assert_eq!(holdings.admit(address(4), start + second * 2), admitted(&[address(2)]));
    assert!(shared.lookup(address(2)).is_none());
    assert_eq!(shared.evicted.load(Ordering::Relaxed), 1);
    assert_eq!(shared.destinations.load(Ordering::Relaxed), 3);
}

#[test]
fn the_table_stays_bounded_however_many_addresses_are_dialled() {
    let (shared, mut holdings) = table(100);
    let mut now = Instant::now();
    for port in 1..=5000_u16 {
        let dialled = SocketAddr::from(([10, 0, 0, 1], port));
        now += Duration::from_millis(1);
        assert_ne!(holdings.admit(dialled, now), Admission::Full);
        holdings.publish(dialled, None);
        assert!(shared.destinations.load(Ordering::Relaxed) <= 100);
    }
    let found = (1..=5000_u16).filter(|port| shared.lookup(SocketAddr::from(([10, 0, 0, 1], *port))).is_some());
    assert_eq!(found.count(), shared.destinations.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_look_up_without_an_answer_ends_after_the_time_out() {
    let (directory, _shared, _commands) = Directory::new(Duration::from_secs(1));
    let started = tokio::time::Instant::now();
    assert!(matches!(directory.destination(address(1)).await, Answer::Unavailable));
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(directory.counts().unavailable, 1);
}

#[tokio::test]
async fn an_ipv4_address_within_ipv6_is_the_ipv4_address() {
    let (directory, shared, _commands) = Directory::new(Duration::from_secs(1));
    let mut holdings = Holdings::new(shared, 10, IDLE);
    holdings.admit(address(1), Instant::now());
    holdings.publish(address(1), None);
    let mapped = "[::ffff:10.96.0.1]:80".parse().unwrap();
    assert!(matches!(directory.destination(mapped).await, Answer::Unknown));
}

#[test]
fn before_the_control_plane_has_spoken_everything_is_strict() {
    let (directory, shared, _commands) = Directory::new(Duration::from_secs(1));
    assert!(!directory.inbound_held());
    assert_eq!(directory.inbound().port(8080).mtls, crate::discovery::Mtls::Strict);
    shared.publish_inbound(Arc::default());
    assert!(directory.inbound_held());
}
