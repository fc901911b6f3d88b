//! What is wrong upstream right now: endpoints that are ejected, circuit breakers that are open.
//!
//! Written at transitions only, by the workers; read by the admin port, the metrics and the load reports. Each worker
//! decides for itself, so that a condition holds while at least one worker says so. Bounded by what workers hold: a
//! worker takes back what it said of a cluster when it lets the cluster go.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

/// The conditions of all workers. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    ejected: BTreeMap<(Arc<str>, SocketAddr), Ejected>,
    breakers: BTreeMap<(Arc<str>, Breaker), Open>,
}

#[derive(Debug)]
struct Ejected {
    workers: usize,
    until: Instant,
}

#[derive(Debug)]
struct Open {
    workers: usize,
    since: Instant,
}

/// Which limit of a cluster is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Breaker {
    /// Connections, `max_connections`.
    Connections,
    /// Requests that wait for a connection, `max_pending_requests`.
    Pending,
    /// Requests in flight, `max_requests`.
    Requests,
}

impl Breaker {
    /// As it stands in labels, reports and `weft status`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Pending => "pending",
            Self::Requests => "requests",
        }
    }
}

/// What holds at one moment, ordered by cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Snapshot {
    /// Endpoints that get no requests.
    pub(crate) ejected: Vec<EjectedEndpoint>,
    /// Limits that are reached.
    pub(crate) open_breakers: Vec<OpenBreaker>,
}

/// An endpoint that gets no requests because it failed too often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct EjectedEndpoint {
    /// `NAMESPACE/SERVICE:PORT`
    pub(crate) cluster: String,
    pub(crate) address: SocketAddr,
    /// Until it is tried again.
    pub(crate) seconds_left: u64,
}

/// A limit that is reached: what comes on top is answered with 503.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct OpenBreaker {
    /// `NAMESPACE/SERVICE:PORT`
    pub(crate) cluster: String,
    pub(crate) which: Breaker,
    /// Since it opened.
    pub(crate) seconds: u64,
}

impl Conditions {
    /// A worker sends nothing to an endpoint until then.
    pub(crate) fn eject(&self, cluster: &Arc<str>, address: SocketAddr, until: Instant) {
        let mut state = self.0.lock();
        let ejected = state.ejected.entry((Arc::clone(cluster), address)).or_insert(Ejected { workers: 0, until });
        ejected.workers += 1;
        ejected.until = ejected.until.max(until);
    }

    /// A worker sends to an endpoint again, or forgets it.
    pub(crate) fn uneject(&self, cluster: &Arc<str>, address: SocketAddr) {
        let mut state = self.0.lock();
        let key = (Arc::clone(cluster), address);
        if let Some(ejected) = state.ejected.get_mut(&key) {
            ejected.workers -= 1;
            if ejected.workers == 0 {
                state.ejected.remove(&key);
            }
        }
    }

    /// A limit is reached.
    pub(crate) fn breaker_opened(&self, cluster: &Arc<str>, which: Breaker, now: Instant) {
        let mut state = self.0.lock();
        let open = state.breakers.entry((Arc::clone(cluster), which)).or_insert(Open { workers: 0, since: now });
        open.workers += 1;
    }

    /// There is room again.
    pub(crate) fn breaker_closed(&self, cluster: &Arc<str>, which: Breaker) {
        let mut state = self.0.lock();
        let key = (Arc::clone(cluster), which);
        if let Some(open) = state.breakers.get_mut(&key) {
            open.workers -= 1;
            if open.workers == 0 {
                state.breakers.remove(&key);
            }
        }
    }

    /// What holds at `now`.
    pub(crate) fn snapshot(&self, now: Instant) -> Snapshot {
        let state = self.0.lock();
        let ejected = state.ejected.iter().map(|((cluster, address), ejected)| EjectedEndpoint {
            cluster: cluster.to_string(),
            address: *address,
            seconds_left: seconds_up(ejected.until.saturating_duration_since(now)),
        });
        let open = state.breakers.iter().map(|((cluster, which), open)| OpenBreaker {
            cluster: cluster.to_string(),
            which: *which,
            seconds: now.saturating_duration_since(open.since).as_secs(),
        });
        Snapshot { ejected: ejected.collect(), open_breakers: open.collect() }
    }
}

/// Whole seconds, a part of one counting as one.
fn seconds_up(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
