//! What follows when an attempt failed, and what is kept of those that did not.
//!
//! Moments are whole seconds apart, for the reason that `balancing::observe` has.

use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use gungraun::{library_benchmark, library_benchmark_group};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use weft_rules::budget::RetryBudget;
use weft_rules::outlier::{Detector, Observation, OutlierPolicy};
use weft_rules::retry::{Outcome, RetryOn, RetryPolicy};

use crate::{Decisions, decisions, randoms};

/// How many endpoints are watched.
const ENDPOINTS: u32 = 20;

#[library_benchmark]
#[bench::retry_unsent(retry(|_| Outcome::Unsent))]
#[bench::retry_answer(retry(|headers| answer(StatusCode::SERVICE_UNAVAILABLE, headers)))]
#[bench::retry_success(retry(|headers| answer(StatusCode::OK, headers)))]
#[bench::budget_request(budget_request())]
#[bench::budget_retry(budget_retry())]
#[bench::outlier_success(outlier(&[Observation::Success]))]
#[bench::outlier_failure(outlier(&[Observation::Success, Observation::GatewayFailure, Observation::GatewayFailure]))]
#[bench::outlier_sweep(outlier_sweep())]
fn failures(mut decisions: Decisions) -> Decisions {
    decisions();
    decisions
}

library_benchmark_group!(name = failures_group, benchmarks = failures);

fn answer(status: StatusCode, headers: &HeaderMap) -> Outcome<'_> {
    Outcome::Answer { status, headers, grpc_status: None }
}

fn retry(outcome: impl Fn(&HeaderMap) -> Outcome<'_> + 'static) -> Decisions {
    let policy = RetryPolicy {
        on: RetryOn::CONNECT_FAILURE | RetryOn::GATEWAY_ERROR | RetryOn::STATUSES,
        statuses: vec![429, 500],
        methods: Some(vec![Method::GET, Method::HEAD, Method::PUT]),
        reset_headers: true,
        ..RetryPolicy::default()
    };
    let headers = HeaderMap::from_iter([(http::header::RETRY_AFTER, HeaderValue::from_static("2"))]);
    decisions(randoms(), move |random| policy.decide(&Method::PUT, 1, &outcome(&headers), *random))
}

fn budget_request() -> Decisions {
    let (mut budget, mut now) = (RetryBudget::default(), Instant::now());
    decisions(vec![0, 0, 0, 1], move |seconds| {
        now += Duration::from_secs(*seconds);
        budget.deposit(now);
    })
}

/// Every fourth retry is a second later; about half are not affordable.
fn budget_retry() -> Decisions {
    let (mut budget, mut now) = (RetryBudget::new(0.2, 2, Duration::from_secs(10)), Instant::now());
    decisions(vec![0, 0, 0, 1], move |seconds| {
        now += Duration::from_secs(*seconds);
        budget.withdraw(now)
    })
}

fn watched(now: Instant) -> Detector<u32, FixedState> {
    let mut detector = Detector::with_hasher(OutlierPolicy::default(), now, FixedState::default());
    detector.keep(now, 0..ENDPOINTS);
    detector
}

/// Attempts at all endpoints in turn.
fn outlier(observed: &[Observation]) -> Decisions {
    let now = Instant::now();
    let (mut detector, mut endpoint) = (watched(now), 0);
    decisions(observed.to_vec(), move |observation| {
        endpoint = (endpoint + 1) % ENDPOINTS;
        detector.observe(&endpoint, now, *observation)
    })
}

/// Every tenth is at an interval's end.
fn outlier_sweep() -> Decisions {
    let mut now = Instant::now();
    let mut detector = watched(now);
    decisions(vec![()], move |()| {
        now += Duration::from_secs(1);
        detector.sweep(now)
    })
}
