//! How many requests are let in.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::route::Match;

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
    /// A header's first value.
    Header(HeaderName),
    /// The path without the query.
    Path,
    /// The method.
    Method,
    /// The identity of the caller's sidecar.
    Peer,
    /// Always this text.
    Fixed(Arc<str>),
}

/// A rate: `requests` in each `per`, and as many as `burst` at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Requests in each `per`, evenly spread; at least 1.
    pub requests: u32,
    /// The time over which `requests` are counted; above zero.
    pub per: Duration,
    /// Requests that may come at once after a silence; at least 1.
    pub burst: u32,
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
