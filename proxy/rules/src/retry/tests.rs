use super::*;

#[test]
fn what_may_have_reached_the_application_is_never_repeated() {
    for attempts in 0..10 {
        assert!(!may_retry(attempts, Sent::Maybe, MAX_ATTEMPTS));
    }
}

#[test]
fn three_attempts_and_no_more() {
    assert!(may_retry(1, Sent::Nothing, MAX_ATTEMPTS));
    assert!(may_retry(2, Sent::Nothing, MAX_ATTEMPTS));
    assert!(!may_retry(3, Sent::Nothing, MAX_ATTEMPTS));
    assert!(!may_retry(1, Sent::Nothing, 1));
}
