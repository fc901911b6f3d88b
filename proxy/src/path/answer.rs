//! The answers that the proxy makes itself, each with its reason.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::body::Body;

/// Says why the proxy, and not the application, answered.
pub(crate) const REASON: HeaderName = HeaderName::from_static("x-weft-reason");

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
    /// The route's time-out passed.
    Timeout,
    /// The worker has as many requests in flight as it takes.
    Overload,
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
            Self::Overload => "overload",
            Self::BadRequest => "bad_request",
            Self::NotMine => "not_mine",
        }
    }

    /// The HTTP status that goes with it.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::RouteUnresolved => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoEndpoint | Self::ConnectFailed | Self::Overload => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamReset => StatusCode::BAD_GATEWAY,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::NotMine => StatusCode::MISDIRECTED_REQUEST,
        }
    }

    /// The gRPC status, by gRPC's mapping from HTTP statuses.
    fn grpc_status(self) -> &'static str {
        match self {
            Self::NoRoute => "12",
            Self::RouteUnresolved | Self::BadRequest | Self::NotMine => "13",
            Self::Timeout => "4",
            Self::NoEndpoint | Self::ConnectFailed | Self::Overload | Self::UpstreamReset => "14",
        }
    }
}

/// An answer of our own; for a gRPC request one that its client understands.
pub(crate) fn answer(reason: Reason, detail: &str, request: &HeaderMap) -> Response<Body> {
    with_status(reason.status(), reason, detail, request)
}

/// Likewise, with the status that a route asks for.
pub(crate) fn with_status(status: StatusCode, reason: Reason, detail: &str, request: &HeaderMap) -> Response<Body> {
    let grpc = request.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    let mut response = if grpc { Response::new(Body::empty()) } else { text(status, reason, detail) };
    let headers = response.headers_mut();
    if grpc {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(reason.grpc_status()));
        headers.insert("grpc-message", HeaderValue::from_static(reason.as_str()));
    }
    headers.insert(REASON, HeaderValue::from_static(reason.as_str()));
    response
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
