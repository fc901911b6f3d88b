use proptest::prelude::*;

use super::*;

fn endpoints(all: usize, usable: usize, in_flight: usize) -> Endpoints {
    Endpoints { all, usable, in_flight }
}

#[test]
fn all_stays_while_the_zone_is_well() {
    assert_eq!(plan(endpoints(3, 3, 0), endpoints(6, 6, 0)), 1.0);
    assert_eq!(plan(endpoints(4, 3, 12), endpoints(6, 6, 0)), 1.0);
    assert!(stays(endpoints(1, 1, 4), endpoints(6, 6, 0), u64::MAX));
}

#[test]
fn nothing_stays_without_endpoints_and_all_where_there_are_no_others() {
    assert_eq!(plan(endpoints(3, 0, 0), endpoints(6, 6, 0)), 0.0);
    assert!(!stays(endpoints(0, 0, 0), endpoints(6, 6, 0), 0));
    assert_eq!(plan(endpoints(3, 1, 500), endpoints(6, 0, 0)), 1.0);
}

#[test]
fn a_lost_part_of_the_zone_is_made_up_for_by_the_others() {
    assert!((plan(endpoints(4, 2, 0), endpoints(6, 6, 0)) - 0.7).abs() < 1e-9);
    assert!((plan(endpoints(10, 1, 0), endpoints(6, 6, 0)) - 0.14).abs() < 1e-9);
}

#[test]
fn load_flows_over() {
    assert_eq!(plan(endpoints(1, 1, 8), endpoints(6, 6, 0)), 0.5);
    assert_eq!(plan(endpoints(1, 1, 8), endpoints(6, 6, 24)), 1.0, "the others have no room either");
}

proptest! {
    #[test]
    fn a_share_that_never_grows_with_the_zone_s_load_nor_falls_with_the_others(
        (all, out) in (1_usize..20, 0_usize..20), others in 0_usize..20, load in 0_usize..500, elsewhere in 0_usize..500, more in 0_usize..100,
    ) {
        let local = |in_flight| endpoints(all, all.saturating_sub(out), in_flight);
        let other = |in_flight| endpoints(others, others, in_flight);
        let share = plan(local(load), other(elsewhere));
        prop_assert!((0.0..=1.0).contains(&share));
        prop_assert!(plan(local(load + more), other(elsewhere)) <= share);
        prop_assert!(plan(local(load), other(elsewhere + more)) >= share);
    }
}
