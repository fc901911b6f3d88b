use http::HeaderValue;
use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn policy(tokens: &str) -> RetryPolicy {
    let (on, grpc) = RetryOn::parse(tokens).unwrap();
    RetryPolicy { on, grpc, ..RetryPolicy::default() }
}

fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
    let value = |value: &str| HeaderValue::from_str(value).unwrap();
    lines.iter().map(|(name, text)| (HeaderName::from_static(name), value(text))).collect()
}

fn retries(policy: &RetryPolicy, outcome: &Outcome<'_>) -> bool {
    policy.decide(&Method::GET, 1, outcome, 0) != Verdict::Final
}

fn after_answer(
    policy: &RetryPolicy,
    status: u16,
    lines: &[(&'static str, &str)],
    grpc_status: Option<u32>,
) -> Verdict {
    let outcome = Outcome::Answer { status: StatusCode::from_u16(status).unwrap(), headers: &map(lines), grpc_status };
    policy.decide(&Method::GET, 1, &outcome, u64::MAX)
}

fn covers(policy: &RetryPolicy, status: u16) -> bool {
    after_answer(policy, status, &[], None) != Verdict::Final
}

#[test]
fn by_default_only_what_was_never_sent_is_repeated_three_attempts_in_all() {
    let policy = RetryPolicy::default();
    assert!(retries(&policy, &Outcome::Unsent));
    assert!(!retries(&policy, &Outcome::Reset) && !retries(&policy, &Outcome::PerTryTimeout));
    assert!(!covers(&policy, 503) && !covers(&policy, 200));
    let post = |attempts| policy.decide(&Method::POST, attempts, &Outcome::Unsent, u64::MAX);
    assert_eq!(post(1), Verdict::Retry { after: Duration::ZERO });
    assert!(matches!(post(2), Verdict::Retry { after } if after > 24 * MS && after < 25 * MS));
    assert_eq!(post(3), Verdict::Final);
}

#[test]
fn each_reason_covers_what_it_does_in_envoy() {
    // token, statuses, reset, per-try time-out
    for (tokens, statuses, reset, timeout) in [
        ("5xx", vec![500, 501, 502, 503, 504, 599], true, true),
        ("gateway-error", vec![502, 503, 504], true, true),
        ("reset", vec![], true, true),
        ("retriable-4xx", vec![409], false, false),
        ("retriable-status-codes", vec![], false, false),
        ("connect-failure,refused-stream", vec![], false, false),
        ("reset-before-request", vec![], false, false),
        ("per-try-timeout", vec![], false, true),
        ("unavailable", vec![], false, false),
        ("", vec![], false, false),
    ] {
        let policy = policy(tokens);
        let covered: Vec<u16> = (200..600).filter(|status| covers(&policy, *status)).collect();
        let whole: Vec<u16> = if tokens == "5xx" { (500..600).collect() } else { statuses };
        assert_eq!(covered, whole, "{tokens}");
        assert_eq!(retries(&policy, &Outcome::Reset), reset, "{tokens}");
        assert_eq!(retries(&policy, &Outcome::PerTryTimeout), timeout, "{tokens}");
        assert!(retries(&policy, &Outcome::Unsent), "{tokens}");
    }
}

#[test]
fn statuses_and_grpc_statuses_are_those_listed() {
    let listed = RetryPolicy { statuses: vec![429, 404], ..policy("retriable-status-codes") };
    assert_eq!((200..600).filter(|status| covers(&listed, *status)).collect::<Vec<_>>(), [404, 429]);
    assert!(!covers(&RetryPolicy { on: RetryOn::NOTHING, ..listed }, 404));
    let grpc = policy("cancelled, deadline-exceeded,internal,resource-exhausted,unavailable");
    let covered: Vec<u32> =
        (0..40).filter(|status| after_answer(&grpc, 200, &[], Some(*status)) != Verdict::Final).collect();
    assert_eq!(covered, [1, 4, 8, 13, 14]);
    assert_eq!(after_answer(&grpc, 200, &[], Some(u32::MAX)), Verdict::Final);
    assert_eq!(after_answer(&grpc, 503, &[], None), Verdict::Final);
}

#[test]
fn an_unknown_token_is_named() {
    let error = RetryOn::parse("5xx,retriable-headers").unwrap_err();
    assert_eq!(error.token, "retriable-headers");
    assert!(error.to_string().starts_with("\"retriable-headers\" is not a reason to retry; known are connect-failure"));
    assert_eq!(RetryOn::parse(" 5xx , ,reset"), Ok((RetryOn::SERVER_ERROR | RetryOn::RESET, 0)));
}

#[test]
fn push_back_is_obeyed() {
    let policy = policy("unavailable");
    let after = |pushback| after_answer(&policy, 200, &[("grpc-retry-pushback-ms", pushback)], Some(14));
    assert_eq!(after("1500"), Verdict::Retry { after: 1500 * MS });
    assert_eq!(after("0"), Verdict::Retry { after: Duration::ZERO });
    for never in ["-1", "soon", "", "1.5", "30001", "99999999999999999999"] {
        assert_eq!(after(never), Verdict::Final, "{never}");
    }
    let unasked = after_answer(&policy, 200, &[("grpc-retry-pushback-ms", "1")], Some(5));
    assert_eq!(unasked, Verdict::Final, "push-back makes nothing retriable");
}

#[test]
fn answers_tell_how_long_to_wait_where_that_is_asked_for() {
    let deaf = policy("5xx");
    let policy = RetryPolicy { reset_headers: true, ..deaf.clone() };
    let wait = |policy: &RetryPolicy, lines: &[(&'static str, &str)]| match after_answer(policy, 503, lines, None) {
        Verdict::Final => None,
        Verdict::Retry { after } => Some(after.as_millis()),
    };
    assert_eq!(wait(&policy, &[("retry-after", "2"), ("x-ratelimit-reset", "9")]), Some(2999));
    assert_eq!(wait(&policy, &[("x-ratelimit-reset", "4")]), Some(5999));
    assert_eq!(wait(&policy, &[("retry-after", "25")]), Some(30_000));
    assert_eq!(wait(&policy, &[("retry-after", "31")]), None);
    assert_eq!(wait(&deaf, &[("retry-after", "31")]), Some(24));
    for unread in ["Wed, 21 Oct 2026 07:28:00 GMT", "0", "-3"] {
        assert_eq!(wait(&policy, &[("retry-after", unread)]), Some(24), "{unread}");
    }
}

#[test]
fn what_envoy_rate_limited_is_final_unless_that_is_the_reason() {
    let lines = [("x-envoy-ratelimited", "true")];
    assert_eq!(after_answer(&policy("5xx"), 503, &lines, None), Verdict::Final);
    assert_ne!(after_answer(&policy("5xx,envoy-ratelimited"), 429, &lines, None), Verdict::Final);
}

#[test]
fn back_off_doubles_to_its_maximum() {
    let backoff = Backoff::default();
    let bounds: Vec<u128> = (1..=7).map(|retry| backoff.delay(retry, u64::MAX).as_micros()).collect();
    assert_eq!(bounds, [24_999, 49_999, 99_999, 199_999, 249_999, 249_999, 249_999]);
    assert_eq!(backoff.delay(u32::MAX, u64::MAX).as_micros(), 249_999);
    assert_eq!(backoff.delay(3, 0), Duration::ZERO);
    assert_eq!(
        Backoff { base: Duration::MAX, max: Duration::MAX }.delay(2, u64::MAX).as_nanos(),
        u128::from(u64::MAX) - 1
    );
}

fn outcomes() -> impl Strategy<Value = (u8, u16, Option<u32>)> {
    (0_u8..4, 200_u16..600, prop::option::of(0_u32..20))
}

proptest! {
    /// The promise to applications: what may have reached them and is not repeatable is never repeated.
    #[test]
    fn a_method_that_is_not_listed_is_only_repeated_when_it_was_never_sent(
        bits: u16, grpc: u32, statuses in prop::collection::vec(200_u16..600, 0..5), attempts in 0_u32..5,
        max_attempts in 1_u32..6, (kind, status, grpc_status) in outcomes(), reset_headers: bool, random: u64,
        method in prop::sample::select(vec![Method::GET, Method::POST, Method::PATCH, Method::DELETE]),
    ) {
        let methods = vec![Method::GET, Method::DELETE];
        let all = ["connect-failure", "refused-stream", "reset", "gateway-error", "5xx", "retriable-4xx",
            "retriable-status-codes", "per-try-timeout", "envoy-ratelimited"];
        let tokens: Vec<_> = all.iter().enumerate().filter(|(bit, _)| bits & 1 << bit != 0).map(|(_, name)| *name).collect();
        let (on, _) = RetryOn::parse(&tokens.join(",")).unwrap();
        let policy = RetryPolicy {
            on, grpc, statuses, max_attempts, methods: Some(methods.clone()), reset_headers, ..RetryPolicy::default()
        };
        let headers = map(&[("retry-after", "3")]);
        let outcome = match kind {
            0 => Outcome::Unsent,
            1 => Outcome::Reset,
            2 => Outcome::PerTryTimeout,
            _ => Outcome::Answer { status: StatusCode::from_u16(status).unwrap(), headers: &headers, grpc_status },
        };
        match policy.decide(&method, attempts, &outcome, random) {
            Verdict::Final => {}
            Verdict::Retry { after } => {
                prop_assert!(attempts < max_attempts);
                prop_assert!(after <= MAX_WAIT);
                let named = kind > 2 && grpc_status.and_then(|status| 1_u32.checked_shl(status)).is_some_and(|bit| grpc & bit != 0);
                prop_assert!(kind == 0 || methods.contains(&method) || named);
            }
        }
    }

    #[test]
    fn back_off_stays_within_its_bounds(base in 0_u64..10_000, max in 0_u64..100_000, retry in 0_u32..100, random: u64) {
        let backoff = Backoff { base: Duration::from_millis(base), max: Duration::from_millis(max) };
        prop_assert!(backoff.delay(retry, random) <= backoff.max);
    }
}

#[test]
fn a_named_grpc_status_is_retried_though_its_calls_are_posts() {
    let policy = RetryPolicy { methods: Some(vec![Method::GET]), ..policy("5xx,unavailable") };
    let headers = HeaderMap::new();
    let after = |status, grpc_status| {
        let outcome = Outcome::Answer { status, headers: &headers, grpc_status };
        policy.decide(&Method::POST, 1, &outcome, 0)
    };
    assert_ne!(after(StatusCode::OK, Some(14)), Verdict::Final);
    assert_eq!(after(StatusCode::OK, Some(13)), Verdict::Final);
    assert_eq!(after(StatusCode::SERVICE_UNAVAILABLE, None), Verdict::Final);
}
