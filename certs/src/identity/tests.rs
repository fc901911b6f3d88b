use super::*;
use crate::testing::{API, Forge, WEB, id};

fn lifetime_of(secs: u64) -> WorkloadIdentity {
    let forge = Forge::new();
    let (key, chain) = forge
        .leaf(WEB, |params| params.not_after = (SystemTime::now() + Duration::from_secs(secs)).into())
        .into_parts();
    WorkloadIdentity::from_parts(id(WEB), &key, &chain, forge.bundle()).unwrap()
}

#[test]
fn renewal_is_due_around_half_of_the_life_that_was_left() {
    let identity = lifetime_of(1000);
    let half = SystemTime::now() + Duration::from_secs(500);
    for (random, offset) in [(0.0, -100.0), (0.5, 0.0), (0.999, 100.0)] {
        let due = identity.renew_at(random);
        let distance = match due.duration_since(half) {
            Ok(after) => after.as_secs_f64(),
            Err(before) => -before.duration().as_secs_f64(),
        };
        assert!((distance - offset).abs() < 3.0, "{random}: {distance} s from half-life");
    }
}

#[test]
fn a_backdated_ten_second_certificate_is_not_due_at_once() {
    let identity = lifetime_of(10);
    assert!(identity.renew_at(0.0) > SystemTime::now() + Duration::from_secs(2));
    assert!(identity.spent(SystemTime::now()) < 0.2);
    assert!(identity.spent(SystemTime::now() + Duration::from_secs(8)) > 0.75);
    assert!(identity.spent(SystemTime::now() + Duration::from_secs(11)) >= 1.0);
}

#[test]
fn a_swap_is_seen_by_every_handle_and_told() {
    let forge = Forge::new();
    let identity = forge.identity(WEB);
    let (other, mut swaps) = (identity.clone(), identity.subscribe());
    let end = SystemTime::now() + Duration::from_secs(7200);
    let (key, chain) = forge.leaf(WEB, |params| params.not_after = end.into()).into_parts();
    identity.replace(&key, &chain, forge.bundle()).unwrap();
    assert!(swaps.has_changed().unwrap());
    assert_eq!(*swaps.borrow_and_update(), other.not_after());
    assert!(end.duration_since(other.not_after()).unwrap() < Duration::from_secs(1));
}

#[test]
fn what_is_not_ours_is_refused_and_the_old_stays() {
    let forge = Forge::new();
    let identity = forge.identity(WEB);
    let before = identity.not_after();
    let (key, chain) = forge.leaf(API, |_| {}).into_parts();
    let error = identity.replace(&key, &chain, forge.bundle()).unwrap_err();
    assert!(matches!(error, IdentityError::Verify(VerifyError::WrongIdentity { .. })), "{error}");
    let (_, chain) = forge.leaf(WEB, |_| {}).into_parts();
    assert!(matches!(identity.replace(&key, &chain, forge.bundle()), Err(IdentityError::Key(_))));
    let (key, chain) = Forge::new().leaf(WEB, |_| {}).into_parts();
    assert!(matches!(identity.replace(&key, &chain, forge.bundle()), Err(IdentityError::Verify(_))));
    assert!(matches!(identity.replace(&key, &[], forge.bundle()), Err(IdentityError::Empty)));
    assert_eq!(identity.not_after(), before);
}

#[test]
fn a_clock_that_is_behind_or_ahead_is_named() {
    let forge = Forge::new();
    let now = SystemTime::now();
    let (key, chain) =
        forge.leaf(WEB, |params| params.not_before = (now + Duration::from_secs(600)).into()).into_parts();
    let error = WorkloadIdentity::from_parts(id(WEB), &key, &chain, forge.bundle()).unwrap_err().to_string();
    assert!(error.contains("skew") && (error.contains("9 min") || error.contains("10 min")), "{error}");
    let (key, chain) = forge.leaf(WEB, |params| params.not_after = (now - Duration::from_secs(40)).into()).into_parts();
    let error = WorkloadIdentity::from_parts(id(WEB), &key, &chain, forge.bundle()).unwrap_err().to_string();
    assert!(error.contains("skew") && error.contains("40 s"), "{error}");
}

#[test]
fn the_control_planes_answer_is_taken_apart() {
    let (old, new) = (Forge::named("old"), Forge::named("new"));
    let (_, mut answer) = old.leaf(WEB, |_| {}).into_parts();
    answer.extend([old.bundle().to_pem(), new.bundle().to_pem()]);
    let (chain, bundle) = split_roots(&answer).unwrap();
    assert_eq!((chain.len(), bundle.root_count()), (1, 2));
    assert!(matches!(split_roots(&answer[..1]), Err(IdentityError::Bundle(BundleError::Empty))));
    assert!(matches!(split_roots(&[]), Err(IdentityError::Empty)));
}
