//! How a cluster's endpoints are chosen from.

use std::time::Duration;

use crate::hash::HashKey;

/// How one of a cluster's endpoints is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct BalancePolicy {
    /// By what.
    pub algorithm: Algorithm,
    /// What of a request [`Algorithm::RingHash`] and [`Algorithm::Maglev`] hash; without any of it they draw.
    pub hash: Vec<HashKey>,
    /// Whether new endpoints get less at first.
    pub slow_start: Option<SlowStart>,
    /// Whether endpoints of our own zone come first.
    pub zone_aware: bool,
    /// Below this share of usable endpoints all are used; 0: never.
    pub panic_percent: u8,
}

impl Default for BalancePolicy {
    /// Peak EWMA over all zones, panic below 50 %.
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            hash: Vec::new(),
            slow_start: None,
            zone_aware: false,
            panic_percent: 50,
        }
    }
}

/// What an endpoint is chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// The better of two drawn ones by recent latency and requests under way.
    #[default]
    PeakEwma,
    /// One after the other.
    RoundRobin,
    /// The one of two drawn ones with fewer requests under way.
    LeastRequest,
    /// Drawn.
    Random,
    /// By the request's place on a ring of endpoints.
    RingHash,
    /// By the request's place in a Maglev table.
    Maglev,
}

/// What a new endpoint gets at first (`envoy.config.cluster.v3.Cluster.SlowStartConfig`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowStart {
    /// How long an endpoint counts as new.
    pub window: Duration,
    /// The least part of a full endpoint's weight that a new one has, in percent.
    pub min_percent: u8,
    /// How fast the weight grows: 1.0 evenly, more than that faster at the beginning.
    pub aggression: f64,
}
