use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::route::TextMatch;

const DELAY: Duration = Duration::from_secs(2);

#[test]
fn only_matching_requests_are_concerned() {
    let header = HeaderMatch { name: HeaderName::from_static("x-fault"), value: TextMatch::Exact("yes".to_owned()) };
    let abort = Abort::Http(StatusCode::SERVICE_UNAVAILABLE);
    let policy =
        FaultPolicy { delay: Some((DELAY, Share::ALL)), abort: Some((abort, Share::ALL)), headers: vec![header] };
    assert_eq!(policy.decide(&HeaderMap::new(), [0, 0]), FaultDecision::default());
    let mut headers = HeaderMap::new();
    headers.insert("x-fault", HeaderValue::from_static("yes"));
    assert_eq!(policy.decide(&headers, [0, 0]), FaultDecision { delay: Some(DELAY), abort: Some(abort) });
}

#[test]
fn no_policy_no_fault() {
    assert_eq!(FaultPolicy::default().decide(&HeaderMap::new(), [0, 0]), FaultDecision::default());
}

proptest! {
    /// Both shares are kept, each by its own number, and with none of the share nothing is ever injected.
    #[test]
    fn shares_are_kept_apart(delayed in 0_u32..=100, aborted in 0_u32..=100) {
        let policy = FaultPolicy {
            delay: Some((DELAY, Share::from(delayed, 100))),
            abort: Some((Abort::Grpc(14), Share::from(aborted, 100))),
            headers: Vec::new(),
        };
        let step = u64::MAX / 1000;
        let decide = |number: u64| policy.decide(&HeaderMap::new(), [number * step, (number * 7919 % 1000) * step]);
        let decisions: Vec<_> = (0..1000).map(decide).collect();
        let delays = decisions.iter().filter(|decision| decision.delay.is_some()).count();
        let aborts = decisions.iter().filter(|decision| decision.abort.is_some()).count();
        prop_assert!(delays.abs_diff(10 * delayed as usize) <= 1 && aborts.abs_diff(10 * aborted as usize) <= 1);
    }
}
