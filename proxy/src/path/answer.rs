//! The answers that the proxy makes itself, each with its reason.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::body::Body;
use crate::telemetry::access_log::Flag;

/// Says why the proxy, and not the application, answered.
pub(crate) const REASON: HeaderName = HeaderName::from_static("x-weft-reason");
/// The outcome of a gRPC call.
pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// What goes with it, for people.
pub(super) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Why the proxy answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No rule of the Service's routes matches the request.
    NoRoute,
    /// The rule that matches has no backend that exists.
    RouteUnresolved,
    /// The backend has no endpoint.
    NoEndpoint,
    /// No endpoint could be reached; the request was never sent.
    ConnectFailed,
    /// The endpoint broke off after the request may have reached it.
    UpstreamReset,
    /// The request's time-out passed.
    Timeout,
    /// The time-out of the last attempt passed.
    PerTryTimeout,
    /// Neither side moved for as long as the route allows.
    IdleTimeout,
    /// The worker has as many requests in flight as it takes.
    Overload,
    /// The backend has as many requests in flight as its policy allows.
    OverflowRequests,
    /// The backend has as many connections as its policy allows, and as many requests wait for one as it allows.
    OverflowPending,
    /// The backend has as many connections as its policy allows, and none became free in time.
    OverflowConnections,
    /// A route asked for this failure, to test what depends on it.
    FaultAbort,
    /// A rate limit is used up.
    RateLimited,
    /// The rate limit service did not answer, and the policy refuses then.
    RateLimitService,
    /// The message is not acceptable HTTP.
    BadRequest,
    /// The address is none that this pod takes traffic for.
    NotMine,
}

impl Reason {
    /// As it stands in `x-weft-reason`, logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::RouteUnresolved => "route_unresolved",
            Self::NoEndpoint => "no_endpoint",
            Self::ConnectFailed => "connect_failed",
            Self::UpstreamReset => "upstream_reset",
            Self::Timeout => "timeout",
            Self::PerTryTimeout => "per_try_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::Overload => "overload",
            Self::OverflowRequests => "overflow_requests",
            Self::OverflowPending => "overflow_pending",
            Self::OverflowConnections => "overflow_connections",
            Self::FaultAbort => "fault_abort",
            Self::RateLimited => "rate_limited",
            Self::RateLimitService => "rate_limit_service",
            Self::BadRequest => "bad_request",
            Self::NotMine => "not_mine",
        }
    }

    /// The HTTP status that goes with it.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::RouteUnresolved => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoEndpoint
            | Self::ConnectFailed
            | Self::Overload
            | Self::OverflowRequests
            | Self::OverflowPending
            | Self::OverflowConnections
            | Self::FaultAbort
            | Self::RateLimitService => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamReset => StatusCode::BAD_GATEWAY,
            Self::Timeout | Self::PerTryTimeout | Self::IdleTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::NotMine => StatusCode::MISDIRECTED_REQUEST,
        }
    }

    /// The flag of the access log that goes with it, as Envoy has them.
    pub(crate) fn flag(self) -> Flag {
        match self {
            Self::NoRoute => Flag::NoRoute,
            Self::RouteUnresolved => Flag::NoCluster,
            Self::NoEndpoint => Flag::NoHealthyUpstream,
            Self::ConnectFailed => Flag::ConnectionFailure,
            Self::UpstreamReset => Flag::ConnectionTermination,
            Self::Timeout | Self::PerTryTimeout => Flag::RequestTimeout,
            Self::IdleTimeout => Flag::IdleTimeout,
            Self::Overload => Flag::OverloadManager,
            Self::OverflowRequests | Self::OverflowPending | Self::OverflowConnections => Flag::Overflow,
            Self::FaultAbort => Flag::FaultInjected,
            Self::RateLimited => Flag::RateLimited,
            Self::RateLimitService => Flag::RateLimitServiceError,
            Self::BadRequest | Self::NotMine => Flag::ProtocolError,
        }
    }

    /// The gRPC status, by gRPC's mapping from HTTP statuses.
    fn grpc_status(self) -> u32 {
        match self {
            Self::NoRoute => 12,
            Self::RouteUnresolved | Self::BadRequest | Self::NotMine => 13,
            Self::Timeout | Self::PerTryTimeout => 4,
            Self::RateLimited => 8,
            _ => 14,
        }
    }
}

/// An answer of our own; for a gRPC request one that its client understands.
pub(crate) fn answer(reason: Reason, detail: &str, request: &HeaderMap) -> Response<Body> {
    with_status(Status::Http(reason.status()), reason, detail, request)
}

/// The status that a route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Http(StatusCode),
    Grpc(u32),
}

/// Likewise, with the status that a route asks for. A gRPC client gets the gRPC status that goes with the reason, unless
/// the route asks for one.
pub(crate) fn with_status(status: Status, reason: Reason, detail: &str, request: &HeaderMap) -> Response<Body> {
    let grpc = match status {
        Status::Grpc(status) => Some(status),
        Status::Http(_) => is_grpc(request).then(|| reason.grpc_status()),
    };
    let mut response = match (grpc, status) {
        (None, Status::Http(status)) => text(status, reason, detail),
        _ => Response::new(Body::empty()),
    };
    let headers = response.headers_mut();
    if let Some(grpc) = grpc {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, HeaderValue::from(grpc));
        headers.insert(GRPC_MESSAGE, HeaderValue::from_static(reason.as_str()));
    }
    headers.insert(REASON, HeaderValue::from_static(reason.as_str()));
    response
}

/// Whether a message is gRPC's, by its content type.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The gRPC status among headers or trailers.
pub(crate) fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

fn text(status: StatusCode, reason: Reason, detail: &str) -> Response<Body> {
    let text = if detail.is_empty() {
        format!("weft: {}\n", reason.as_str())
    } else {
        format!("weft: {}: {detail}\n", reason.as_str())
    };
    let mut response = Response::new(Body::text(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
