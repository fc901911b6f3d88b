//! The series of one metric, with a bound on how many there are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A series that nobody holds and that has not changed for so long is forgotten.
const IDLE: Duration = Duration::from_secs(15 * 60);

/// What distinguishes series.
pub(super) trait Key: Ord + Clone {
    /// The series for what has no room of its own. There are only a few of them for each family.
    fn overflow(&self) -> Self;
}

/// What one worker counts for one series.
pub(super) trait Cell: Default {
    /// A number that changes with each count.
    fn activity(&self) -> u64;
}

/// All series of one metric; each worker has its own cell in each.
#[derive(Debug)]
pub(super) struct Family<K, C> {
    cap: usize,
    series: Mutex<BTreeMap<K, Series<C>>>,
}

#[derive(Debug)]
struct Series<C> {
    /// With the worker's number.
    cells: Vec<(usize, Arc<C>)>,
    /// The cells' activity when it was last looked at, and when that was seen to change.
    activity: u64,
    changed: Instant,
}

impl<K: Key, C: Cell> Family<K, C> {
    /// At most `cap` series, besides those for the overflow.
    pub(super) fn new(cap: usize) -> Self {
        Self { cap, series: Mutex::new(BTreeMap::new()) }
    }

    /// The worker's cell of a series; that of the overflow if the series is new and there is no room.
    pub(super) fn cell(&self, worker: usize, key: K, now: Instant) -> Arc<C> {
        let mut all = self.series.lock();
        let key = if all.contains_key(&key) || all.len() < self.cap { key } else { key.overflow() };
        let series = all.entry(key).or_insert_with(|| Series { cells: Vec::new(), activity: 0, changed: now });
        if let Some((_, cell)) = series.cells.iter().find(|(number, _)| *number == worker) {
            return Arc::clone(cell);
        }
        let cell = Arc::new(C::default());
        series.cells.push((worker, Arc::clone(&cell)));
        cell
    }

    /// All series in order, with the cells of all workers, after forgetting those that are idle.
    pub(super) fn collect(&self, now: Instant) -> Vec<(K, Vec<Arc<C>>)> {
        let mut all = self.series.lock();
        all.retain(|_, series| !series.is_forgotten(now));
        // The sums are made after the lock is gone.
        all.iter()
            .map(|(key, series)| (key.clone(), series.cells.iter().map(|(_, cell)| Arc::clone(cell)).collect()))
            .collect()
    }
}

impl<C: Cell> Series<C> {
    fn is_forgotten(&mut self, now: Instant) -> bool {
        let activity = self.cells.iter().map(|(_, cell)| cell.activity()).sum();
        let held = self.cells.iter().any(|(_, cell)| Arc::strong_count(cell) > 1);
        if held || activity != self.activity {
            self.activity = activity;
            self.changed = now;
        }
        now.saturating_duration_since(self.changed) >= IDLE
    }
}
