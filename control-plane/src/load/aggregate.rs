//! The reports of all proxies, within bounds; the time is an argument.
//!
//! Of requests that is kept which a tally counts: a shift looks at nothing else, and thousands of proxies that each report
//! of dozens of clusters would fill any bound.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Figures;
use super::report::{Conditions, Report};
use crate::mesh::ObjectName;
use crate::xds::{MAX_STREAMS, MAX_STREAMS_A_POD};

/// The most slots, of about 200 bytes each.
const MAX_SLOTS: usize = 200_000;
/// Reports that cover less are put together.
const SLOT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct StreamId(u64);
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TallyId(u64);

/// The reports of all proxies.
#[derive(Debug)]
pub(super) struct Aggregate {
    window: Duration,
    next: u64,
    streams: HashMap<StreamId, Stream>,
    /// The clusters that tallies count.
    clusters: HashMap<Arc<str>, BTreeMap<StreamId, VecDeque<Slot>>>,
    slots: usize,
    tallies: HashMap<TallyId, Counting>,
    swept: Option<Instant>,
}

/// A proxy that reports.
#[derive(Debug)]
struct Stream {
    pod: ObjectName,
    latest: Option<Instant>,
    conditions: Arc<Conditions>,
}

/// What one proxy reported of one cluster for a time.
#[derive(Debug)]
struct Slot {
    began: Instant,
    ended: Instant,
    figures: Figures,
}

#[derive(Debug)]
struct Counting {
    clusters: Vec<Arc<str>>,
    since: Instant,
    figures: Figures,
}

impl Aggregate {
    /// Keeps what is not older than `window`.
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window,
            next: 0,
            streams: HashMap::new(),
            clusters: HashMap::new(),
            slots: 0,
            tallies: HashMap::new(),
            swept: None,
        }
    }

    /// `None`: there are too many streams, of this pod or in all.
    pub(super) fn connect(&mut self, pod: ObjectName) -> Option<StreamId> {
        let of_pod = self.streams.values().filter(|stream| stream.pod == pod).count();
        if self.streams.len() >= MAX_STREAMS || of_pod >= MAX_STREAMS_A_POD {
            return None;
        }
        let id = StreamId(self.number());
        self.streams.insert(id, Stream { pod, latest: None, conditions: Arc::default() });
        Some(id)
    }

    /// Forgets a proxy and what it reported; tallies keep their sums.
    pub(super) fn disconnect(&mut self, id: StreamId) {
        self.streams.remove(&id);
        for streams in self.clusters.values_mut() {
            self.slots -= streams.remove(&id).map_or(0, |slots| slots.len());
        }
    }

    /// Takes in a report. Returns for how many of the clusters that are counted there was no room.
    pub(super) fn report(&mut self, id: StreamId, report: Report, now: Instant) -> u64 {
        let Some(stream) = self.streams.get_mut(&id) else { return 0 };
        stream.latest = Some(now);
        if *stream.conditions != report.conditions {
            stream.conditions = Arc::new(report.conditions);
        }
        // Before the clock's own beginning there was nothing.
        let began = now.checked_sub(report.covers).unwrap_or(now);
        self.sweep(now);
        let mut dropped = 0;
        for (cluster, figures) in report.clusters {
            if !self.clusters.contains_key(&cluster) {
                continue;
            }
            for tally in
                self.tallies.values_mut().filter(|tally| tally.since <= began && tally.clusters.contains(&cluster))
            {
                tally.figures.add(&figures);
            }
            dropped += u64::from(!self.keep(id, cluster, Slot { began, ended: now, figures }));
        }
        dropped
    }

    /// What connected proxies reported of these clusters for times that begin at `since` or later, within the window; of
    /// those that no tally counts, nothing.
    pub(super) fn recent(&self, clusters: &[Arc<str>], since: Instant, now: Instant) -> Figures {
        let mut sum = Figures::default();
        let streams = clusters.iter().filter_map(|cluster| self.clusters.get(cluster));
        let slots = streams.flat_map(BTreeMap::values).flatten();
        for slot in slots.filter(|slot| slot.began >= since && !self.is_old(slot, now)) {
            sum.add(&slot.figures);
        }
        sum
    }

    /// Begins to count what covers times from `since` on.
    pub(super) fn tally(&mut self, clusters: Vec<Arc<str>>, since: Instant) -> TallyId {
        let id = TallyId(self.number());
        for cluster in &clusters {
            self.clusters.entry(Arc::clone(cluster)).or_default();
        }
        self.tallies.insert(id, Counting { clusters, since, figures: Figures::default() });
        id
    }

    pub(super) fn tallied(&self, id: TallyId) -> Figures {
        self.tallies.get(&id).map(|tally| tally.figures.clone()).unwrap_or_default()
    }

    pub(super) fn forget(&mut self, id: TallyId) {
        self.tallies.remove(&id);
        let (tallies, slots) = (&self.tallies, &mut self.slots);
        self.clusters.retain(|cluster, streams| {
            let is_counted = tallies.values().any(|tally| tally.clusters.contains(cluster));
            if !is_counted {
                *slots -= streams.values().map(VecDeque::len).sum::<usize>();
            }
            is_counted
        });
    }

    /// When each pod's proxy reported last.
    pub(super) fn latest_reports(&self) -> HashMap<ObjectName, Instant> {
        let mut latest = HashMap::new();
        for stream in self.streams.values() {
            let Some(at) = stream.latest else { continue };
            let known = latest.entry(stream.pod.clone()).or_insert(at);
            *known = at.max(*known);
        }
        latest
    }

    /// What each pod's proxy reported last of what it does not use.
    pub(super) fn conditions(&self) -> HashMap<ObjectName, Arc<Conditions>> {
        let all = self.streams.values().filter(|stream| !stream.conditions.is_empty());
        all.map(|stream| (stream.pod.clone(), Arc::clone(&stream.conditions))).collect()
    }

    /// How many slots there are.
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// Whether there was room.
    fn keep(&mut self, id: StreamId, cluster: Arc<str>, slot: Slot) -> bool {
        let full = self.slots >= MAX_SLOTS;
        let known = self.clusters.get_mut(&cluster).and_then(|streams| streams.get_mut(&id));
        let last = known.and_then(VecDeque::back_mut);
        if let Some(last) = last.filter(|last| slot.ended.saturating_duration_since(last.began) <= SLOT) {
            last.ended = slot.ended;
            last.figures.add(&slot.figures);
            return true;
        }
        if full {
            return false;
        }
        self.clusters.entry(cluster).or_default().entry(id).or_default().push_back(slot);
        self.slots += 1;
        true
    }

    /// Forgets what is old, now and then.
    fn sweep(&mut self, now: Instant) {
        let pause = self.window / 8;
        if self.swept.is_some_and(|swept| now.saturating_duration_since(swept) < pause) {
            return;
        }
        self.swept = Some(now);
        let window = self.window;
        let mut left = 0;
        for streams in self.clusters.values_mut() {
            streams.retain(|_, slots| {
                while slots.front().is_some_and(|slot| now.saturating_duration_since(slot.ended) > window) {
                    slots.pop_front();
                }
                left += slots.len();
                !slots.is_empty()
            });
        }
        self.slots = left;
    }

    fn is_old(&self, slot: &Slot, now: Instant) -> bool {
        now.saturating_duration_since(slot.ended) > self.window
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

#[cfg(test)]
mod tests;
