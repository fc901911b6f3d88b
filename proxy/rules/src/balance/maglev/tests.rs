use proptest::prelude::*;

use super::*;

fn endpoints(count: u64) -> Vec<(u64, u32)> {
    (0..count).map(|number| (crate::hash::hash(&number.to_be_bytes()), 1)).collect()
}

fn counts(table: &Table, count: usize) -> Vec<u32> {
    let mut counts = vec![0; count];
    for index in &table.entries {
        counts[*index as usize] += 1;
    }
    counts
}

#[test]
fn nothing_from_nothing() {
    assert_eq!(Table::default().pick(1, |_| true), None);
    assert_eq!(Table::build(&[]).pick(1, |_| true), None);
    assert_eq!(Table::build(&[(7, 0)]).pick(1, |_| true), None);
    assert_eq!(Table::build(&endpoints(3)).pick(1, |_| false), None);
}

#[test]
fn entries_are_shared_evenly() {
    let counts = counts(&Table::build(&endpoints(100)), 100);
    assert!(counts.iter().all(|count| (655..=656).contains(count)), "{counts:?}");
}

#[test]
fn when_one_of_a_hundred_leaves_few_others_move() {
    let all = endpoints(100);
    let before = Table::build(&all);
    for gone in [0_usize, 50, 99] {
        let mut left = all.clone();
        left.remove(gone);
        let after = Table::build(&left);
        let pairs = before.entries.iter().zip(&after.entries);
        let moved =
            pairs.filter(|(old, new)| **old as usize != gone && all[**old as usize] != left[**new as usize]).count();
        assert!(moved < SIZE as usize / 25, "{moved} of {SIZE} entries of endpoints that stayed");
    }
}

#[test]
fn weights_are_kept() {
    let mut weighted = endpoints(4);
    for ((_, weight), given) in weighted.iter_mut().zip([1, 2, 0, 5]) {
        *weight = given;
    }
    let counts = counts(&Table::build(&weighted), 4);
    for (count, share) in counts.iter().zip([1.0, 2.0, 0.0, 5.0]) {
        assert!((f64::from(*count) - share / 8.0 * SIZE as f64).abs() < 3.0, "{counts:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_endpoints_is_no_matter(count in 1_u64..30, rotate in 0_usize..30, key: u64) {
        let one = endpoints(count);
        let mut other = one.clone();
        other.rotate_left(rotate % one.len());
        let pick = |endpoints: &[(u64, u32)]| endpoints[Table::build(endpoints).pick(key, |_| true).unwrap()];
        prop_assert_eq!(pick(&one), pick(&other));
    }

    #[test]
    fn what_is_usable_is_found_and_always_the_same(count in 2_u64..100, only: usize, key: u64) {
        let table = Table::build(&endpoints(count));
        let only = only % count as usize;
        prop_assert_eq!(table.pick(key, |index| index == only), Some(only));
        let usual = table.pick(key, |_| true).unwrap();
        let instead = table.pick(key, |index| index != usual);
        prop_assert!(instead.is_some() && instead != Some(usual));
        prop_assert_eq!(instead, table.pick(key, |index| index != usual));
    }
}
