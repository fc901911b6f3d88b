use std::time::Instant;

use proptest::prelude::*;

use super::*;
use Observation::{GatewayFailure, ServerError, Success};

const SECOND: Duration = Duration::from_secs(1);

fn detector(policy: OutlierPolicy, hosts: u32) -> (Detector<u32>, Instant) {
    let now = Instant::now();
    let mut detector = Detector::new(policy, now);
    assert!(detector.keep(now, 0..hosts).is_empty());
    (detector, now)
}

fn only_consecutive() -> OutlierPolicy {
    OutlierPolicy { success_rate: None, ..OutlierPolicy::default() }
}

fn observe_many(
    detector: &mut Detector<u32>,
    host: u32,
    now: Instant,
    observations: &[Observation],
) -> Option<Ejection> {
    observations.iter().filter_map(|observation| detector.observe(&host, now, *observation)).last()
}

#[test]
fn failures_in_a_row_eject_and_a_success_begins_anew() {
    let (mut detector, now) = detector(only_consecutive(), 10);
    assert_eq!(observe_many(&mut detector, 1, now, &[GatewayFailure; 4]), None);
    assert_eq!(observe_many(&mut detector, 1, now, &[Success]), None);
    assert_eq!(observe_many(&mut detector, 1, now, &[GatewayFailure; 4]), None);
    let ejection = detector.observe(&1, now, GatewayFailure).unwrap();
    assert_eq!(ejection, Ejection { until: now + 30 * SECOND, cause: Cause::ConsecutiveGateway, times: 1 });
    assert!(detector.is_ejected(&1, now) && !detector.is_ejected(&2, now));
    assert_eq!(detector.ejected(now), 1);
}

#[test]
fn all_5xx_count_for_one_criterion_and_gateway_failures_for_both() {
    let (mut detector, now) = detector(only_consecutive(), 20);
    let mixed = [GatewayFailure, GatewayFailure, ServerError, GatewayFailure, GatewayFailure];
    assert_eq!(observe_many(&mut detector, 1, now, &mixed).unwrap().cause, Cause::Consecutive5xx);
    let policy = OutlierPolicy { consecutive_5xx: None, ..only_consecutive() };
    let (mut detector, now) = self::detector(policy, 20);
    assert_eq!(observe_many(&mut detector, 1, now, &[ServerError; 50]), None);
    assert_eq!(observe_many(&mut detector, 1, now, &mixed), None);
    for (status, expected) in
        [(200, Success), (499, Success), (500, ServerError), (503, GatewayFailure), (505, ServerError)]
    {
        assert_eq!(Observation::of_status(http::StatusCode::from_u16(status).unwrap()), expected);
    }
}

#[test]
fn returns_after_a_time_that_grows_and_shrinks_again() {
    let (mut detector, mut now) = detector(only_consecutive(), 10);
    for times in 1..=3 {
        let ejection = observe_many(&mut detector, 1, now, &[ServerError; 5]).unwrap();
        assert_eq!(ejection, Ejection { until: now + 30 * SECOND * times, cause: Cause::Consecutive5xx, times });
        assert!(detector.sweep(now + SECOND).returned.is_empty());
        now = ejection.until;
        assert!(!detector.is_ejected(&1, now));
        assert_eq!(detector.sweep(now).returned, [1]);
        assert!(detector.sweep(now).returned.is_empty(), "told once");
    }
    for _ in 0..3 {
        now += 10 * SECOND;
        detector.sweep(now);
    }
    assert_eq!(observe_many(&mut detector, 1, now, &[ServerError; 5]).unwrap().times, 1);
}

#[test]
fn who_fails_again_before_a_sweep_said_it_returned_begins_anew() {
    let (mut detector, now) = detector(only_consecutive(), 10);
    let until = observe_many(&mut detector, 1, now, &[ServerError; 5]).unwrap().until;
    assert_eq!(detector.observe(&1, now, ServerError), None, "late answers count for nothing");
    assert_eq!(observe_many(&mut detector, 1, until, &[ServerError; 1]), None);
}

#[test]
fn no_more_than_the_share_and_one_of_few() {
    let (mut detector, now) = detector(only_consecutive(), 3);
    assert!(observe_many(&mut detector, 0, now, &[ServerError; 5]).is_some());
    assert!(observe_many(&mut detector, 1, now, &[ServerError; 50]).is_none());
    let until = now + 30 * SECOND;
    assert!(detector.observe(&1, until, ServerError).is_some(), "its turn has come");
    let none = OutlierPolicy { max_ejected_percent: 0, ..only_consecutive() };
    let (mut detector, now) = self::detector(none, 3);
    assert!(observe_many(&mut detector, 0, now, &[ServerError; 50]).is_none());
}

