use super::*;

#[test]
fn waits_double_from_50_ms_to_5_s_and_start_again_after_a_success() {
    let mut backoff = Backoff::default();
    let waits: Vec<_> = (0..9).map(|_| backoff.next(1.0).as_millis()).collect();
    assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    backoff.reset();
    assert_eq!(backoff.next(1.0).as_millis(), 50);
}

#[test]
fn waits_are_spread_over_their_upper_half() {
    assert_eq!(Backoff::default().next(0.0).as_millis(), 25);
    assert_eq!(Backoff { failures: u32::MAX }.next(0.0).as_millis(), 2500);
}
