//! Which addresses are held, since when unused, and which one goes when there are too many.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Answer, Entry, Shared};
use crate::discovery::values::Destination;

/// When there is no room, this share of the capacity is freed at once, so that a scan over addresses does not cost a
/// search for each.
const EVICTED_SHARE: usize = 64;

/// The control thread's side of the table.
#[derive(Debug)]
pub(in crate::discovery) struct Holdings {
    shared: Arc<Shared>,
    held: HashMap<SocketAddr, Holding>,
    capacity: usize,
    idle: Duration,
}

#[derive(Debug)]
struct Holding {
    /// `None` while the control plane has not answered.
    entry: Option<Arc<Entry>>,
    last_used: Instant,
}

impl Holding {
    fn is_held(&self) -> bool {
        self.entry.as_ref().is_some_and(|entry| entry.is_held())
    }
}

/// What becomes of an address that is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::discovery) enum Admission {
    /// It was held already.
    Held,
    /// It is held now, and these are not any more.
    Admitted { evicted: Vec<SocketAddr> },
    /// All that are held are in use.
    Full,
}

impl Holdings {
    pub(in crate::discovery) fn new(shared: Arc<Shared>, capacity: usize, idle: Duration) -> Self {
        Self { shared, held: HashMap::new(), capacity, idle }
    }

    /// Makes room for an address and holds it.
    pub(in crate::discovery) fn admit(&mut self, dialled: SocketAddr, now: Instant) -> Admission {
        if let Some(holding) = self.held.get_mut(&dialled) {
            holding.last_used = now;
            return Admission::Held;
        }
        let evicted = if self.held.len() >= self.capacity { self.evict(now) } else { Vec::new() };
        if self.held.len() >= self.capacity {
            return Admission::Full;
        }
        self.held.insert(dialled, Holding { entry: None, last_used: now });
        self.count();
        Admission::Admitted { evicted }
    }

    /// Shows an answer to all threads: a destination, or that there is none.
    pub(in crate::discovery) fn publish(&mut self, dialled: SocketAddr, destination: Option<Arc<Destination>>) {
        let Some(holding) = self.held.get_mut(&dialled) else { return };
        let entry = Entry::new(destination);
        holding.entry = Some(entry.clone());
        self.shared.set(dialled, Some(entry));
    }

    /// What all threads see of an address.
    pub(in crate::discovery) fn published(&self, dialled: SocketAddr) -> Option<Answer> {
        self.held.get(&dialled)?.entry.as_ref().map(|entry| entry.answer())
    }

    /// Gives up what was not used for the idle time; returns it.
    pub(in crate::discovery) fn expire(&mut self, now: Instant) -> Vec<SocketAddr> {
        self.look(now);
        let unused_for = |holding: &Holding| now.saturating_duration_since(holding.last_used);
        let expired = self.held.iter().filter(|(_, holding)| unused_for(holding) >= self.idle);
        let expired: Vec<_> = expired.map(|(dialled, _)| *dialled).collect();
        self.remove(&expired);
        expired
    }

    /// Gives up those that have been unused for longest, none that a connection is using; returns them.
    fn evict(&mut self, now: Instant) -> Vec<SocketAddr> {
        self.look(now);
        let free = self.held.iter().filter(|(_, holding)| !holding.is_held());
        let mut free: Vec<_> = free.map(|(dialled, holding)| (holding.last_used, *dialled)).collect();
        let wanted = (self.capacity / EVICTED_SHARE).max(1).min(free.len());
        if wanted < free.len() {
            free.select_nth_unstable(wanted);
        }
        let evicted: Vec<_> = free.into_iter().take(wanted).map(|(_, dialled)| dialled).collect();
        self.remove(&evicted);
        self.shared.evicted.fetch_add(evicted.len() as u64, Ordering::Relaxed);
        evicted
    }

    /// Brings the times of the last use up to date. They are as exact as these looks are frequent.
    fn look(&mut self, now: Instant) {
        for holding in self.held.values_mut() {
            if holding.entry.as_ref().is_some_and(|entry| entry.take_used()) {
                holding.last_used = now;
            }
        }
    }

    fn remove(&mut self, gone: &[SocketAddr]) {
        for dialled in gone {
            self.held.remove(dialled);
            self.shared.set(*dialled, None);
        }
        self.count();
    }

    fn count(&self) {
        self.shared.destinations.store(self.held.len(), Ordering::Relaxed);
    }
}
