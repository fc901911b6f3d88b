use std::future::poll_fn;

use super::*;

const SOON: Duration = Duration::from_millis(20);
const FAR: Duration = Duration::from_secs(3600);

fn now() -> Instant {
    Instant::now()
}

#[test]
fn what_measures_nothing_is_no_clock() {
    assert!(Clock::new([], None).is_none());
}

#[tokio::test]
async fn the_first_end_counts() {
    let ends = [(now() + FAR, Over::Timeout), (now() + SOON, Over::MaxAge { grpc: false })];
    let mut clock = Clock::new(ends, Some(FAR)).unwrap();
    assert_eq!(poll_fn(|cx| clock.poll(cx)).await, Over::MaxAge { grpc: false });
}

#[tokio::test]
async fn what_stands_still_is_over() {
    let began = now();
    let mut clock = Clock::new([(now() + FAR, Over::Timeout)], Some(SOON)).unwrap();
    assert_eq!(poll_fn(|cx| clock.poll(cx)).await, Over::Idle);
    assert!(began.elapsed() >= SOON);
}

#[tokio::test]
async fn what_moves_goes_on() {
    let mut clock = Clock::new([], Some(SOON)).unwrap();
    tokio::time::sleep(SOON / 2).await;
    clock.moved();
    let moved = now();
    assert_eq!(poll_fn(|cx| clock.poll(cx)).await, Over::Idle);
    assert!(moved.elapsed() >= SOON);
}

#[test]
fn only_an_aged_grpc_call_ends_with_trailers() {
    let trailers = Over::MaxAge { grpc: true }.trailers().unwrap();
    assert_eq!(trailers[GRPC_STATUS], "14");
    assert_eq!(trailers[GRPC_MESSAGE], "max_stream_age");
    for over in [Over::Timeout, Over::Idle, Over::MaxAge { grpc: false }] {
        assert!(over.trailers().is_none(), "{over:?}");
    }
}
