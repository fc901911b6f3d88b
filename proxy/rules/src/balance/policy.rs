//! How a cluster's endpoints are chosen from.

#[cfg(test)]
mod tests;

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
    /// Whether endpoints of our own zone come first, see [`locality`](super::locality).
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

impl BalancePolicy {
    /// Whether so few of the endpoints are usable (neither ejected nor unhealthy) that all are used: to leave out most of
    /// them would only overload the others, and it is likelier that the judgement is wrong than that all are.
    pub fn panics(&self, usable: usize, all: usize) -> bool {
        (usable as u128) * 100 < (all as u128) * u128::from(self.panic_percent)
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

impl Algorithm {
    /// Whether requests are hashed.
    pub fn is_hashing(self) -> bool {
        matches!(self, Self::RingHash | Self::Maglev)
    }
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

impl SlowStart {
    /// The weight of an endpoint of that age, where one that is no longer new has 1:
    /// `max(min_percent / 100, (age / window) ^ (1 / aggression))`, as in Envoy.
    pub fn weight(&self, age: Duration) -> f64 {
        if age >= self.window {
            return 1.0;
        }
        let grown = (age.as_secs_f64() / self.window.as_secs_f64()).powf(1.0 / self.aggression);
        // Never 0, or it would not be tried at all; `max` also takes the better of the two where an odd aggression gives NaN.
        grown.max(f64::from(self.min_percent) / 100.0).clamp(0.01, 1.0)
    }
}
