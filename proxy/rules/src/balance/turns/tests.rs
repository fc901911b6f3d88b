use proptest::prelude::*;

use super::*;

fn full(_: usize) -> f64 {
    1.0
}

#[test]
fn one_after_the_other_also_when_their_number_changes() {
    let mut turns = RoundRobin::default();
    let mut picks = |counts: &[usize]| counts.iter().map(|count| turns.pick(*count, 0, full)).collect::<Vec<_>>();
    assert_eq!(picks(&[3, 3, 3, 3]), [Some(0), Some(1), Some(2), Some(0)]);
    assert_eq!(picks(&[0, 3, 2, 2, 1]), [None, Some(1), Some(0), Some(1), Some(0)]);
}

#[test]
fn nothing_from_nothing() {
    assert_eq!(draw(0, 7, full), None);
    assert_eq!(RoundRobin::starting_at(u64::MAX).pick(0, 7, full), None);
}

#[test]
fn draws_evenly() {
    let mut seen = [0_u32; 7];
    for random in (0..70_000_u64).map(mix) {
        seen[draw(7, random, full).unwrap()] += 1;
    }
    assert!(seen.iter().all(|count| (9_600..10_400).contains(count)), "{seen:?}");
}

proptest! {
    #[test]
    fn shares_converge_to_the_weights(mut weights in prop::collection::vec(1_u8..=10, 0..7), start: u64) {
        // One has the full weight, as it is when not all endpoints are new.
        weights.push(10);
        let weight = |index: usize| f64::from(weights[index]) / 10.0;
        let total: f64 = (0..weights.len()).map(weight).sum();
        let (mut in_turn, mut drawn) = (vec![0_u32; weights.len()], vec![0_u32; weights.len()]);
        let mut turns = RoundRobin::starting_at(start);
        for random in (0..20_000_u64).map(|number| mix(number ^ start)) {
            in_turn[turns.pick(weights.len(), random, weight).unwrap()] += 1;
            drawn[draw(weights.len(), random, weight).unwrap()] += 1;
        }
        for index in 0..weights.len() {
            let expected = weight(index) / total;
            for seen in [in_turn[index], drawn[index]] {
                let share = f64::from(seen) / 20_000.0;
                prop_assert!((share - expected).abs() < 0.02, "{share} instead of {expected} for {index} of {weights:?}");
            }
        }
    }

    #[test]
    fn in_range_whatever_the_weights(count in 1_usize..20, random: u64, weight: f64) {
        prop_assert!(draw(count, random, |_| weight).unwrap() < count);
        prop_assert!(RoundRobin::starting_at(random).pick(count, random, |_| weight).unwrap() < count);
    }
}
