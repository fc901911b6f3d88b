use kube::client::Body;

use super::*;

fn election(pod: &str) -> Election {
    // Nothing is asked of it.
    let service = tower::service_fn(|_: axum::http::Request<Body>| async {
        Err::<axum::http::Response<Body>, std::io::Error>(std::io::Error::other("no API server"))
    });
    let client = kube::Client::new(service, "weft-system");
    let cluster = Cluster { client, namespace: "weft-system".into(), pod: pod.into() };
    Election::new(&cluster, Gauge::default()).0
}

fn held(election: &Election, version: &str) -> Lease {
    let mut lease = election.lease(None);
    lease.metadata.resource_version = Some(version.to_owned());
    lease
}

#[tokio::test]
async fn a_lease_is_taken_from_who_has_not_renewed_it_for_long_by_our_own_clock() {
    let (mut own, other) = (election("a"), election("b"));
    let now = Instant::now();
    assert!(!own.may_take(&held(&other, "1"), now));
    assert!(!own.may_take(&held(&other, "1"), now + DURATION / 2));
    assert!(!own.may_take(&held(&other, "2"), now + DURATION), "it was renewed");
    assert!(!own.may_take(&held(&other, "2"), now + DURATION + DURATION / 2));
    assert!(own.may_take(&held(&other, "2"), now + DURATION * 2));
}

#[tokio::test]
async fn ones_own_lease_and_nobodys_are_free() {
    let mut own = election("a");
    let lease = held(&own, "1");
    assert!(own.may_take(&lease, Instant::now()));
    let mut released = lease.clone();
    released.spec.as_mut().unwrap().holder_identity = Some(String::new());
    assert!(election("b").may_take(&released, Instant::now()));
    assert!(election("b").may_take(&Lease::default(), Instant::now()));
}

#[tokio::test]
async fn who_takes_it_over_counts_and_who_renews_does_not() {
    let (own, other) = (election("a"), election("b"));
    let first = held(&own, "1");
    let renewed = own.lease(Some(&first));
    let taken = other.lease(Some(&renewed));
    let transitions = |lease: &Lease| lease.spec.as_ref().unwrap().lease_transitions;
    assert_eq!([&first, &renewed, &taken].map(transitions), [Some(1), Some(1), Some(2)]);
    assert_eq!(renewed.spec.as_ref().unwrap().acquire_time, first.spec.as_ref().unwrap().acquire_time);
}
