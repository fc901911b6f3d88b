//! What the proxies tell of the traffic they send: load reports (LRS), summed by cluster.
//!
//! ```text
//! proxies ──StreamLoadStats──> service ─> report (checked, bounded) ─> aggregate
//!                                                                        │ recent figures by cluster and proxy
//!                                                                        │ tallies: figures since a moment
//!                                                                        └ ejected endpoints, open breakers by proxy
//! ```
//!
//! [`Loads`] is what the rest of the control plane asks. Its memory is bounded: what finds no room is counted in
//! `weft_control_load_dropped_total` and missing in the recent figures, never in a tally.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

mod aggregate;
mod figures;
mod report;
mod service;

pub use figures::Figures;
pub use report::{Breaker, Conditions, Ejected};
pub use service::LoadReporting;

use aggregate::{Aggregate, StreamId, TallyId};
use report::Report;

use crate::mesh::ObjectName;
use crate::metrics::Metrics;

/// Recent figures are of this time at least, and of three reports at least.
const WINDOW: Duration = Duration::from_secs(60);
/// A proxy whose last report is older than so many intervals is late.
const LATE_AFTER: u32 = 3;

/// The reports of all proxies. Cheap to share.
pub struct Loads {
    interval: Duration,
    aggregate: Mutex<Aggregate>,
    /// Goes up when proxies are to report at once.
    asked: watch::Sender<u64>,
    metrics: Arc<Metrics>,
}

/// How many of some proxies report in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reporting {
    /// The proxies that were asked about.
    pub expected: u32,
    /// Of these, the ones whose last report is no older than three intervals.
    pub fresh: u32,
}

/// What is reported of some clusters from a moment on, also by proxies that leave. It costs memory as long as it lives.
pub struct Tally {
    loads: Arc<Loads>,
    id: TallyId,
    began: Instant,
}

/// A proxy's stream of reports: what it reported is forgotten when this is dropped.
pub(crate) struct ReportStream {
    loads: Arc<Loads>,
    id: StreamId,
}

impl Loads {
    /// Without reports yet; proxies are told to report at this interval.
    pub fn new(interval: Duration, metrics: Arc<Metrics>) -> Arc<Self> {
        let window = WINDOW.max(interval.saturating_mul(3));
        let (aggregate, asked) = (Mutex::new(Aggregate::new(window)), watch::Sender::default());
        Arc::new(Self { interval, aggregate, asked, metrics })
    }

    /// How often proxies report.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// What connected proxies reported of these clusters for the time from `since` on, at most of the last minute, and as
    /// long as a tally counts them.
    pub fn recent(&self, clusters: &[Arc<str>], since: Instant, now: Instant) -> Figures {
        self.aggregate.lock().recent(clusters, since, now)
    }

    /// Counts what is reported of these clusters for the time from now on. All proxies are asked to report at once, so
    /// that their next reports are of that time alone.
    pub fn tally(self: &Arc<Self>, clusters: Vec<Arc<str>>) -> Tally {
        let began = Instant::now();
        let id = self.aggregate.lock().tally(clusters, began);
        self.asked.send_modify(|asked| *asked += 1);
        Tally { loads: Arc::clone(self), id, began }
    }

    /// Whether these pods' proxies report in time.
    pub fn reporting<'a>(&self, pods: impl IntoIterator<Item = &'a ObjectName>, now: Instant) -> Reporting {
        let latest = self.aggregate.lock().latest_reports();
        let oldest = self.interval.saturating_mul(LATE_AFTER).max(Duration::from_secs(1));
        let mut reporting = Reporting::default();
        for pod in pods {
            reporting.expected += 1;
            let fresh = latest.get(pod).is_some_and(|at| now.saturating_duration_since(*at) <= oldest);
            reporting.fresh += u32::from(fresh);
        }
        reporting
    }

    /// What each proxy reported last of endpoints that it does not use, by pod.
    pub fn conditions(&self) -> HashMap<ObjectName, Arc<Conditions>> {
        self.aggregate.lock().conditions()
    }

    /// # Errors
    /// `None` when there are too many streams, of this pod or in all.
    pub(crate) fn connect(self: &Arc<Self>, pod: ObjectName) -> Option<ReportStream> {
        let id = self.aggregate.lock().connect(pod)?;
        Some(ReportStream { loads: Arc::clone(self), id })
    }
}

impl Tally {
    /// What was reported so far.
    pub fn figures(&self) -> Figures {
        self.loads.aggregate.lock().tallied(self.id)
    }

    /// When it began.
    pub fn began(&self) -> Instant {
        self.began
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.loads.aggregate.lock().forget(self.id);
    }
}

impl ReportStream {
    /// Takes in a report that came at `now`.
    pub(crate) fn report(&self, report: Report, now: Instant) {
        let mut aggregate = self.loads.aggregate.lock();
        let dropped = aggregate.report(self.id, report, now);
        let slots = aggregate.slots();
        drop(aggregate);
        self.loads.metrics.load_reports.inc();
        self.loads.metrics.load_dropped.inc_by(dropped);
        self.loads.metrics.load_slots.set(i64::try_from(slots).unwrap_or(i64::MAX));
    }
}

impl Drop for ReportStream {
    fn drop(&mut self) {
        self.loads.aggregate.lock().disconnect(self.id);
    }
}
