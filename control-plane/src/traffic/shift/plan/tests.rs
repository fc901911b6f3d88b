use proptest::prelude::*;

use super::*;

pub(in crate::traffic) fn plan(before: Option<&[(&str, u32)]>) -> Plan {
    Plan {
        service: ObjectName::new("shop", "api"),
        to: "api-v2".into(),
        port: None,
        steps: DEFAULT_STEPS.to_vec(),
        interval: DEFAULT_INTERVAL,
        limits: Limits::default(),
        min_requests: DEFAULT_MIN_REQUESTS,
        before: before.map(split),
    }
}

fn split(backends: &[(&str, u32)]) -> Vec<SplitBackend> {
    let backend =
        |(service, weight): &(&str, u32)| SplitBackend { service: (*service).into(), port: None, weight: *weight };
    backends.iter().map(backend).collect()
}

#[test]
fn two_backends_have_weights_of_100() {
    let plan = plan(Some(&[("api-v1", 7)]));
    assert_eq!(plan.weights(0), split(&[("api-v1", 95), ("api-v2", 5)]));
    assert_eq!(plan.weights(2), split(&[("api-v1", 50), ("api-v2", 50)]));
    assert_eq!(plan.weights(3), split(&[("api-v1", 0), ("api-v2", 100)]));
}

#[test]
fn without_a_split_the_service_itself_gives_traffic_away() {
    assert_eq!(plan(None).weights(0), split(&[("api", 95), ("api-v2", 5)]));
    assert_eq!(plan(None).weights(3), split(&[("api", 0), ("api-v2", 100)]));
}

#[test]
fn several_keep_their_proportion_and_their_order() {
    let plan = plan(Some(&[("api-v1", 60), ("api-v2", 10), ("api-v0", 30), ("api-old", 0)]));
    assert_eq!(plan.weights(1), split(&[("api-v1", 50), ("api-v2", 25), ("api-v0", 25), ("api-old", 0)]));
    assert_eq!(plan.others(), split(&[("api-v1", 60), ("api-v0", 30)]));
}

#[test]
fn who_has_everything_takes_from_nobody() {
    assert_eq!(plan(Some(&[("api-v1", 0), ("api-v2", 5)])).others(), []);
    let itself = Plan { to: "api".into(), ..plan(None) };
    assert_eq!(itself.others(), []);
}

proptest! {
    #[test]
    fn shares_are_those_of_the_step(before in proptest::collection::vec(0u32..=1_000_000, 1..6), percent in 1u32..=100) {
        prop_assume!(before.iter().any(|weight| *weight > 0));
        let names = ["a", "b", "c", "d", "e"];
        let before: Vec<_> = names.into_iter().zip(before).collect();
        let plan = Plan { steps: vec![percent], ..plan(Some(&before)) };
        let weights = plan.weights(0);
        prop_assert_eq!(weights.len(), before.len() + 1);
        let sum: f64 = weights.iter().map(|backend| f64::from(backend.weight)).sum();
        let total: f64 = before.iter().map(|(_, weight)| f64::from(*weight)).sum();
        for (new, (name, old)) in weights.iter().zip(&before) {
            prop_assert_eq!(new.service.as_ref(), *name);
            let expected = f64::from(100 - percent) / 100.0 * f64::from(*old) / total;
            prop_assert!((f64::from(new.weight) / sum - expected).abs() < 1e-4);
            prop_assert_eq!(new.weight == 0, *old == 0 || percent == 100);
            prop_assert!(i64::from(new.weight) <= MAX_WEIGHT);
        }
        let target = weights.last().unwrap();
        prop_assert!((f64::from(target.weight) / sum - f64::from(percent) / 100.0).abs() < 1e-4);
        prop_assert!(target.weight > 0 && i64::from(target.weight) <= MAX_WEIGHT);
    }
}
