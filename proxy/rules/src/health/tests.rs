use proptest::prelude::*;

use super::*;

fn policy(healthy_threshold: u32, unhealthy_threshold: u32) -> HealthPolicy {
    HealthPolicy {
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(1),
        healthy_threshold,
        unhealthy_threshold,
        probe: Probe::Tcp,
    }
}

fn changes(state: &mut HealthState, results: &[bool]) -> Vec<Option<Change>> {
    results.iter().map(|ok| state.report(*ok)).collect()
}

#[test]
fn changes_after_so_many_in_a_row_and_not_before() {
    let mut state = HealthState::new(&policy(2, 3));
    assert!(state.is_healthy());
    assert_eq!(changes(&mut state, &[false, false, true, false, false]), [None; 5]);
    assert_eq!(state.report(false), Some(Change::Unhealthy));
    assert_eq!(changes(&mut state, &[false, true, false, true]), [None; 4]);
    assert!(!state.is_healthy());
    assert_eq!(state.report(true), Some(Change::Healthy));
}

#[test]
fn a_threshold_of_zero_is_one() {
    let mut state = HealthState::new(&policy(0, 0));
    assert_eq!(changes(&mut state, &[false, true]), [Some(Change::Unhealthy), Some(Change::Healthy)]);
}

#[test]
fn expects_200_unless_told() {
    let http = |expected| Probe::Http { path: PathAndQuery::from_static("/healthz"), host: None, expected };
    let statuses = |probe: Probe| -> Vec<u16> {
        (200..600).filter(|status| probe.expects(StatusCode::from_u16(*status).unwrap())).collect()
    };
    assert_eq!(statuses(http(vec![])), [200]);
    assert_eq!(statuses(http(vec![204..206, 404..405])), [204, 205, 404]);
}

proptest! {
    #[test]
    fn changes_alternate_and_only_after_the_threshold(up in 1_u32..5, down in 1_u32..5, results in prop::collection::vec(any::<bool>(), 0..200)) {
        let mut state = HealthState::new(&policy(up, down));
        for (index, ok) in results.iter().enumerate() {
            let before = state.is_healthy();
            if let Some(change) = state.report(*ok) {
                prop_assert_eq!(change == Change::Healthy, *ok);
                prop_assert_ne!(before, *ok);
                let threshold = if *ok { up } else { down } as usize;
                prop_assert!(index + 1 >= threshold && results[index + 1 - threshold..=index].iter().all(|other| other == ok));
            }
        }
    }
}
