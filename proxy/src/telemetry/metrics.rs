//! Numbers about the traffic, for Prometheus. `docs/reference/metrics.md` lists them.
//!
//! ```text
//! worker 0 ─► its own cells ─┐
//! worker 1 ─► its own cells ─┼─► summed at each scrape ─► text
//! worker n ─► its own cells ─┘
//! ```
//!
//! A worker looks its cells up once for a connection or a destination and then only adds to atomics that no other
//! worker writes. Labels are names that the mesh knows, never bytes of a request; beyond [`SERIES_CAP`] label sets a
//! family counts the rest as `destination="overflow"`.

mod cells;
mod encode;
mod events;
mod family;
mod labels;
mod loads;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry;

use cells::{ConnectionCells, WorkerCells};
use events::{EventKey, Recent};
use family::Family;

pub(crate) use cells::{Histogram, RequestMetrics, Statuses};
pub(crate) use events::{Count, Event};
pub(crate) use labels::{Direction, Refusal, RequestLabels, WireProtocol};
pub(crate) use loads::{Ended, LATENCY_BUCKETS, OutboundLoads, Series};

use super::conditions::Conditions;
use labels::{DurationKey, RequestKey, RetryKey};

/// The media type of [`Registry::encode`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The most label sets of one family.
const SERIES_CAP: usize = 2_000;

/// All metrics of the process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    shards: Arc<Shards>,
    /// What is not counted by workers, and the encoding of all.
    exposition: Arc<Mutex<registry::Registry>>,
    /// Counters of the telemetry itself.
    pub(crate) exports: Exports,
}

/// What became of spans and access-log lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exports {
    /// Spans that the collector took.
    pub(crate) spans_exported: Counter,
    /// Spans that were lost: the queue was full, or the collector did not take them.
    pub(crate) spans_dropped: Counter,
    /// Access-log lines that were lost because the queue was full.
    pub(crate) access_log_dropped: Counter,
}

/// What the control thread knows, read at each scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessState {
    /// When the current certificate ends.
    pub(crate) certificate_expiry: SystemTime,
    /// Whether the stream to the control plane is open.
    pub(crate) xds_connected: bool,
    /// Destinations that are held now.
    pub(crate) destinations: usize,
    /// Destinations that were given up early to make room.
    pub(crate) destinations_evicted: u64,
    /// Look-ups that the control plane did not answer in time.
    pub(crate) discovery_unavailable: u64,
    /// Resources that were refused.
    pub(crate) resources_refused: u64,
}

/// The metrics of one worker. Cheap to clone; each thread should have its own.
#[derive(Clone, Debug)]
pub(crate) struct WorkerMetrics {
    shards: Arc<Shards>,
    cells: Arc<WorkerCells>,
    number: usize,
    recent: Recent,
}

/// A connection that counts as open as long as this lives.
#[derive(Debug)]
#[must_use = "the connection counts as closed when this is dropped"]
pub(crate) struct OpenConnection {
    cells: Arc<WorkerCells>,
    direction: Direction,
    protocol: WireProtocol,
}

/// The cells of all workers.
#[derive(Debug)]
struct Shards {
    requests: Family<RequestKey, Statuses>,
    durations: Family<DurationKey, Histogram>,
    retries: Family<RetryKey, Count>,
    events: Family<EventKey, Count>,
    workers: Mutex<Vec<Arc<WorkerCells>>>,
    next_worker: AtomicUsize,
}

impl Registry {
    /// A registry without workers, which shows these conditions.
    pub(crate) fn new(conditions: Conditions) -> Self {
        let shards = Arc::new(Shards {
            requests: Family::new(SERIES_CAP),
            durations: Family::new(SERIES_CAP),
            retries: Family::new(SERIES_CAP),
            events: Family::new(SERIES_CAP),
            workers: Mutex::default(),
            next_worker: AtomicUsize::new(0),
        });
        let exports = Exports::default();
        let mut exposition = registry::Registry::default();
        exposition.register_collector(Box::new(Arc::clone(&shards)));
        exposition.register_collector(Box::new(encode::Upstream(conditions)));
        exposition.register("weft_spans_exported", "Spans that the collector took", exports.spans_exported.clone());
        exposition.register("weft_spans_dropped", "Spans that were lost", exports.spans_dropped.clone());
        exposition.register(
            "weft_access_log_dropped",
            "Access-log lines that were lost",
            exports.access_log_dropped.clone(),
        );
        Self { shards, exposition: Arc::new(Mutex::new(exposition)), exports }
    }

    /// The metrics of one more worker.
    pub(crate) fn worker(&self) -> WorkerMetrics {
        let cells = Arc::new(WorkerCells::default());
        self.shards.workers.lock().push(Arc::clone(&cells));
        let number = self.shards.next_worker.fetch_add(1, Ordering::Relaxed);
        WorkerMetrics { shards: Arc::clone(&self.shards), cells, number, recent: Recent::default() }
    }

    /// From now on each scrape reports what `state` gives. To be called once.
    pub(crate) fn watch(&self, state: impl Fn() -> ProcessState + Send + Sync + 'static) {
        self.exposition.lock().register_collector(Box::new(encode::Watched(Box::new(state))));
    }

    /// All metrics in the OpenMetrics text format, see [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// None that are known: writing to memory does not fail.
    pub(crate) fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.exposition.lock())?;
        Ok(text)
    }
}

impl WorkerMetrics {
    /// The cells for requests with these labels: to be looked up once and kept, since this takes a lock.
    pub(crate) fn requests(&self, labels: &RequestLabels<'_>) -> Arc<RequestMetrics> {
        let now = Instant::now();
        let key = RequestKey::of(labels);
        let latency = self.shards.durations.cell(self.number, key.duration(), now);
        let statuses = self.shards.requests.cell(self.number, key, now);
        Arc::new(RequestMetrics::new(statuses, latency))
    }

    /// The cell for retries towards this destination: to be looked up once and kept, since this takes a lock.
    pub(crate) fn retries(&self, destination: &str) -> Arc<Count> {
        self.shards.retries.cell(self.number, RetryKey(destination.into()), Instant::now())
    }

    /// Counts something that happens seldom. `destination` is a name that the mesh knows.
    pub(crate) fn event(&self, event: Event, destination: &Arc<str>, detail: &'static str) {
        let key = EventKey { event, destination: Arc::clone(destination), detail };
        self.recent.record(key, |key| self.shards.events.cell(self.number, key, Instant::now()));
    }

    /// Lets go of what was needed for events lately; to be called now and then.
    pub(crate) fn maintain(&self) {
        self.recent.clear();
    }

    /// Counts a connection until what is returned is dropped.
    pub(crate) fn connection(&self, direction: Direction, protocol: WireProtocol) -> OpenConnection {
        let cells = Arc::clone(&self.cells);
        cells.connections(direction, protocol).opened();
        OpenConnection { cells, direction, protocol }
    }

    /// Counts a connection or request that was refused.
    pub(crate) fn refused(&self, reason: Refusal) {
        self.cells.refused(reason).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection whose protocol was not known in time, and which became opaque thereby.
    pub(crate) fn detect_timed_out(&self) {
        self.cells.detect_timeouts.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.cells.connections(self.direction, self.protocol).closed();
    }
}

impl ConnectionCells {
    fn opened(&self) {
        self.total.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}
