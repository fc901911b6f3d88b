//! Latencies in buckets that grow by 2 %: quantiles to within that, in constant memory.

use std::time::Duration;

const GROWTH: f64 = 1.02;
/// Up to 1 µs * 1.02^1000, which is 6.6 minutes.
const BUCKETS: usize = 1000;

/// A distribution of latencies.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }
}

impl Histogram {
    /// Counts one latency.
    pub(super) fn record(&mut self, latency: Duration) {
        let micros = (latency.as_secs_f64() * 1e6).max(1.0);
        let bucket = (micros.ln() / GROWTH.ln()) as usize;
        if let Some(count) = self.counts.get_mut(bucket.min(BUCKETS - 1)) {
            *count += 1;
            self.total += 1;
        }
    }

    /// The latency that the share `q` (0 to 1) of all did not exceed; none where nothing was counted.
    pub(super) fn quantile(&self, q: f64) -> Option<Duration> {
        let wanted = ((self.total as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(Duration::from_secs_f64(GROWTH.powi(i32::try_from(bucket).unwrap_or(i32::MAX) + 1) / 1e6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_two_percent() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for millis in 1..=1000 {
            histogram.record(Duration::from_millis(millis));
        }
        for (q, wanted) in [(0.5, 0.5), (0.99, 0.99), (1.0, 1.0)] {
            let got = histogram.quantile(q).unwrap().as_secs_f64();
            assert!((got / wanted - 1.0).abs() < 0.021, "quantile {q} is {got} s");
        }
    }

    #[test]
    fn extremes_are_counted_at_the_ends() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::ZERO);
        histogram.record(Duration::from_secs(100_000));
        assert!(histogram.quantile(0.5).unwrap() < Duration::from_micros(2));
        assert!(histogram.quantile(1.0).unwrap() > Duration::from_secs(300));
    }
}
