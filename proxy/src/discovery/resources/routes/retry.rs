//! `RetryPolicy` -> when a request is tried again.

use http::Method;
use weft_api::xds::pb::envoy::config::route::v3::RetryPolicy as XdsRetryPolicy;
use weft_api::xds::pb::envoy::config::route::v3::retry_policy::{
    RateLimitedRetryBackOff, ResetHeaderFormat, RetryBackOff,
};
use weft_rules::retry::{Backoff, MAX_WAIT, RetryOn, RetryPolicy};

use super::matches;
use crate::discovery::resources::duration;
use crate::discovery::resources::fault::{Fault, Within as _, refuse};

/// The only predicate that is known.
const PREVIOUS_HOSTS: &str = "envoy.retry_host_predicates.previous_hosts";
/// The headers that may tell how long to wait.
const RESET_HEADERS: [&str; 2] = ["retry-after", "x-ratelimit-reset"];

/// Checks a retry policy, but for the time-out of an attempt.
pub(super) fn policy(policy: &XdsRetryPolicy) -> Result<RetryPolicy, Fault> {
    refuse!(policy; per_try_idle_timeout, retry_priority, retry_options_predicates, retriable_headers,
        refresh_cluster_on_retry);
    let (on, grpc) = reasons(&policy.retry_on).within("retry_on")?;
    let retries = policy.num_retries.as_ref().map_or(1, |retries| retries.value);
    let statuses = policy.retriable_status_codes.iter().enumerate();
    let backoff = match &policy.retry_back_off {
        Some(back_off) => self::backoff(back_off).within("retry_back_off")?,
        None => Backoff::default(),
    };
    let reset_headers = match &policy.rate_limited_retry_back_off {
        Some(back_off) => self::reset_headers(back_off).within("rate_limited_retry_back_off")?,
        None => false,
    };
    Ok(RetryPolicy {
        max_attempts: retries.saturating_add(1),
        on,
        statuses: statuses
            .map(|(index, code)| status(*code).within_item("retriable_status_codes", index))
            .collect::<Result<_, _>>()?,
        grpc,
        methods: methods(policy)?,
        backoff,
        reset_headers,
        other_endpoint: other_endpoint(policy)?,
    })
}

/// The reasons of a list such as `5xx,connect-failure,unavailable`, and the gRPC statuses in it as bits.
fn reasons(list: &str) -> Result<(RetryOn, u32), Fault> {
    let tokens = list.split(',').map(str::trim).filter(|token| !token.is_empty());
    let mut tokens = tokens
        .map(|token| reason(token).ok_or_else(|| Fault::here(format!("{token:?} is not supported by this proxy"))));
    tokens.try_fold((RetryOn::NOTHING, 0), |(on, grpc), token| token.map(|(also, status)| (on | also, grpc | status)))
}

fn reason(token: &str) -> Option<(RetryOn, u32)> {
    let reason = match token {
        "connect-failure" => RetryOn::CONNECT_FAILURE,
        "refused-stream" => RetryOn::REFUSED_STREAM,
        "reset" => RetryOn::RESET,
        "gateway-error" => RetryOn::GATEWAY_ERROR,
        "5xx" => RetryOn::SERVER_ERROR,
        "retriable-4xx" => RetryOn::RETRIABLE_4XX,
        "retriable-status-codes" => RetryOn::STATUSES,
        "per-try-timeout" => RetryOn::PER_TRY_TIMEOUT,
        "envoy-ratelimited" => RetryOn::RATE_LIMITED,
        _ => return grpc_status(token).map(|status| (RetryOn::NOTHING, 1 << status)),
    };
    Some((reason, 0))
}

fn grpc_status(token: &str) -> Option<u32> {
    match token {
        "cancelled" => Some(1),
        "deadline-exceeded" => Some(4),
        "resource-exhausted" => Some(8),
        "internal" => Some(13),
        "unavailable" => Some(14),
        _ => None,
    }
}

fn status(code: u32) -> Result<u16, Fault> {
    let status = u16::try_from(code).ok().filter(|code| (100..600).contains(code));
    status.ok_or_else(|| Fault::here(format!("{code} is not an HTTP status")))
}

fn backoff(back_off: &RetryBackOff) -> Result<Backoff, Fault> {
    let base = back_off.base_interval.ok_or_else(|| Fault::new("base_interval", "is missing"))?;
    let base = duration("base_interval", base)?;
    if base.is_zero() {
        return Err(Fault::new("base_interval", "is 0"));
    }
    match back_off.max_interval {
        None => Ok(Backoff::from_base(base)),
        Some(max) => {
            let max = duration("max_interval", max)?;
            let backoff = Backoff { base, max };
            if max < base { Err(Fault::new("max_interval", "is less than base_interval")) } else { Ok(backoff) }
        }
    }
}

/// Whether answers tell how long to wait. By which headers is not a choice.
fn reset_headers(back_off: &RateLimitedRetryBackOff) -> Result<bool, Fault> {
    for (index, header) in back_off.reset_headers.iter().enumerate() {
        let check = || {
            if !RESET_HEADERS.iter().any(|known| header.name.eq_ignore_ascii_case(known)) {
                return Err(Fault::new("name", format!("{:?} is none of {RESET_HEADERS:?}", header.name)));
            }
            match ResetHeaderFormat::try_from(header.format) {
                Ok(ResetHeaderFormat::Seconds) => Ok(()),
                _ => Err(Fault::new("format", "is not SECONDS")),
            }
        };
        check().within_item("reset_headers", index)?;
    }
    match back_off.max_interval.map(|max| duration("max_interval", max)).transpose()? {
        Some(max) if max != MAX_WAIT => Err(Fault::new("max_interval", format!("is not {MAX_WAIT:?}, the only one"))),
        _ => Ok(!back_off.reset_headers.is_empty()),
    }
}

/// The methods that may be repeated; `None`: all.
fn methods(policy: &XdsRetryPolicy) -> Result<Option<Vec<Method>>, Fault> {
    let conditions = policy.retriable_request_headers.iter().enumerate().map(|(index, matcher)| {
        let method = || match matcher.name.as_str() {
            ":method" => matches::method(matcher),
            other => Err(Fault::new("name", format!("is {other:?}; only :method is supported"))),
        };
        method().within_item("retriable_request_headers", index)
    });
    let methods = conditions.collect::<Result<Vec<_>, _>>()?;
    Ok((!methods.is_empty()).then_some(methods))
}

fn other_endpoint(policy: &XdsRetryPolicy) -> Result<bool, Fault> {
    for (index, predicate) in policy.retry_host_predicate.iter().enumerate() {
        if predicate.name != PREVIOUS_HOSTS {
            let reason = format!("{:?} is not supported; only {PREVIOUS_HOSTS} is", predicate.name);
            return Err(Fault::new("name", reason)).within_item("retry_host_predicate", index);
        }
    }
    Ok(!policy.retry_host_predicate.is_empty())
}

#[cfg(test)]
mod tests;
