use std::time::Duration;

use weft_api::xds::pb::envoy::config::route::v3::HeaderMatcher;
use weft_api::xds::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use weft_api::xds::pb::envoy::config::route::v3::retry_policy::{ResetHeader, RetryHostPredicate};
use weft_api::xds::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use weft_api::xds::pb::google::protobuf::Duration as XdsDuration;

use super::*;
use crate::discovery::testing as make;

fn on(reasons: &str) -> XdsRetryPolicy {
    XdsRetryPolicy { retry_on: reasons.to_owned(), ..XdsRetryPolicy::default() }
}

fn method(name: &str, method: &str) -> HeaderMatcher {
    let pattern = Some(MatchPattern::Exact(method.to_owned()));
    let matcher = StringMatcher { match_pattern: pattern, ..StringMatcher::default() };
    let specifier = Some(HeaderMatchSpecifier::StringMatch(matcher));
    HeaderMatcher { name: name.to_owned(), header_match_specifier: specifier, ..HeaderMatcher::default() }
}

fn millis(millis: i32) -> Option<XdsDuration> {
    Some(XdsDuration { seconds: 0, nanos: millis * 1_000_000 })
}

fn read(policy: &XdsRetryPolicy) -> RetryPolicy {
    super::policy(policy).unwrap()
}

#[track_caller]
fn refused(policy: &XdsRetryPolicy, path: &str) {
    let fault = super::policy(policy).expect_err("it was accepted").to_string();
    assert!(fault.starts_with(&format!("{path}: ")), "{fault}");
}

#[test]
fn all_is_read() {
    let policy = read(&XdsRetryPolicy {
        num_retries: make::uint(4),
        retriable_status_codes: vec![503, 429],
        retriable_request_headers: vec![method(":method", "GET"), method(":method", "PUT")],
        retry_back_off: Some(RetryBackOff { base_interval: millis(10), max_interval: millis(80) }),
        rate_limited_retry_back_off: Some(RateLimitedRetryBackOff {
            reset_headers: vec![ResetHeader { name: "Retry-After".to_owned(), format: 0 }],
            max_interval: None,
        }),
        retry_host_predicate: vec![RetryHostPredicate { name: PREVIOUS_HOSTS.to_owned(), config_type: None }],
        ..on("5xx, retriable-status-codes,per-try-timeout,unavailable,cancelled")
    });
    assert_eq!((policy.max_attempts, policy.grpc), (5, 1 << 14 | 1 << 1));
    assert!(policy.on == RetryOn::SERVER_ERROR | RetryOn::STATUSES | RetryOn::PER_TRY_TIMEOUT);
    assert_eq!((policy.statuses, policy.methods), (vec![503, 429], Some(vec![Method::GET, Method::PUT])));
    let expected = Backoff { base: Duration::from_millis(10), max: Duration::from_millis(80) };
    assert_eq!(policy.backoff, expected);
    assert!(policy.reset_headers && policy.other_endpoint);
}

#[test]
fn what_is_not_told_is_as_in_envoy() {
    let policy = read(&on("reset"));
    assert_eq!((policy.max_attempts, policy.methods), (2, None));
    assert!(!policy.reset_headers && !policy.other_endpoint);
    assert_eq!(policy.backoff, Backoff::default());
    let base = XdsRetryPolicy {
        retry_back_off: Some(RetryBackOff { base_interval: millis(7), max_interval: None }),
        ..on("reset")
    };
    assert_eq!(read(&base).backoff.max, Duration::from_millis(70));
}

#[test]
fn what_cannot_be_done_is_refused_by_the_path() {
    refused(&on("5xx,http3-post-connect-failure"), "retry_on");
    refused(&XdsRetryPolicy { retriable_status_codes: vec![503, 1000], ..on("reset") }, "retriable_status_codes[1]");
    let headers = vec![method("x-a", "GET")];
    refused(&XdsRetryPolicy { retriable_request_headers: headers, ..on("") }, "retriable_request_headers[0].name");
    let back_off = |base, max| XdsRetryPolicy {
        retry_back_off: Some(RetryBackOff { base_interval: base, max_interval: max }),
        ..on("reset")
    };
    refused(&back_off(None, None), "retry_back_off.base_interval");
    refused(&back_off(millis(0), None), "retry_back_off.base_interval");
    refused(&back_off(millis(9), millis(8)), "retry_back_off.max_interval");
    let resets = |name: &str, format| XdsRetryPolicy {
        rate_limited_retry_back_off: Some(RateLimitedRetryBackOff {
            reset_headers: vec![ResetHeader { name: name.to_owned(), format }],
            max_interval: None,
        }),
        ..on("reset")
    };
    refused(&resets("x-wait", 0), "rate_limited_retry_back_off.reset_headers[0].name");
    refused(&resets("retry-after", 1), "rate_limited_retry_back_off.reset_headers[0].format");
    let predicate =
        RetryHostPredicate { name: "envoy.retry_host_predicates.omit_canary_hosts".into(), config_type: None };
    refused(&XdsRetryPolicy { retry_host_predicate: vec![predicate], ..on("reset") }, "retry_host_predicate[0].name");
    refused(&XdsRetryPolicy { per_try_idle_timeout: millis(1), ..on("reset") }, "per_try_idle_timeout");
}
