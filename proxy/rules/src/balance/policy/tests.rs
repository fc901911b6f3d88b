use proptest::prelude::*;

use super::*;

fn slow_start(min_percent: u8, aggression: f64) -> SlowStart {
    SlowStart { window: Duration::from_secs(30), min_percent, aggression }
}

#[test]
fn weight_grows_evenly_or_faster_at_the_beginning() {
    let at = |slow: SlowStart, seconds| (slow.weight(Duration::from_secs(seconds)) * 1000.0).round() as u32;
    assert_eq!([0, 1, 3, 15, 30, 99].map(|seconds| at(slow_start(10, 1.0), seconds)), [100, 100, 100, 500, 1000, 1000]);
    assert_eq!(at(slow_start(10, 2.0), 15), 707);
    assert_eq!(at(slow_start(10, 0.5), 15), 250);
}

#[test]
fn panics_below_the_share_and_with_zero_never() {
    let policy = BalancePolicy::default();
    assert!(policy.panics(4, 10) && !policy.panics(5, 10) && !policy.panics(0, 0));
    assert!(policy.panics(0, 1));
    let never = BalancePolicy { panic_percent: 0, ..policy };
    assert!(!never.panics(0, 10));
    let always = BalancePolicy { panic_percent: 100, ..never };
    assert!(always.panics(9, 10) && !always.panics(10, 10));
}

proptest! {
    #[test]
    fn weight_never_falls_and_stays_in_range(min in 0_u8..=100, aggression in 0.01_f64..10.0, age in 0_u64..40_000, more in 0_u64..10_000) {
        let slow = slow_start(min, aggression);
        let (young, old) = (slow.weight(Duration::from_millis(age)), slow.weight(Duration::from_millis(age + more)));
        prop_assert!(young <= old && (0.01..=1.0).contains(&young) && (0.01..=1.0).contains(&old));
        prop_assert!(young >= f64::from(min) / 100.0);
    }

    #[test]
    fn odd_aggressions_do_no_harm(aggression: f64, age: u32) {
        let weight = slow_start(10, aggression).weight(Duration::from_millis(u64::from(age)));
        prop_assert!((0.01..=1.0).contains(&weight));
    }
}
