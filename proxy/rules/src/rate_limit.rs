//! How many requests are let in.

mod bucket;
mod fields;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use http::HeaderName;

pub use bucket::{Buckets, Decision, Quota, TokenBucket};
pub use fields::{RATELIMIT, RATELIMIT_POLICY, Told, X_LIMIT, X_REMAINING, X_RESET, seconds, tell};

use crate::route::{Match, RequestHead};

/// A limit that this proxy enforces by itself.
#[derive(Debug, Clone)]
pub struct LocalLimit {
    /// Its name, for headers and telemetry.
    pub name: Arc<str>,
    /// Which requests it is for.
    pub matcher: Match,
    /// What requests must have in common to share a bucket; empty: all share one. A request that lacks one of these is
    /// not limited.
    pub by: Vec<Attribute>,
    /// How many requests a bucket lets in.
    pub quota: Quota,
}

/// Something that a request has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// A header's first value, if it is text.
    Header(HeaderName),
    /// The path without the query.
    Path,
    /// The method.
    Method,
    /// The identity of the caller's sidecar, if it has one.
    Peer,
    /// Always this text.
    Fixed(Arc<str>),
}

/// One descriptor of a global limit: what is told of a request to the rate limit service.
#[derive(Debug, Clone)]
pub struct Descriptor {
    /// Which requests it is for.
    pub matcher: Match,
    /// Its entries, in order. A request that lacks one of them has no such descriptor.
    pub entries: Vec<DescriptorEntry>,
}

/// An entry of a descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescriptorEntry {
    /// Its key.
    pub key: Arc<str>,
    /// Where its value is taken from.
    pub value: Attribute,
}

impl Attribute {
    /// What a request has of it. `peer` is the caller's identity.
    pub fn of<'a>(&'a self, request: &RequestHead<'a>, peer: Option<&'a str>) -> Option<&'a str> {
        match self {
            Self::Header(name) => {
                request.headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
            }
            Self::Path => Some(request.path),
            Self::Method => Some(request.method.as_str()),
            Self::Peer => peer,
            Self::Fixed(text) => Some(text),
        }
    }
}

impl LocalLimit {
    /// Which bucket a request takes from, as the hash of what `by` names; `None` if the limit is not for the request.
    ///
    /// Hashed by a `hasher` with a secret of the process, requests of two buckets do not meet in one, whatever callers try.
    pub fn bucket(&self, request: &RequestHead<'_>, peer: Option<&str>, hasher: &impl BuildHasher) -> Option<u64> {
        if !self.matcher.matches(request) {
            return None;
        }
        let mut state = hasher.build_hasher();
        for attribute in &self.by {
            attribute.of(request, peer)?.hash(&mut state);
        }
        Some(state.finish())
    }
}

impl Descriptor {
    /// The entries with a request's values; `None` if the descriptor is not for the request.
    pub fn of<'a>(&'a self, request: &RequestHead<'a>, peer: Option<&'a str>) -> Option<Vec<(&'a str, &'a str)>> {
        if !self.matcher.matches(request) {
            return None;
        }
        self.entries.iter().map(|entry| Some((&*entry.key, entry.value.of(request, peer)?))).collect()
    }
}
