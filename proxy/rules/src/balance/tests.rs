use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

#[test]
fn starts_at_the_default_and_decays() {
    let start = Instant::now();
    let ewma = PeakEwma::new(start);
    assert_eq!(ewma.cost(start, 0), 30e6);
    let later = ewma.cost(start + DECAY, 0);
    assert!((later - 30e6 / std::f64::consts::E).abs() < 1.0, "{later}");
}

#[test]
fn jumps_to_a_peak_at_once_and_comes_down_slowly() {
    let start = Instant::now();
    let mut ewma = PeakEwma::new(start);
    ewma.observe(start, 500 * MS);
    assert_eq!(ewma.cost(start, 0), 500e6);
    ewma.observe(start + MS, MS);
    assert!(ewma.cost(start + MS, 0) > 499e6);
    let mut now = start;
    for _ in 0..600 {
        now += 100 * MS;
        ewma.observe(now, MS);
    }
    let settled = ewma.cost(now, 0);
    assert!((1e6..3e6).contains(&settled), "a minute of 1 ms answers gave {settled} ns");
}

#[test]
fn pending_requests_multiply_the_cost_even_of_the_long_idle() {
    let start = Instant::now();
    let ewma = PeakEwma::new(start);
    assert_eq!(ewma.cost(start, 3), 4.0 * ewma.cost(start, 0));
    let much_later = start + Duration::from_secs(86_400);
    assert!(ewma.cost(much_later, 1) > ewma.cost(much_later, 0));
}

#[test]
fn time_that_runs_backwards_changes_nothing() {
    let start = Instant::now() + DECAY;
    let mut ewma = PeakEwma::new(start);
    ewma.observe(start, 100 * MS);
    ewma.observe(start - 5 * MS, MS);
    assert_eq!(ewma.cost(start - 9 * MS, 0), 100e6);
}

#[test]
fn chooses_nothing_from_nothing_and_the_only_one_from_one() {
    assert_eq!(choose::<u8>(&[], 7, |_| 0.0), None);
    assert_eq!(choose(&['a'], u64::MAX, |_| f64::NAN), Some(0));
}

#[test]
fn the_dearest_of_many_is_never_chosen_and_the_cheapest_of_two_always() {
    let costs = [1.0, 2.0, 3.0, 9.0];
    for random in (0..10_000_u64).map(|step| step.wrapping_mul(0x9E37_79B9_7F4A_7C15)) {
        assert_ne!(choose(&costs, random, |cost| *cost), Some(3));
        assert_eq!(choose(&[5.0, 4.0], random, |cost| *cost), Some(1));
    }
}

#[test]
fn equal_candidates_share_evenly() {
    let mut seen = [0_u32; 5];
    for random in (0..50_000_u64).map(|step| step.wrapping_mul(0x9E37_79B9_7F4A_7C15)) {
        seen[choose(&[1.0; 5], random, |cost| *cost).unwrap()] += 1;
    }
    assert!(seen.iter().all(|count| (9_700..10_300).contains(count)), "{seen:?}");
}

#[test]
fn least_request_prefers_who_has_fewer_under_way_and_spares_who_is_new() {
    let pending = [3_u32, 2];
    assert_eq!(choose(&pending, 1, |pending| least_request(*pending, 1.0)), Some(1));
    assert!(least_request(1, 0.1) > least_request(8, 1.0));
}

proptest! {
    #[test]
    fn an_index_in_range_and_never_the_dearer_of_the_pair(costs in prop::collection::vec(0.0_f64..1e12, 1..50), random: u64) {
        let seen = std::cell::RefCell::new(Vec::new());
        let index = choose(&costs, random, |cost| { seen.borrow_mut().push(*cost); *cost }).unwrap();
        prop_assert!(index < costs.len());
        prop_assert!(seen.borrow().iter().all(|other| costs[index] <= *other));
    }

    #[test]
    fn two_distinct_ones_are_compared(count in 2_usize..50, random: u64) {
        let candidates: Vec<usize> = (0..count).collect();
        let seen = std::cell::RefCell::new(Vec::new());
        choose(&candidates, random, |candidate| { seen.borrow_mut().push(*candidate); 0.0 });
        let seen = seen.into_inner();
        prop_assert_eq!(seen.len(), 2);
        prop_assert_ne!(seen[0], seen[1]);
    }

    #[test]
    fn an_estimate_stays_between_zero_and_the_greatest_latency(
        steps in prop::collection::vec((0_u64..20_000, 0_u64..60_000), 1..50),
    ) {
        let mut now = Instant::now();
        let mut ewma = PeakEwma::new(now);
        let greatest = steps.iter().map(|(_, rtt)| *rtt).max().unwrap_or(0).max(30);
        for (wait, rtt) in steps {
            now += Duration::from_millis(wait);
            ewma.observe(now, Duration::from_millis(rtt));
            let cost = ewma.cost(now, 0);
            prop_assert!(cost >= 1.0 && cost <= greatest as f64 * 1e6 + 1.0, "{cost}");
        }
    }
}
