//! Requests of one client that stay with one endpoint.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cookies;

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

impl SessionPolicy {
    /// The endpoint that a request says it belongs to. The client may have made it up: it counts only while it is one of
    /// the endpoints that the request may go to anyway.
    pub fn endpoint(&self, request: &HeaderMap) -> Option<SocketAddr> {
        let token = match self {
            Self::Cookie { name, .. } => cookies::find(request, name)?,
            Self::Header { name } => request.get(name)?.as_bytes(),
        };
        decode(token)
    }

    /// The header to append to an answer so that the client comes back to the endpoint; needed when it was not that one
    /// which the request asked for. `None` if the cookie's name or path cannot be one.
    pub fn keep(&self, endpoint: SocketAddr) -> Option<(HeaderName, HeaderValue)> {
        let token = encode(endpoint);
        match self {
            Self::Cookie { name, path, ttl } => Some((SET_COOKIE, cookies::set(name, &token, path, *ttl)?)),
            Self::Header { name } => Some((name.clone(), HeaderValue::try_from(token).ok()?)),
        }
    }
}

/// An endpoint as a token for clients: the address (4 or 16 bytes) and the port, in hexadecimal digits.
pub fn encode(endpoint: SocketAddr) -> String {
    let port = endpoint.port();
    match endpoint.ip().to_canonical() {
        IpAddr::V4(ip) => format!("{:08x}{port:04x}", ip.to_bits()),
        IpAddr::V6(ip) => format!("{:032x}{port:04x}", ip.to_bits()),
    }
}

/// What [`encode`] made; `None` for anything else.
pub fn decode(token: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = token.split_at_checked(token.len().checked_sub(4)?)?;
    let ip = match ip.len() {
        8 => IpAddr::V4(u32::try_from(number(ip)?).ok()?.into()),
        32 => IpAddr::V6(number(ip)?.into()),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::try_from(number(port)?).ok()?))
}

/// A number of at most 32 hexadecimal digits.
fn number(digits: &[u8]) -> Option<u128> {
    let mut digits = digits.iter().map(|digit| char::from(*digit).to_digit(16));
    digits.try_fold(0, |number, digit| Some((number << 4) | u128::from(digit?)))
}
