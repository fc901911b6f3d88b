//! How much may be under way to a cluster at once: connections, requests that wait for one, requests.
//!
//! The counts are the whole pod's, so they are atomics that all workers share; they are touched only where a limit is
//! set. A request that finds all connections taken waits for one, at most as long as connecting may take. Meanwhile idle
//! connections of other workers and endpoints are closed to make room: see [`Limiter::until_wanted`].

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::futures::OwnedNotified;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weft_rules::limits::{Counter, Limits};

use crate::discovery::{Cluster, ClusterCounters};
use crate::telemetry::conditions::{Breaker, Conditions};

/// A cluster is at one of its limits. Nothing was sent.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) struct Overflow {
    /// Which of them.
    pub(crate) which: Breaker,
    cluster: Arc<str>,
    limit: u32,
}

impl std::fmt::Display for Overflow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { which, cluster, limit } = self;
        match which {
            Breaker::Requests => write!(f, "{cluster} has {limit} requests under way, as many as requests.max allows"),
            Breaker::Pending => {
                write!(f, "{limit} requests wait for a connection to {cluster}, as many as requests.maxPending allows")
            }
            Breaker::Connections => write!(
                f,
                "{cluster} has {limit} connections, as many as connections.max allows, and none became free in time"
            ),
        }
    }
}

/// One of the requests that a cluster may have under way; nothing where that is not limited.
#[must_use = "the request counts as ended when this is dropped"]
#[derive(Debug, Default)]
pub(crate) struct ClusterPermit {
    _counted: Option<Counted>,
}

/// One more of something, until it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    counter: Arc<Counter>,
    max: u32,
}

impl Counted {
    /// Counts one more, unless there are `max` already.
    fn up(counter: &Arc<Counter>, max: u32) -> Option<Self> {
        counter.enter(max).ok()?;
        Some(Self { counter: Arc::clone(counter), max })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counter.leave(self.max);
    }
}

/// One worker's hand on the limits of a cluster.
pub(super) struct Limiter {
    cluster: Arc<str>,
    limits: Limits,
    counters: Arc<ClusterCounters>,
    breakers: Breakers,
}

impl Limiter {
    /// `None` where nothing is limited.
    pub(super) fn of(cluster: &Cluster, conditions: &Conditions) -> Option<Box<Self>> {
        let limits = cluster.policy.limits;
        let breakers = || Breakers::new(Arc::clone(&cluster.name), conditions.clone());
        let limiter = || Self {
            cluster: Arc::clone(&cluster.name),
            limits,
            counters: Arc::clone(&cluster.counters),
            breakers: breakers(),
        };
        (!limits.is_unlimited()).then(|| Box::new(limiter()))
    }

    /// Counts a request in.
    ///
    /// # Errors
    /// Where there are as many as there may be.
    pub(super) fn admit(&self) -> Result<ClusterPermit, Overflow> {
        let Some(max) = self.limits.max_requests else { return Ok(ClusterPermit::default()) };
        let counted = Counted::up(&self.counters.requests, max);
        counted
            .map(|counted| ClusterPermit { _counted: Some(counted) })
            .ok_or_else(|| self.refused(Breaker::Requests, max))
    }

    /// Whether connections are limited.
    pub(super) fn limits_connections(&self) -> bool {
        self.connections().is_some()
    }

    fn connections(&self) -> Option<&Arc<Semaphore>> {
        self.counters.connections.as_ref()
    }

    /// Whether one more connection may be opened.
    pub(super) fn has_room(&self) -> bool {
        self.connections().is_none_or(|permits| permits.available_permits() > 0)
    }

    /// Counts one more that waits for a connection, and has idle ones closed for it.
    ///
    /// # Errors
    /// Where as many wait as may.
    pub(super) fn wait(&self) -> Result<Counted, Overflow> {
        let max = self.limits.max_pending.unwrap_or(u32::MAX);
        let waiting = Counted::up(&self.counters.pending, max);
        let waiting = waiting.ok_or_else(|| self.refused(Breaker::Pending, max))?;
        self.counters.wanted.notify_waiters();
        Ok(waiting)
    }

