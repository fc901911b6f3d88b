use proptest::prelude::*;

use super::*;

fn figures(latencies: &[(usize, u64)]) -> Figures {
    let mut figures = Figures::default();
    for (bucket, count) in latencies {
        figures.latencies[*bucket] += count;
        figures.issued += count;
    }
    figures
}

#[test]
fn no_request_is_no_rate() {
    assert_eq!(Figures::default().error_rate(), None);
    assert_eq!(Figures::default().quantile(0.99), None);
}

#[test]
fn a_quantile_lies_in_its_bucket() {
    // 98 within 5 ms, 2 within 500 ms.
    let figures = figures(&[(3, 98), (9, 2)]);
    let p50 = figures.quantile(0.5).unwrap();
    assert!(Duration::from_micros(2500) < p50 && p50 < Duration::from_millis(5), "{p50:?}");
    let p99 = figures.quantile(0.99).unwrap();
    assert!(Duration::from_millis(250) < p99 && p99 <= Duration::from_millis(500), "{p99:?}");
}

#[test]
fn what_takes_longer_than_any_bound_counts_as_the_last() {
    assert_eq!(figures(&[(BUCKETS - 1, 3)]).quantile(0.5), Some(Duration::from_secs(10)));
}

proptest! {
    #[test]
    fn quantiles_rise_with_the_share(counts in proptest::array::uniform15(0u64..1000), a in 0.0..1.0f64, b in 0.0..1.0f64) {
        let figures = Figures { issued: counts.iter().sum(), errors: 0, latencies: counts };
        let (low, high) = (a.min(b), a.max(b));
        prop_assert!(figures.quantile(low) <= figures.quantile(high));
    }

    #[test]
    fn a_bound_is_exceeded_exactly_by_what_lies_above(counts in proptest::array::uniform15(0u64..1000), bound in 0usize..14) {
        // For a limit that is a bucket's bound, the quantile exceeds it just when too many requests do.
        let total: u64 = counts.iter().sum();
        prop_assume!(total > 0);
        let figures = Figures { issued: total, errors: 0, latencies: counts };
        let within: u64 = counts.iter().take(bound + 1).sum();
        let quantile = figures.quantile(0.9).unwrap();
        let limit = Duration::from_secs_f64(LATENCY_BOUNDS[bound]);
        if bound < 13 {
            prop_assert_eq!(quantile > limit, (within as f64) < 0.9 * total as f64);
        }
    }

    #[test]
    fn nothing_overflows(errors in any::<u64>(), issued in any::<u64>(), count in any::<u64>()) {
        let mut sum = Figures { issued, errors, latencies: [count; BUCKETS] };
        sum.add(&sum.clone());
        prop_assert!(sum.error_rate().is_none_or(|rate| (0.0..=1.0).contains(&rate)));
        prop_assert!(sum.quantile(0.99).is_none_or(|latency| latency <= Duration::from_secs(10)));
    }
}
