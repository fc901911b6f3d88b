//! Which other replicas there are, what they told last, and who of them is heard of no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Reports;
use crate::cluster::rollouts::{Replica, Replicas};
use crate::traffic::shift::peers::Others;

/// For how long a replica that tells nothing is waited for: one of another version may never. After this time without a
/// word people are told that it is silent.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// By pod, since when what is known.
#[derive(Debug, Default)]
pub(super) struct Presence(BTreeMap<Arc<str>, Since>);

#[derive(Debug)]
struct Since {
    /// When it was seen first.
    here: Instant,
    /// When a new report of it came last, by our own clock: those of other machines may differ.
    heard: Instant,
    /// What told that it was new.
    beat: Option<String>,
}

impl Presence {
    /// What shifts are judged by, and what people are told of, where these replicas are alive and these reports there.
    pub(super) fn look(&mut self, now: Instant, alive: BTreeSet<Arc<str>>, reports: &Reports) -> (Others, Replicas) {
        self.0.retain(|pod, _| alive.contains(pod));
        let (mut others, mut replicas) = (Others::new(), Replicas::new());
        for pod in alive {
            let told = reports.get(&*pod);
            let since = self.0.entry(Arc::clone(&pod)).or_insert(Since { here: now, heard: now, beat: None });
            if let Some(told) = told.filter(|told| since.beat.as_ref() != Some(&told.beat)) {
                (since.heard, since.beat) = (now, Some(told.beat.clone()));
            }
            if told.is_some() || now.saturating_duration_since(since.here) < PATIENCE {
                others.insert(Arc::clone(&pod), told.map(|told| Arc::clone(&told.report.shifts)));
            }
            let told = told.map(|told| Arc::clone(&told.report.routes));
            let is_silent = now.saturating_duration_since(since.heard) >= PATIENCE;
            replicas.insert(pod, Replica { told, is_silent });
        }
        (others, replicas)
    }
}

#[cfg(test)]
mod tests;
