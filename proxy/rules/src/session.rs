//! Requests of one client that stay with one endpoint.

use std::time::Duration;

use http::HeaderName;

/// Where a client keeps the endpoint of its session (`envoy.extensions.filters.http.stateful_session.v3`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionPolicy {
    /// In a cookie.
    Cookie {
        /// The cookie's name.
        name: String,
        /// The path that it is for; empty for that of the request.
        path: String,
        /// How long it lives; `None`: as long as the browser runs.
        ttl: Option<Duration>,
    },
    /// In a header of answers, which the client repeats in its requests.
    Header {
        /// The header's name.
        name: HeaderName,
    },
}
