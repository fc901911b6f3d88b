//! The choice of an endpoint.
//!
//! Here is the usual one, the power of two choices over peak-EWMA latency: see Finagle's `PeakEwma` and Mitzenmacher, "The
//! Power of Two Choices in Randomized Load Balancing" (2001). Least request is the same choice over the requests under way
//! ([`least_request`]). The others are in [`turns`], [`hash_ring`] and [`maglev`]; which zone is chosen from is in
//! [`locality`].

pub mod hash_ring;
pub mod locality;
pub mod maglev;
mod policy;
#[cfg(test)]
mod tests;
pub mod turns;

use std::time::{Duration, Instant};

pub use policy::{Algorithm, BalancePolicy, SlowStart};

/// How fast what was observed is forgotten: after this time without news an estimate has fallen to 1/e.
pub const DECAY: Duration = Duration::from_secs(10);

/// What is assumed of an endpoint that has not answered yet. Long enough that an unknown endpoint does not take all
/// traffic at once, short enough that it is tried soon.
pub const DEFAULT_RTT: Duration = Duration::from_millis(30);

/// A latency estimate that jumps to a peak at once and comes down slowly, so that a slow endpoint is avoided with its
/// first slow answer and regains traffic with time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeakEwma {
    /// Nanoseconds, as of `updated`.
    estimate: f64,
    updated: Instant,
}

impl PeakEwma {
    /// An endpoint about which nothing is known yet, estimated at [`DEFAULT_RTT`].
    pub fn new(now: Instant) -> Self {
        Self { estimate: nanoseconds(DEFAULT_RTT), updated: now }
    }

    /// Takes the latency of an answer that came at `now`. A failed attempt may be reported with a latency that is a
    /// penalty.
    pub fn observe(&mut self, now: Instant, rtt: Duration) {
        let rtt = nanoseconds(rtt);
        let decay = self.decay(now);
        self.estimate = if rtt > self.estimate { rtt } else { self.estimate * decay + rtt * (1.0 - decay) };
        self.updated = self.updated.max(now);
    }

    /// What one more request would meet: the decayed estimate in nanoseconds, times the requests that are under way
    /// and this one.
    pub fn cost(&self, now: Instant, pending: u32) -> f64 {
        // At least a nanosecond, so that among endpoints that have long been idle those under way still count.
        let estimate = (self.estimate * self.decay(now)).max(1.0);
        estimate * (f64::from(pending) + 1.0)
    }

    /// The share of the estimate that is left at `now`: 1 at its update, falling to 0. A `now` before the update
    /// counts as the update itself.
    fn decay(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.updated);
        (-elapsed.as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}

fn nanoseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

/// The index of the cheaper of two distinct candidates drawn by `random`; `None` when there are no candidates.
///
/// `random` is uniformly distributed over all of `u64`. At equal cost the first drawn wins, so that equal candidates
/// share evenly.
pub fn choose<T>(candidates: &[T], random: u64, cost: impl Fn(&T) -> f64) -> Option<usize> {
    let count = candidates.len() as u64;
    if count <= 1 {
        return (count == 1).then_some(0);
    }
    let first = scale(random >> 32, count);
    let second = scale(random & u64::from(u32::MAX), count - 1);
    // Drawn from the others: those from `first` on move up by one.
    let second = if second >= first { second + 1 } else { second };
    match (candidates.get(first), candidates.get(second)) {
        (Some(one), Some(other)) if cost(other) < cost(one) => Some(second),
        _ => Some(first),
    }
}

/// The cost that makes [`choose`] balance by least request: the requests under way, with this one, over the endpoint's weight,
/// which is below 1 while it [starts](SlowStart).
pub fn least_request(pending: u32, weight: f64) -> f64 {
    (f64::from(pending) + 1.0) / weight
}

/// Scales a random 32-bit number to `0..count`; `count` is the length of a slice of at most 2^32 items.
fn scale(random: u64, count: u64) -> usize {
    ((u128::from(random) * u128::from(count)) >> 32) as usize
}
