//! Sums of requests, and what they tell: the share of errors, quantiles of the latency.

use std::time::Duration;

use weft_api::load::LATENCY_BOUNDS;

/// Buckets of latencies; the last one has no bound.
pub(super) const BUCKETS: usize = LATENCY_BOUNDS.len() + 1;

/// Requests to some clusters during some time. All sums saturate: what comes from outside overflows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Requests that ended.
    pub issued: u64,
    /// Of these, the ones that failed: 5xx, no answer, or a gRPC failure.
    pub errors: u64,
    /// How many took how long, by the buckets of [`LATENCY_BOUNDS`], not cumulative.
    pub latencies: [u64; BUCKETS],
}

impl Figures {
    /// Adds others to these.
    pub fn add(&mut self, other: &Self) {
        self.issued = self.issued.saturating_add(other.issued);
        self.errors = self.errors.saturating_add(other.errors);
        for (sum, count) in self.latencies.iter_mut().zip(other.latencies) {
            *sum = sum.saturating_add(count);
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The share of requests that failed, from 0 to 1; `None`: there was no request.
    pub fn error_rate(&self) -> Option<f64> {
        (self.issued > 0).then(|| (self.errors as f64 / self.issued as f64).min(1.0))
    }

    /// The latency that a share of the requests (`0.99`) does not exceed: within its bucket it is taken to rise
    /// evenly, and beyond the last bound it is that bound. `None`: no latency was reported.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let total: u64 = self.latencies.iter().fold(0, |sum, count| sum.saturating_add(*count));
        if total == 0 {
            return None;
        }
        let rank = share.clamp(0.0, 1.0) * total as f64;
        let mut below = 0.0;
        let mut lower = 0.0;
        for (count, upper) in self.latencies.iter().zip(LATENCY_BOUNDS) {
            let count = *count as f64;
            if count > 0.0 && below + count >= rank {
                return Some(Duration::from_secs_f64(lower + (upper - lower) * ((rank - below) / count)));
            }
            below += count;
            lower = upper;
        }
        Some(Duration::from_secs_f64(lower))
    }
}

#[cfg(test)]
mod tests;
