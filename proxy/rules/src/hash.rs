//! What of a request decides its place on a ring.

use std::time::Duration;

use http::HeaderName;

/// A part of a request to hash; the first of a list that the request has counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The values of a header.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie {
        /// The cookie's name.
        name: String,
        /// With a lifetime, a request without the cookie is given one; zero is a cookie for as long as the browser runs.
        ttl: Option<Duration>,
        /// The path that a new cookie is for; empty for that of the request.
        path: String,
    },
    /// The client's IP address.
    Source,
}
