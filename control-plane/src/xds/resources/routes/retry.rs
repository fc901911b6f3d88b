//! When a request is sent again: a rule's `retry` and `timeouts.backendRequest`, else the Service's TrafficPolicy.

use std::time::Duration;

use weft_api::xds::pack;
use weft_api::xds::pb::envoy::config::route::v3::retry_policy::{
    RateLimitedRetryBackOff, ResetHeader, ResetHeaderFormat, RetryBackOff, RetryHostPredicate,
    retry_host_predicate::ConfigType,
};
use weft_api::xds::pb::envoy::config::route::v3::{HeaderMatcher, HedgePolicy, RetryPolicy};
use weft_api::xds::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;

use super::super::values::{duration, number};
use super::matches;
use crate::mesh::{Backoff, Forward, GrpcRetry, Hedge, Retry, RetryOn, RuleRetry, TextMatch, TrafficPolicy};

/// Further attempts, where nobody says how many.
const ATTEMPTS: u32 = 2;
/// What leads to one, where nobody says: what never reached the application.
const UNSENT: [RetryOn; 2] = [RetryOn::ConnectFailure, RetryOn::RefusedStream];
/// What leads to one where a rule asks for retries and no policy says more.
const ASKED: [RetryOn; 4] = [RetryOn::ConnectFailure, RetryOn::RefusedStream, RetryOn::Reset, RetryOn::PerTryTimeout];
/// The methods that may be repeated though they may have been acted upon (RFC 9110, 9.2.2).
const IDEMPOTENT: [&str; 6] = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(25), max: Duration::from_millis(250) };
/// The longest that an answer can make us wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What a route says of further attempts.
#[derive(Default)]
pub(super) struct Attempts {
    pub(super) policy: Option<RetryPolicy>,
    pub(super) hedge: Option<HedgePolicy>,
}

impl Attempts {
    pub(super) fn of(rule: &Forward, policy: Option<&TrafficPolicy>) -> Self {
        let requests = policy.map(|policy| policy.requests).unwrap_or_default();
        let (said, asked) = (policy.and_then(|policy| policy.retry.as_ref()), rule.retry.as_ref());
        // A rule's own time for an attempt takes the place of a hedge's: both are counted from the attempt's begin.
        let hedge = policy.and_then(|policy| policy.hedge).filter(|_| rule.timeouts.attempt.is_none());
        let per_try = hedge.map(|hedge| hedge.after).or(rule.timeouts.attempt).or(requests.per_try_timeout);
        let per_try = per_try.filter(|time| !time.is_zero());
        if said.is_none() && asked.is_none() && per_try.is_none() {
            return Self::default();
        }
        let again = Again { said, asked, hedge };
        let xds = RetryPolicy {
            retry_on: again.tokens().join(","),
            num_retries: Some(number(again.attempts())),
            per_try_timeout: per_try.map(duration),
            retriable_status_codes: again.codes().iter().map(|&code| code.into()).collect(),
            retry_back_off: Some(again.back_off()),
            rate_limited_retry_back_off: Some(reset_headers()),
            retriable_request_headers: again.methods().iter().map(|method| is_method(method)).collect(),
            retry_host_predicate: vec![another_endpoint()],
            ..RetryPolicy::default()
        };
        let hedge = hedge.map(|_| HedgePolicy { hedge_on_per_try_timeout: true, ..HedgePolicy::default() });
        Self { policy: Some(xds), hedge }
    }
}

/// Who says something of further attempts: the policy, the rule.
struct Again<'a> {
    said: Option<&'a Retry>,
    asked: Option<&'a RuleRetry>,
    hedge: Option<Hedge>,
}

impl Again<'_> {
    fn on(&self) -> &[RetryOn] {
        match (self.said, self.asked) {
            (Some(said), _) => &said.on,
            (None, Some(_)) => &ASKED,
            (None, None) => &UNSENT,
        }
    }

    fn codes(&self) -> &[u16] {
        let said = self.said.map_or(&[][..], |said| &said.status_codes);
        self.asked.map(|asked| asked.codes.as_slice()).filter(|codes| !codes.is_empty()).unwrap_or(said)
    }

    fn grpc(&self) -> &[GrpcRetry] {
        self.said.map_or(&[], |said| &said.grpc_statuses)
    }

    fn tokens(&self) -> Vec<&'static str> {
        let mut tokens: Vec<_> = self.on().iter().map(|on| on.token()).collect();
        if !self.codes().is_empty() {
            tokens.push("retriable-status-codes");
        }
        tokens.extend(self.grpc().iter().map(|status| status.token()));
        tokens
    }

    fn attempts(&self) -> u32 {
        let said = self.said.map(|said| said.attempts);
        let asked = self.asked.and_then(|asked| asked.attempts);
        let written = asked.or(said).or(self.asked.map(|_| ATTEMPTS));
        match (written, self.hedge) {
            (written, Some(hedge)) => written.unwrap_or(0).max(hedge.max),
            (written, None) => written.unwrap_or(ATTEMPTS),
        }
    }

    fn back_off(&self) -> RetryBackOff {
        let mut waits = self.said.map_or(BACKOFF, |said| said.backoff);
        if let Some(base) = self.asked.and_then(|asked| asked.backoff) {
            waits = Backoff { base, max: waits.max.max(base * 10) };
        }
        RetryBackOff { base_interval: Some(duration(waits.base)), max_interval: Some(duration(waits.max)) }
    }

    /// The methods that are repeated; none where all are, since nothing else than what was never sent is.
    fn methods(&self) -> Vec<&str> {
        let sent = self.on().iter().any(|on| !UNSENT.contains(on))
            || !self.codes().is_empty()
            || !self.grpc().is_empty()
            || self.hedge.is_some();
        let named = self.said.and_then(|said| said.methods.as_ref());
        match named {
            _ if !sent => Vec::new(),
            Some(named) => named.iter().map(AsRef::as_ref).collect(),
            None => IDEMPOTENT.into(),
        }
    }
}

fn is_method(method: &str) -> HeaderMatcher {
    matches::header(":method", &TextMatch::Exact(method.into()))
}

fn reset_headers() -> RateLimitedRetryBackOff {
    let header = |name: &str| ResetHeader { name: name.to_owned(), format: ResetHeaderFormat::Seconds.into() };
    let reset_headers = ["retry-after", "x-ratelimit-reset"].map(header).into();
    RateLimitedRetryBackOff { reset_headers, max_interval: Some(duration(LONGEST_WAIT)) }
}

fn another_endpoint() -> RetryHostPredicate {
    RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&PreviousHostsPredicate {}))),
    }
}
