use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn endpoints(count: u64) -> Vec<(u64, u32)> {
    (0..count).map(|number| (crate::hash::hash(&number.to_be_bytes()), 1)).collect()
}

fn keys() -> impl Iterator<Item = u64> {
    (0..20_000_u64).map(|number| crate::hash::hash(format!("user-{number}").as_bytes()))
}

#[test]
fn nothing_from_nothing() {
    assert_eq!(Ring::default().pick(1, |_| true), None);
    assert_eq!(Ring::build(&[]).pick(1, |_| true), None);
    assert_eq!(Ring::build(&[(7, 0)]).pick(1, |_| true), None);
    assert_eq!(Ring::build(&endpoints(3)).pick(1, |_| false), None);
}

#[test]
fn when_one_of_a_hundred_leaves_only_its_keys_move() {
    let all = endpoints(100);
    let before = Ring::build(&all);
    for gone in [0_usize, 50, 99] {
        let mut left = all.clone();
        left.remove(gone);
        let after = Ring::build(&left);
        let (mut moved, mut its_own) = (0, 0);
        for key in keys() {
            let old = all[before.pick(key, |_| true).unwrap()];
            let new = left[after.pick(key, |_| true).unwrap()];
            its_own += u32::from(old == all[gone]);
            moved += u32::from(old != new && old != all[gone]);
        }
        assert_eq!(moved, 0, "keys of endpoints that stayed");
        assert!((100..350).contains(&its_own), "{its_own} of 20,000");
    }
}

#[test]
fn keys_are_shared_about_evenly() {
    let ring = Ring::build(&endpoints(20));
    let mut seen = HashMap::new();
    for key in keys() {
        *seen.entry(ring.pick(key, |_| true).unwrap()).or_insert(0) += 1;
    }
    assert!(seen.len() == 20 && seen.values().all(|count| (650..1_450).contains(count)), "{seen:?}");
}

#[test]
fn thousands_of_endpoints_all_have_a_place() {
    let many = endpoints(3_000);
    let ring = Ring::build(&many);
    assert!(ring.points.len() <= MAX_POINTS as usize);
    let placed: std::collections::BTreeSet<u32> = ring.points.iter().map(|(_, index)| *index).collect();
    assert_eq!(placed.len(), many.len());
}

proptest! {
    #[test]
    fn the_order_of_endpoints_is_no_matter(count in 1_u64..30, rotate in 0_usize..30, key: u64) {
        let one = endpoints(count);
        let mut other = one.clone();
        other.rotate_left(rotate % one.len());
        let pick = |endpoints: &[(u64, u32)]| endpoints[Ring::build(endpoints).pick(key, |_| true).unwrap()];
        prop_assert_eq!(pick(&one), pick(&other));
    }

    #[test]
    fn only_what_is_usable_and_has_a_weight_is_picked(weights in prop::collection::vec(0_u32..4, 1..10), out in 0_usize..10, key: u64) {
        let all: Vec<_> = endpoints(10).into_iter().zip(&weights).map(|((hash, _), weight)| (hash, *weight)).collect();
        let picked = Ring::build(&all).pick(key, |index| index != out);
        prop_assert_eq!(picked.is_some(), weights.iter().enumerate().any(|(index, weight)| *weight > 0 && index != out));
        prop_assert!(picked.is_none_or(|index| weights[index] > 0 && index != out));
    }
}
