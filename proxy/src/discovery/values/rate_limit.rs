//! What limits the rate of requests to a port of the application.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use weft_rules::rate_limit::{Descriptor, LocalLimit};

use super::Cluster;
use crate::path::rate_limit::Gate;

/// The rate limits of a port; a request must be let in by each of them.
#[derive(Debug, Default)]
pub(crate) struct RateLimits {
    /// Those that this proxy enforces by itself, for the whole pod.
    pub(crate) local: Vec<Arc<LocalRule>>,
    /// Those that a rate limit service decides.
    pub(crate) global: Vec<GlobalRule>,
}

impl RateLimits {
    /// Whether nothing is limited.
    pub(crate) fn is_empty(&self) -> bool {
        self.local.is_empty() && self.global.is_empty()
    }
}

/// A limit that this proxy enforces. The same `Arc` as before for as long as the control plane says the same of it, so
/// that what was counted is not forgotten when something else changes.
#[derive(Debug)]
pub(crate) struct LocalRule {
    /// Which requests it is for, and how many are let in.
    pub(crate) limit: LocalLimit,
    /// At most so many buckets are kept, where requests with other attributes have other buckets.
    pub(crate) max_buckets: usize,
    /// Whether a gRPC call that is not let in is told `RESOURCE_EXHAUSTED`, instead of `UNAVAILABLE`.
    pub(crate) resource_exhausted: bool,
    /// Whether answers tell how much is left.
    pub(crate) tells: bool,
    /// The configuration that it was made from.
    source: Box<[u8]>,
    /// What was counted.
    gate: OnceLock<Gate>,
}

impl LocalRule {
    /// A limit, and the configuration that it was made from.
    pub(in crate::discovery) fn new(limit: LocalLimit, source: &[u8]) -> Self {
        Self {
            limit,
            max_buckets: Self::MAX_BUCKETS,
            resource_exhausted: false,
            tells: false,
            source: source.into(),
            gate: OnceLock::new(),
        }
    }

    /// What counts its requests, for all workers.
    pub(crate) fn gate(&self) -> &Gate {
        self.gate.get_or_init(|| Gate::new(&self.limit, self.max_buckets))
    }

    /// Whether the control plane says the same of both.
    pub(in crate::discovery) fn is_same(&self, other: &Self) -> bool {
        self.source == other.source
    }

    /// The bound on buckets, unless told.
    const MAX_BUCKETS: usize = 10_000;
}

/// What a rate limit service decides.
#[derive(Clone, Debug)]
pub(crate) struct GlobalRule<C = Arc<Cluster>> {
    /// The service; may not exist, and may have no endpoints.
    pub(crate) cluster: C,
    /// What the service knows the limits by, beside the descriptors.
    pub(crate) domain: Arc<str>,
    /// How long its answer may take.
    pub(crate) timeout: Duration,
    /// Whether requests are let in when it does not answer.
    pub(crate) fail_open: bool,
    /// What it is told of a request. A request that has none of them is let in.
    pub(crate) descriptors: Arc<[Descriptor]>,
    /// As in [`LocalRule`].
    pub(crate) resource_exhausted: bool,
    /// As in [`LocalRule`].
    pub(crate) tells: bool,
}

impl<C> GlobalRule<C> {
    /// The same with another cluster.
    pub(in crate::discovery) fn map<U>(&self, to: impl FnOnce(&C) -> U) -> GlobalRule<U> {
        GlobalRule {
            cluster: to(&self.cluster),
            domain: self.domain.clone(),
            timeout: self.timeout,
            fail_open: self.fail_open,
            descriptors: self.descriptors.clone(),
            resource_exhausted: self.resource_exhausted,
            tells: self.tells,
        }
    }
}
