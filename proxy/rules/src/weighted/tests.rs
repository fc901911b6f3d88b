use proptest::prelude::*;

use super::*;

/// Random numbers that are spread evenly over all of `u64`.
fn spread(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |step| (u64::MAX / count) * step + u64::MAX / count / 2)
}

#[test]
fn refuses_what_can_never_be_picked() {
    assert_eq!(Weighted::<u8>::new(vec![]), Err(WeightError::Empty));
    assert_eq!(Weighted::new(vec![('a', 0), ('b', 0)]), Err(WeightError::AllZero { count: 2 }));
}

#[test]
fn the_ends_of_the_random_range_fall_on_the_first_and_the_last_item() {
    let weighted = Weighted::new(vec![('z', 0), ('a', 1), ('y', 0), ('b', 1), ('x', 0)]).unwrap();
    assert_eq!(*weighted.pick(0), 'a');
    assert_eq!(*weighted.pick(u64::MAX / 2), 'a');
    assert_eq!(*weighted.pick(u64::MAX / 2 + 1), 'b');
    assert_eq!(*weighted.pick(u64::MAX), 'b');
}

#[test]
fn the_greatest_weights_do_not_overflow() {
    let weighted = Weighted::new(vec![('a', u32::MAX), ('b', u32::MAX), ('c', u32::MAX)]).unwrap();
    assert_eq!(*weighted.pick(u64::MAX), 'c');
}

#[test]
fn lists_items_in_order_with_those_of_weight_zero() {
    let weighted = Weighted::new(vec![('b', 3), ('a', 0)]).unwrap();
    assert_eq!(weighted.iter().collect::<Vec<_>>(), [(&'b', 3), (&'a', 0)]);
    assert_eq!(Weighted::single('s').iter().collect::<Vec<_>>(), [(&'s', 1)]);
}

proptest! {
    #[test]
    fn shares_are_the_weights_and_zero_is_never_picked(weights in prop::collection::vec(0_u32..1000, 1..20)) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let weighted = Weighted::new(weights.iter().copied().enumerate().collect()).unwrap();
        let picks = 20_000;
        let mut seen = vec![0_u32; weights.len()];
        for random in spread(picks) {
            seen[*weighted.pick(random)] += 1;
        }
        let total: u32 = weights.iter().sum();
        for (weight, seen) in weights.iter().zip(&seen) {
            let expected = f64::from(*weight) / f64::from(total) * picks as f64;
            // Evenly spread numbers miss by at most one at each end of a share.
            prop_assert!((f64::from(*seen) - expected).abs() <= 2.0, "{weights:?} gave {seen:?}");
            prop_assert!(*weight > 0 || *seen == 0);
        }
    }

    #[test]
    fn any_random_number_picks_an_item_with_a_weight(weights in prop::collection::vec(0..=u32::MAX, 1..8), random: u64) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let weighted = Weighted::new(weights.iter().map(|weight| (*weight, *weight)).collect()).unwrap();
        prop_assert!(*weighted.pick(random) > 0);
    }
}