    /// A permit for a connection, when there is one.
    pub(super) async fn connection(&self) -> Option<OwnedSemaphorePermit> {
        let connections = self.connections()?;
        // Never closed.
        Arc::clone(connections).acquire_owned().await.ok()
    }

    /// A permit for a connection, if there is one.
    pub(super) fn try_connection(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(self.connections()?).try_acquire_owned().ok()
    }

    /// No connection became free in time.
    pub(super) fn no_connection(&self) -> Overflow {
        self.refused(Breaker::Connections, self.limits.max_connections.unwrap_or_default())
    }

    /// Ends when somebody in the pod has begun to wait for a connection since this was called.
    pub(super) fn until_wanted(&self) -> OwnedNotified {
        Arc::clone(&self.counters.wanted).notified_owned()
    }

    /// How many wait for a connection, in the whole pod.
    pub(super) fn waiting(&self) -> u32 {
        self.counters.pending.count()
    }

    /// Looks after the breakers; to be called about once a second.
    pub(super) fn settle(&self) {
        let has_room = |which| match which {
            Breaker::Requests => !self.counters.requests.is_open(),
            Breaker::Pending => !self.counters.pending.is_open(),
            Breaker::Connections => self.has_room(),
        };
        self.breakers.settle(has_room);
    }

    /// Takes back what the conditions say, and says no more.
    pub(super) fn take_back(&self) {
        self.breakers.take_back();
    }

    fn refused(&self, which: Breaker, limit: u32) -> Overflow {
        self.breakers.refused(which);
        Overflow { which, cluster: Arc::clone(&self.cluster), limit }
    }
}

/// Which limits this worker has met lately. A breaker is open from the first refusal until there was room for about a
/// second without another one.
struct Breakers {
    cluster: Arc<str>,
    conditions: Conditions,
    requests: Cell<State>,
    pending: Cell<State>,
    connections: Cell<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        refused_lately: bool,
    },
    /// Nobody looks after it any more.
    Gone,
}

impl Breakers {
    const ALL: [Breaker; 3] = [Breaker::Requests, Breaker::Pending, Breaker::Connections];

    fn new(cluster: Arc<str>, conditions: Conditions) -> Self {
        let closed = || Cell::new(State::Closed);
        Self { cluster, conditions, requests: closed(), pending: closed(), connections: closed() }
    }

    fn refused(&self, which: Breaker) {
        let before = self.state(which).get();
        if before != State::Gone {
            self.state(which).set(State::Open { refused_lately: true });
        }
        if before == State::Closed {
            tracing::warn!(cluster = %self.cluster, limit = which.as_str(), "a limit is reached: what comes on top is refused");
            self.conditions.breaker_opened(&self.cluster, which, Instant::now());
        }
    }

    fn settle(&self, has_room: impl Fn(Breaker) -> bool) {
        for which in Self::ALL {
            match self.state(which).get() {
                State::Closed | State::Gone => {}
                State::Open { refused_lately: false } if has_room(which) => self.close(which, State::Closed),
                State::Open { .. } => self.state(which).set(State::Open { refused_lately: false }),
            }
        }
    }

    fn take_back(&self) {
        Self::ALL.into_iter().for_each(|which| self.close(which, State::Gone));
    }

    fn close(&self, which: Breaker, to: State) {
        if let State::Open { .. } = self.state(which).replace(to) {
            self.conditions.breaker_closed(&self.cluster, which);
        }
    }

    fn state(&self, which: Breaker) -> &Cell<State> {
        match which {
            Breaker::Requests => &self.requests,
            Breaker::Pending => &self.pending,
            Breaker::Connections => &self.connections,
        }
    }
}
