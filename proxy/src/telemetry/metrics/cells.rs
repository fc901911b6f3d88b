//! The atomics that workers add to. Each is written by one worker; the scrape only reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::family::Cell;
use super::labels::{Direction, Refusal, WireProtocol};

/// Upper bounds of the latency buckets, in seconds; longer ones are in `+Inf`.
pub(super) const BUCKETS: [f64; 14] = weft_api::load::LATENCY_BOUNDS;

/// Classes of statuses, as they stand in labels; `000` is no answer at all.
pub(super) const STATUSES: [&str; 6] = ["000", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Requests of one direction, destination and peer.
#[derive(Debug)]
pub(crate) struct RequestMetrics {
    statuses: Arc<Statuses>,
    latency: Arc<Histogram>,
}

impl RequestMetrics {
    pub(super) fn new(statuses: Arc<Statuses>, latency: Arc<Histogram>) -> Self {
        Self { statuses, latency }
    }

    /// Counts a request that has ended, with the status of its answer, or 0 where there was none, whether it failed, and
    /// the time that it took from its first to its last byte.
    pub(crate) fn record(&self, status: u16, failed: bool, latency: Duration) {
        self.statuses.record(status, failed);
        self.latency.record(latency);
    }
}

/// Requests by class of status.
#[derive(Debug, Default)]
pub(crate) struct Statuses {
    classes: [AtomicU64; STATUSES.len()],
    /// Those without an answer, with a 5xx, or with a gRPC status that is the server's fault.
    failed: AtomicU64,
}

impl Statuses {
    fn record(&self, status: u16, failed: bool) {
        let class = usize::from(status / 100);
        // What is no status at all is counted as none.
        if let Some(count) = self.classes.get(class).or(self.classes.first()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counts, in the order of [`STATUSES`].
    pub(super) fn counts(&self) -> impl Iterator<Item = u64> {
        self.classes.iter().map(|count| count.load(Ordering::Relaxed))
    }

    /// How many failed.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Cell for Statuses {
    fn activity(&self) -> u64 {
        self.counts().sum()
    }
}

/// Latencies.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// One count a bucket, not cumulative; the last one is for `+Inf`.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Histogram {
    fn record(&self, latency: Duration) {
        let seconds = latency.as_secs_f64();
        let index = BUCKETS.partition_point(|bound| *bound < seconds);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// The counts of the buckets of [`BUCKETS`] and of `+Inf`.
    pub(super) fn counts(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed))
    }

    /// The sum of all latencies.
    pub(super) fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }
}

impl Cell for Histogram {
    fn activity(&self) -> u64 {
        self.counts().sum()
    }
}

/// What a worker counts without labels that come from outside.
#[derive(Debug, Default)]
pub(super) struct WorkerCells {
    connections: [[ConnectionCells; WireProtocol::ALL.len()]; Direction::ALL.len()],
    refused: [AtomicU64; Refusal::ALL.len()],
    pub(super) detect_timeouts: AtomicU64,
}

/// Connections of one direction and protocol.
#[derive(Debug, Default)]
pub(super) struct ConnectionCells {
    pub(super) total: AtomicU64,
    pub(super) open: AtomicI64,
}

impl WorkerCells {
    // Both arrays are as long as the lists of what indexes them.
    #[allow(clippy::indexing_slicing)]
    pub(super) fn connections(&self, direction: Direction, protocol: WireProtocol) -> &ConnectionCells {
        &self.connections[direction as usize][protocol as usize]
    }

    // As above.
    #[allow(clippy::indexing_slicing)]
    pub(super) fn refused(&self, reason: Refusal) -> &AtomicU64 {
        &self.refused[reason as usize]
    }
}
