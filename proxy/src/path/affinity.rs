//! What binds a client to an endpoint: a session that it brings along, or a part of its requests that is hashed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::header::SET_COOKIE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use weft_rules::hash::{self, HashKey};
use weft_rules::session::SessionPolicy;

/// Where one request should go.
pub(super) struct Affinity<'a> {
    session: Option<&'a SessionPolicy>,
    /// The endpoint that the request says it belongs to.
    endpoint: Option<SocketAddr>,
    hash: Option<u64>,
    /// Makes the client's next requests have the same hash.
    cookie: Option<HeaderValue>,
}

impl<'a> Affinity<'a> {
    /// By the rule's session policy with the endpoint that the request names, and by the cluster's hash keys.
    pub(super) fn new(
        session: Option<&'a SessionPolicy>,
        endpoint: Option<SocketAddr>,
        keys: &[HashKey],
        client: Option<SocketAddr>,
        request: &Parts,
    ) -> Self {
        let none = Self { session, endpoint, hash: None, cookie: None };
        if keys.is_empty() {
            return none;
        }
        let source = client.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.ip());
        match hash::hash_of(keys, &request.headers, source, rand::random()) {
            Some(hashed) => Self { hash: Some(hashed.hash), cookie: hashed.set_cookie, ..none },
            None => none,
        }
    }

    /// Where the request's session is.
    pub(super) fn endpoint(&self) -> Option<SocketAddr> {
        self.endpoint
    }

    /// Its place on a ring.
    pub(super) fn hash(&self) -> Option<u64> {
        self.hash
    }

    /// Tells the client what to bring along the next time, where that is news.
    pub(super) fn keep(&self, answered: SocketAddr, headers: &mut HeaderMap) {
        if let Some(cookie) = &self.cookie {
            headers.append(SET_COOKIE, cookie.clone());
        }
        if self.endpoint != Some(answered)
            && let Some((name, value)) = self.session.and_then(|session| session.keep(answered))
        {
            headers.append(name, value);
        }
    }
}
