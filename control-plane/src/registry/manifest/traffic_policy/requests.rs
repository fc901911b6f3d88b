//! `connections`, `requests`, `retry` and `hedge`.

use std::time::Duration;

use super::fields::{DAY, Fields, HOUR, MILLISECOND};
use super::raw;
use crate::mesh::{Backoff, Connections, GrpcRetry, Hedge, Requests, Retry, RetryBudget, RetryOn};
use crate::registry::fault::FieldPath;

const ON: [(&str, RetryOn); 7] = [
    ("connect-failure", RetryOn::ConnectFailure),
    ("refused-stream", RetryOn::RefusedStream),
    ("reset", RetryOn::Reset),
    ("gateway-error", RetryOn::GatewayError),
    ("5xx", RetryOn::ServerError),
    ("retriable-4xx", RetryOn::Retriable4xx),
    ("per-try-timeout", RetryOn::PerTryTimeout),
];
const GRPC_STATUSES: [(&str, GrpcRetry); 5] = [
    ("CANCELLED", GrpcRetry::Cancelled),
    ("DEADLINE_EXCEEDED", GrpcRetry::DeadlineExceeded),
    ("INTERNAL", GrpcRetry::Internal),
    ("RESOURCE_EXHAUSTED", GrpcRetry::ResourceExhausted),
    ("UNAVAILABLE", GrpcRetry::Unavailable),
];
/// The methods of HTTP but CONNECT, which is never repeated.
const METHODS: [(&str, &str); 8] = [
    ("GET", "GET"),
    ("HEAD", "HEAD"),
    ("OPTIONS", "OPTIONS"),
    ("TRACE", "TRACE"),
    ("PUT", "PUT"),
    ("DELETE", "DELETE"),
    ("POST", "POST"),
    ("PATCH", "PATCH"),
];
/// Further attempts, where a policy doesn't say.
const ATTEMPTS: u32 = 2;

pub(super) fn connections(raw: raw::Connections, field: &FieldPath, fields: &mut Fields<'_>) -> Connections {
    let mut time =
        |key: &str, text: &Option<String>, most| fields.duration(field.key(key), text.as_deref(), MILLISECOND..=most);
    let connect_timeout = time("connectTimeout", &raw.connect_timeout, Duration::from_secs(60));
    let idle_timeout = time("idleTimeout", &raw.idle_timeout, DAY);
    let max_age = time("maxAge", &raw.max_age, DAY * 30);
    let max = fields.number(field.key("max"), raw.max, 1..=u32::MAX);
    Connections { max, connect_timeout, idle_timeout, max_age }
}

pub(super) fn requests(raw: raw::Requests, field: &FieldPath, fields: &mut Fields<'_>) -> Requests {
    let mut time =
        |key: &str, text: &Option<String>, least| fields.duration(field.key(key), text.as_deref(), least..=DAY);
    let max_stream_age = time("maxStreamAge", &raw.max_stream_age, MILLISECOND);
    let timeout = time("timeout", &raw.timeout, Duration::ZERO);
    let per_try_timeout = time("perTryTimeout", &raw.per_try_timeout, Duration::ZERO);
    let idle_timeout = time("idleTimeout", &raw.idle_timeout, Duration::ZERO);
    if let (Some(all), Some(one)) = (timeout, per_try_timeout)
        && one > all
        && !all.is_zero()
    {
        fields.error(field.key("perTryTimeout"), format!("{one:?} is longer than requests.timeout, {all:?}"));
    }
    let max = fields.number(field.key("max"), raw.max, 1..=u32::MAX);
    let max_pending = fields.number(field.key("maxPending"), raw.max_pending, 0..=u32::MAX);
    Requests { max, max_pending, max_stream_age, timeout, per_try_timeout, idle_timeout }
}