#[test]
fn when_endpoints_leave_so_many_ejected_ones_return_that_the_share_is_kept() {
    let (mut detector, now) = detector(only_consecutive(), 20);
    observe_many(&mut detector, 1, now, &[ServerError; 5]).unwrap();
    observe_many(&mut detector, 2, now + SECOND, &[ServerError; 5]).unwrap();
    assert_eq!(detector.keep(now + SECOND, 0..10), [1]);
    assert!(!detector.is_ejected(&1, now + SECOND) && detector.is_ejected(&2, now + SECOND));
    assert!(detector.observe(&15, now, ServerError).is_none(), "no longer watched");
}

#[test]
fn who_is_far_below_the_others_is_ejected_once_an_interval_is_over() {
    let policy = OutlierPolicy { consecutive_5xx: None, consecutive_gateway: None, ..OutlierPolicy::default() };
    let (mut detector, now) = detector(policy, 10);
    for host in 0..10 {
        for request in 0..100 {
            let failed = request % 10 == 0 || (host == 7 && request % 2 == 0);
            detector.observe(&host, now, if failed { GatewayFailure } else { Success });
        }
    }
    assert_eq!(detector.sweep(now + 9 * SECOND), Sweep::default());
    let sweep = detector.sweep(now + 10 * SECOND);
    let expected = Ejection { until: now + 40 * SECOND, cause: Cause::SuccessRate, times: 1 };
    assert_eq!(sweep, Sweep { ejected: vec![(7, expected)], returned: vec![] });
    assert_eq!(detector.sweep(now + 20 * SECOND), Sweep::default(), "the interval began anew");
}

#[test]
fn those_who_are_all_alike_or_too_few_are_not_compared() {
    for (hosts, requests) in [(10, 101), (4, 101), (10, 99)] {
        let (mut detector, now) = detector(
            OutlierPolicy { consecutive_5xx: None, consecutive_gateway: None, ..OutlierPolicy::default() },
            hosts,
        );
        for host in 0..hosts {
            for request in 0..requests {
                let bad = request % 3 == 0 || (host == 0 && hosts * requests != 1010);
                detector.observe(&host, now, if bad { ServerError } else { Success });
            }
        }
        assert_eq!(detector.sweep(now + 10 * SECOND), Sweep::default());
    }
}

proptest! {
    /// Whatever happens, no more are out than may be, none for longer than may be, and each that goes out comes back.
    #[test]
    fn ejection_never_passes_its_cap(
        hosts in 1_u32..30, percent in 0_u8..=100, fewer in 0_u32..30,
        steps in prop::collection::vec((0_u32..30, 0_u64..8_000, 0_u8..8), 1..300),
    ) {
        let policy = OutlierPolicy {
            consecutive_5xx: Some(2), consecutive_gateway: Some(1), max_ejected_percent: percent, max_ejection: 60 * SECOND,
            success_rate: Some(SuccessRate { min_hosts: 2, min_requests: 2, stdev_factor: 0.5 }), ..OutlierPolicy::default()
        };
        let (mut detector, mut now) = detector(policy, hosts);
        let (mut count, mut out) = (hosts, std::collections::HashMap::new());
        for (number, (host, wait, what)) in steps.into_iter().enumerate() {
            now += Duration::from_millis(wait);
            let host = host % hosts;
            let ejection = match what {
                0..3 => detector.observe(&host, now, Success),
                3..5 => detector.observe(&host, now, GatewayFailure),
                _ => detector.observe(&host, now, ServerError),
            };
            let swept = if what % 2 == 0 { detector.sweep(now) } else { Sweep::default() };
            for key in &swept.returned {
                prop_assert!(out.remove(key).is_some_and(|until| until <= now));
            }
            for (key, ejection) in ejection.map(|ejection| (host, ejection)).into_iter().chain(swept.ejected) {
                prop_assert!(ejection.until > now && ejection.until - now <= 60 * SECOND);
                out.insert(key, ejection.until);
            }
            if number == 150 {
                count = hosts.saturating_sub(fewer).max(1);
                for key in detector.keep(now, 0..count) {
                    out.remove(&key);
                }
                out.retain(|key, _| *key < count);
            }
            let allowed = if percent == 0 { 0 } else { (count as usize * usize::from(percent) / 100).max(1) };
            let ejected = (0..hosts).filter(|host| detector.is_ejected(host, now)).count();
            prop_assert!(ejected <= allowed, "{ejected} of {count} with {percent} %");
            prop_assert_eq!(ejected, detector.ejected(now));
            prop_assert_eq!(ejected, out.values().filter(|until| **until > now).count());
        }
    }
}
