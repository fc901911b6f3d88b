use super::*;

#[test]
fn a_condition_holds_while_one_worker_says_so() {
    let (conditions, now) = (Conditions::default(), Instant::now());
    let cluster: Arc<str> = "shop/api:80".into();
    let address = ([10, 0, 0, 1], 8080).into();
    conditions.eject(&cluster, address, now + Duration::from_millis(1500));
    conditions.eject(&cluster, address, now + Duration::from_secs(1));
    conditions.breaker_opened(&cluster, Breaker::Requests, now);
    conditions.uneject(&cluster, address);

    let snapshot = conditions.snapshot(now + Duration::from_millis(250));
    let ejected = EjectedEndpoint { cluster: cluster.to_string(), address, seconds_left: 2 };
    let open = OpenBreaker { cluster: cluster.to_string(), which: Breaker::Requests, seconds: 0 };
    assert_eq!(snapshot, Snapshot { ejected: vec![ejected], open_breakers: vec![open] });

    conditions.uneject(&cluster, address);
    conditions.uneject(&cluster, address);
    conditions.breaker_closed(&cluster, Breaker::Pending);
    conditions.breaker_closed(&cluster, Breaker::Requests);
    assert_eq!(conditions.snapshot(now), Snapshot::default());
}
