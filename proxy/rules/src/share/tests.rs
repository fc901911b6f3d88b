use proptest::prelude::*;

use super::*;

/// Random numbers that are spread evenly over all of `u64`.
fn spread(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |step| (u64::MAX / count) * step + u64::MAX / count / 2)
}

#[test]
fn none_is_nobody_and_all_is_everybody() {
    for random in [0, 1, u64::MAX / 2, u64::MAX] {
        assert!(!Share::NONE.hits(random) && Share::ALL.hits(random));
    }
}

#[test]
fn fractions_are_never_more_than_all() {
    assert_eq!(Share::from(1, 3).parts_per_million(), 333_333);
    assert_eq!(Share::from(u32::MAX, 1), Share::ALL);
    assert_eq!(Share::from(u32::MAX, u32::MAX), Share::ALL);
    assert_eq!(Share::from(150, 10_000).parts_per_million(), 15_000);
    assert_eq!(Share::from(1, 0), Share::NONE);
}

proptest! {
    #[test]
    fn converges_to_the_fraction(numerator in 0_u32..=1000, denominator in 1_u32..=1000) {
        let share = Share::from(numerator, denominator);
        let hits = spread(10_000).filter(|random| share.hits(*random)).count() as f64;
        let expected = (f64::from(numerator) / f64::from(denominator)).min(1.0) * 10_000.0;
        prop_assert!((hits - expected).abs() <= 2.0, "{hits} for {expected}");
    }
}
