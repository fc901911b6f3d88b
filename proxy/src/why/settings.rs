//! Policies as lines for people, named as the fields of the manifests.

mod cluster;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use weft_rules::fault::{Abort, FaultPolicy};
use weft_rules::header_edits::HeaderEdits;
use weft_rules::retry::{RetryOn, RetryPolicy};
use weft_rules::rewrite::{PathRewrite, Rewrite};
use weft_rules::route::{Filters, Forward};
use weft_rules::session::SessionPolicy;
use weft_rules::share::Share;
use weft_rules::timeouts::Timeouts;

use super::Setting;
use crate::discovery::Cluster;

pub(crate) use cluster::policy;

/// Retry reasons by their name in `retry_on`.
const REASONS: [(RetryOn, &str); 9] = [
    (RetryOn::CONNECT_FAILURE, "connect-failure"),
    (RetryOn::REFUSED_STREAM, "refused-stream"),
    (RetryOn::RESET, "reset"),
    (RetryOn::GATEWAY_ERROR, "gateway-error"),
    (RetryOn::SERVER_ERROR, "5xx"),
    (RetryOn::RETRIABLE_4XX, "retriable-4xx"),
    (RetryOn::STATUSES, "retriable-status-codes"),
    (RetryOn::PER_TRY_TIMEOUT, "per-try-timeout"),
    (RetryOn::RATE_LIMITED, "envoy-ratelimited"),
];
/// The gRPC statuses that a retry may be for.
const GRPC: [(u32, &str); 5] =
    [(1, "CANCELLED"), (4, "DEADLINE_EXCEEDED"), (8, "RESOURCE_EXHAUSTED"), (13, "INTERNAL"), (14, "UNAVAILABLE")];

/// A line.
pub(super) fn setting(name: &str, value: impl Display) -> Setting {
    Setting { name: name.to_owned(), value: value.to_string() }
}

/// A share in percent.
pub(super) fn percent(share: Share) -> f64 {
    f64::from(share.parts_per_million()) / 10_000.0
}

/// What is done to a rule's requests and answers.
pub(super) fn filters(filters: &Filters) -> Vec<Setting> {
    let mut lines = header_edits("requestHeaders", &filters.request_headers);
    lines.extend(header_edits("responseHeaders", &filters.response_headers));
    lines.extend(filters.fault.iter().flat_map(fault));
    lines
}

/// Edits of headers, in the order in which they are made.
pub(super) fn header_edits(kind: &str, edits: &HeaderEdits) -> Vec<Setting> {
    let pair =
        |(name, value): &(HeaderName, HeaderValue)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    let removed = edits.remove.iter().map(|name| setting(&format!("{kind}.remove"), name));
    let set = edits.set.iter().map(|edit| setting(&format!("{kind}.set"), pair(edit)));
    let added = edits.add.iter().map(|edit| setting(&format!("{kind}.add"), pair(edit)));
    removed.chain(set).chain(added).collect()
}

fn fault(fault: &FaultPolicy) -> Vec<Setting> {
    let mut lines = Vec::new();
    if let Some((time, share)) = fault.delay {
        lines.push(setting("fault.delay", format!("{} for {} %", time_of(time), percent(share))));
    }
    if let Some((abort, share)) = fault.abort {
        let answer = match abort {
            Abort::Http(status) => status.as_u16().to_string(),
            Abort::Grpc(status) => format!("gRPC status {status}"),
        };
        lines.push(setting("fault.abort", format!("{answer} for {} %", percent(share))));
    }
    let headers = fault.headers.iter();
    lines.extend(headers.map(|header| setting("fault.headers", format!("{} {}", header.name, header.value))));
    lines
}

/// What becomes of host and path.
pub(super) fn rewrite(rewrite: &Rewrite) -> Vec<Setting> {
    let host = rewrite.host.iter().map(|host| setting("urlRewrite.hostname", String::from_utf8_lossy(host.as_bytes())));
    let path = rewrite.path.iter().map(|path| match path {
        PathRewrite::Prefix(prefix) => setting("urlRewrite.path.replacePrefixMatch", prefix),
        PathRewrite::Full(path) => setting("urlRewrite.path.replaceFullPath", path),
        PathRewrite::Regex(_) => setting("urlRewrite.path", "by a regular expression"),
    });
    host.chain(path).collect()
}

/// How long a request may take, of gRPC with what the request asks for itself.
pub(super) fn timeouts(timeouts: &Timeouts, headers: &HeaderMap) -> Vec<Setting> {
    let or_none = |time: Option<Duration>| time.map_or_else(|| "none".to_owned(), time_of);
    let mut lines = vec![setting("timeouts.request", or_none(timeouts.effective(headers)))];
    lines.extend(timeouts.per_try.map(|time| setting("timeouts.backendRequest", time_of(time))));
    lines.extend(timeouts.idle.map(|time| setting("requests.idleTimeout", time_of(time))));
    lines.extend(timeouts.max_stream.map(|time| setting("requests.maxStreamAge", time_of(time))));
    lines
}

/// When a request is tried again, and where its session is kept.
pub(super) fn retry(forward: &Forward<Arc<Cluster>>) -> Vec<Setting> {
    let policy = forward.retry.as_ref();
    let mut lines = vec![setting("retry.attempts", policy.max_attempts.saturating_sub(1)), retry_on(policy)];
    if policy.on.any(RetryOn::STATUSES) {
        lines.push(setting("retry.statusCodes", list(policy.statuses.iter())));
    }
    if policy.grpc != 0 {
        let names = GRPC.iter().filter(|(status, _)| policy.grpc & (1 << status) != 0).map(|(_, name)| name);
        lines.push(setting("retry.grpcStatuses", list(names)));
    }
    lines.extend(policy.methods.iter().map(|methods| setting("retry.methods", list(methods.iter()))));
    let backoff = policy.backoff;
    lines.push(setting("retry.backoff", format!("{} to {}", time_of(backoff.base), time_of(backoff.max))));
    if forward.hedge {
        let after = forward.timeouts.per_try.map_or_else(|| "never".to_owned(), time_of);
        lines.push(setting("hedge.after", after));
    }
    lines.extend(forward.session.iter().map(session));
    lines
}

fn retry_on(policy: &RetryPolicy) -> Setting {
    let names: Vec<_> = REASONS.iter().filter(|(reason, _)| policy.on.any(*reason)).map(|(_, name)| name).collect();
    setting("retry.retryOn", if names.is_empty() { "nothing".to_owned() } else { list(names.into_iter()) })
}

fn session(session: &SessionPolicy) -> Setting {
    match session {
        SessionPolicy::Cookie { name, .. } => setting("sessionPersistence", format!("by the cookie {name}")),
        SessionPolicy::Header { name } => setting("sessionPersistence", format!("by the header {name}")),
    }
}

fn time_of(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

fn list(items: impl Iterator<Item = impl Display>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
