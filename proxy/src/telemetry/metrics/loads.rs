//! What the counters say of outbound requests, for load reports: sums over all workers, read now and then.

use std::sync::Arc;
use std::time::Instant;

use super::Registry;
use super::cells::BUCKETS;
use super::labels::{Direction, OVERFLOW, RequestKey};

/// Buckets of a latency, with the one that has no bound.
pub(crate) const LATENCY_BUCKETS: usize = BUCKETS.len() + 1;

/// All outbound requests that ended since the start, as far as their series are still held.
#[derive(Clone, Debug, Default)]
pub(crate) struct OutboundLoads {
    /// Requests by series; several series have the same destination.
    pub(crate) requests: Vec<(Series, Ended)>,
    /// How many took how long, by destination.
    pub(crate) latencies: Vec<(Arc<str>, [u64; LATENCY_BUCKETS])>,
}

/// A series of requests: to be told apart from others, and with a destination, `NAMESPACE/SERVICE:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series(RequestKey);

/// Requests that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    /// All of them.
    pub(crate) all: u64,
    /// Those without an answer, with a 5xx, or with a gRPC status that is the server's fault.
    pub(crate) failed: u64,
}

impl Series {
    /// Where the requests went.
    pub(crate) fn destination(&self) -> &Arc<str> {
        &self.0.destination
    }
}

impl Registry {
    /// What was sent, by destination. What has no series of its own is left out.
    pub(crate) fn outbound(&self, now: Instant) -> OutboundLoads {
        let named =
            |direction, destination: &str| direction == Direction::Outbound && !matches!(destination, "" | OVERFLOW);
        let requests = self.shards.requests.collect(now).into_iter();
        let requests = requests.filter(|(key, _)| named(key.direction, &key.destination)).map(|(key, cells)| {
            let mut ended = Ended::default();
            for cell in &cells {
                ended.failed += cell.failed();
                ended.all += cell.counts().sum::<u64>();
            }
            (Series(key), ended)
        });
        let requests = requests.collect();
        let latencies = self.shards.durations.collect(now).into_iter();
        let latencies = latencies.filter(|(key, _)| named(key.direction, &key.destination)).map(|(key, cells)| {
            let mut buckets = [0; LATENCY_BUCKETS];
            for cell in &cells {
                buckets.iter_mut().zip(cell.counts()).for_each(|(sum, count)| *sum += count);
            }
            (key.destination, buckets)
        });
        OutboundLoads { requests, latencies: latencies.collect() }
    }
}
