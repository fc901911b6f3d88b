//! What of a request decides its place on a ring.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cookies;

/// A part of a request to hash; the first of a list that the request has counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The values of a header, in order.
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

/// A request's place on a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashed {
    /// The same for each request with the same key, in each proxy.
    pub hash: u64,
    /// A `set-cookie` for the answer, where the request was given the cookie that it is hashed by.
    pub set_cookie: Option<HeaderValue>,
}

/// A request's place by the first of the keys that it has; `None` if it has none of them.
///
/// `source` is the client's address, and `random` is what a new cookie is made of.
pub fn hash_of(keys: &[HashKey], headers: &HeaderMap, source: IpAddr, random: u64) -> Option<Hashed> {
    keys.iter().find_map(|key| key.hash(headers, source, random))
}

impl HashKey {
    fn hash(&self, headers: &HeaderMap, source: IpAddr, random: u64) -> Option<Hashed> {
        let found = |hash| Some(Hashed { hash, set_cookie: None });
        match self {
            Self::Header(name) => {
                let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
                let first = fnv(OFFSET, values.next()?);
                // A comma between them, so that a header in several lines is the same as in one.
                found(mix(values.fold(first, |state, value| fnv(fnv(state, b","), value))))
            }
            Self::Cookie { name, ttl, path } => match (cookies::find(headers, name), ttl) {
                (Some(value), _) => found(hash(value)),
                (None, None) => None,
                (None, ttl) => {
                    let value = format!("{random:016x}");
                    let set_cookie = cookies::set(name, &value, path, *ttl);
                    Some(Hashed { hash: hash(value.as_bytes()), set_cookie })
                }
            },
            Self::Source => found(hash_ip(OFFSET, source)),
        }
    }
}

/// The hash of an endpoint, the same in each proxy: where rings and tables have it.
pub fn hash_address(address: SocketAddr) -> u64 {
    mix(fnv(hash_ip(OFFSET, address.ip()), &address.port().to_be_bytes()))
}

/// FNV-1a with MurmurHash3's finalizer. It must never change, or each change of a proxy's version would move all keys; so
/// it is written here. It resists nobody who wants collisions, and need not: who chooses a key chooses an endpoint.
pub fn hash(bytes: &[u8]) -> u64 {
    mix(fnv(OFFSET, bytes))
}

/// The FNV-1a state before the first byte.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

fn fnv(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |state, byte| (state ^ u64::from(*byte)).wrapping_mul(PRIME))
}

fn hash_ip(state: u64, ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => mix(fnv(state, &ip.octets())),
        IpAddr::V6(ip) => mix(fnv(state, &ip.octets())),
    }
}

/// Spreads what differs in few bits over all of them.
pub(crate) fn mix(mut state: u64) -> u64 {
    state = (state ^ (state >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    state = (state ^ (state >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    state ^ (state >> 33)
}