pub(super) fn retry(raw: raw::Retry, field: &FieldPath, fields: &mut Fields<'_>) -> Retry {
    let mut words = Words { field, fields };
    let on = words.read("retryOn", raw.retry_on, &ON);
    let grpc_statuses = words.read("grpcStatuses", raw.grpc_statuses, &GRPC_STATUSES).unwrap_or_default();
    let methods = words.read("methods", raw.methods, &METHODS);
    if methods.as_ref().is_some_and(Vec::is_empty) {
        words.fields.error(field.key("methods"), "is empty: leave it out for the idempotent ones");
    }
    let mut status_codes = Vec::new();
    for (place, code) in raw.status_codes.unwrap_or_default().into_iter().enumerate() {
        status_codes.extend(fields.number(field.key("statusCodes").index(place), Some(code), 400..=599u16));
    }
    Retry {
        attempts: fields.number(field.key("attempts"), raw.attempts, 0..=10).unwrap_or(ATTEMPTS),
        on: on.unwrap_or_else(|| vec![RetryOn::ConnectFailure, RetryOn::RefusedStream]),
        status_codes,
        grpc_statuses,
        methods: methods.map(|methods| methods.into_iter().map(Into::into).collect()),
        backoff: backoff(&raw.backoff.unwrap_or_default(), &field.key("backoff"), fields),
        budget: raw.budget.map(|raw| budget(&raw, &field.key("budget"), fields)),
    }
}

struct Words<'a, 'b> {
    field: &'a FieldPath,
    fields: &'a mut Fields<'b>,
}

impl Words<'_, '_> {
    /// A list of words, each once, ordered as they are written.
    fn read<T: Copy + PartialEq>(
        &mut self,
        key: &str,
        written: Option<Vec<String>>,
        words: &[(&str, T)],
    ) -> Option<Vec<T>> {
        let mut found = Vec::new();
        for (place, text) in written?.iter().enumerate() {
            let field = self.field.key(key).index(place);
            found.extend(self.fields.word(field, Some(text), words).filter(|word| !found.contains(word)));
        }
        Some(found)
    }
}

fn backoff(raw: &raw::Backoff, field: &FieldPath, fields: &mut Fields<'_>) -> Backoff {
    let base = fields.duration(field.key("base"), raw.base.as_deref(), MILLISECOND..=HOUR);
    let base = base.unwrap_or(Duration::from_millis(25));
    let max = fields.duration(field.key("max"), raw.max.as_deref(), MILLISECOND..=HOUR);
    let max = max.unwrap_or(base * 10);
    if max < base {
        fields.error(field.key("max"), format!("{max:?} is shorter than backoff.base, {base:?}"));
    }
    Backoff { base, max }
}

fn budget(raw: &raw::Budget, field: &FieldPath, fields: &mut Fields<'_>) -> RetryBudget {
    let window = Duration::from_secs(1)..=Duration::from_secs(60);
    RetryBudget {
        percent: fields.fraction(field.key("percent"), raw.percent, 0.0..=100.0).unwrap_or(20.0),
        min_per_second: fields.number(field.key("minPerSecond"), raw.min_per_second, 0..=1_000_000).unwrap_or(10),
        window: fields.duration(field.key("window"), raw.window.as_deref(), window).unwrap_or(Duration::from_secs(10)),
    }
}

/// A further attempt comes when the first takes long: then a time-out of one attempt has no place beside it.
pub(super) fn hedge(raw: raw::Hedge, requests: &Requests, field: &FieldPath, fields: &mut Fields<'_>) -> Option<Hedge> {
    let after = fields.required(field.key("after"), raw.after)?;
    let after = fields.duration(field.key("after"), Some(&after), MILLISECOND..=HOUR);
    let max = fields.number(field.key("max"), raw.max, 1..=10).unwrap_or(1);
    if requests.per_try_timeout.is_some_and(|time| !time.is_zero()) {
        fields.error(field.key("after"), "and requests.perTryTimeout exclude each other");
    }
    Some(Hedge { after: after?, max })
}
