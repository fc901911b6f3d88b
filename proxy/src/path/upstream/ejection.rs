//! Outlier detection: endpoints that answer badly are left out for a while. Each worker judges by what it sees itself.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use foldhash::fast::RandomState;
use weft_rules::outlier::{Detector, Ejection, Observation};

use crate::discovery::Cluster;
use crate::telemetry::conditions::Conditions;
use crate::telemetry::metrics::{Event, WorkerMetrics};

/// What one worker makes of a cluster's endpoints.
pub(super) struct Ejections {
    cluster: Arc<str>,
    detector: RefCell<Detector<SocketAddr, RandomState>>,
    conditions: Conditions,
    metrics: Rc<WorkerMetrics>,
    /// Of whom the conditions say that they are ejected.
    reported: RefCell<Vec<SocketAddr>>,
}

impl Ejections {
    /// `None` where the cluster's policy does not want it.
    pub(super) fn of(
        cluster: &Cluster,
        conditions: &Conditions,
        metrics: &Rc<WorkerMetrics>,
        now: Instant,
    ) -> Option<Box<Self>> {
        let policy = cluster.policy.outlier?;
        Some(Box::new(Self {
            cluster: Arc::clone(&cluster.name),
            detector: RefCell::new(Detector::with_hasher(policy, now, RandomState::default())),
            conditions: conditions.clone(),
            metrics: Rc::clone(metrics),
            reported: RefCell::default(),
        }))
    }

    /// These are the endpoints from now on.
    pub(super) fn keep(&self, endpoints: &[SocketAddr], now: Instant) {
        self.detector.borrow_mut().keep(now, endpoints.iter().copied());
        let gone = |address: &SocketAddr| !self.is_ejected(*address, now);
        let returned: Vec<_> = self.reported.borrow().iter().copied().filter(gone).collect();
        returned.into_iter().for_each(|address| self.forget(address));
    }

    /// Takes how an attempt went; whether the endpoint is ejected for it.
    pub(super) fn observe(&self, address: SocketAddr, observation: Observation, now: Instant) -> bool {
        let ejected = self.detector.borrow_mut().observe(&address, now, observation);
        ejected.inspect(|ejection| self.report(address, ejection)).is_some()
    }

    /// Lets time pass; whether somebody was ejected or has returned.
    pub(super) fn sweep(&self, now: Instant) -> bool {
        let sweep = self.detector.borrow_mut().sweep(now);
        for address in &sweep.returned {
            self.forget(*address);
            tracing::info!(cluster = %self.cluster, %address, "the time of an ejected endpoint is over: it is used again");
        }
        sweep.ejected.iter().for_each(|(address, ejection)| self.report(*address, ejection));
        !sweep.returned.is_empty() || !sweep.ejected.is_empty()
    }

    pub(super) fn is_ejected(&self, address: SocketAddr, now: Instant) -> bool {
        self.detector.borrow().is_ejected(&address, now)
    }

    /// Takes back what the conditions say.
    pub(super) fn take_back(&self) {
        let reported = self.reported.take();
        reported.into_iter().for_each(|address| self.conditions.uneject(&self.cluster, address));
    }

    fn report(&self, address: SocketAddr, ejection: &Ejection) {
        // It may have returned by itself, and nobody has noticed yet.
        self.forget(address);
        self.reported.borrow_mut().push(address);
        self.conditions.eject(&self.cluster, address, ejection.until);
        let cause = ejection.cause.as_str();
        self.metrics.event(Event::Ejected, &self.cluster, cause);
        tracing::warn!(cluster = %self.cluster, %address, cause, times = ejection.times, "an endpoint is ejected");
    }

    fn forget(&self, address: SocketAddr) {
        let mut reported = self.reported.borrow_mut();
        if let Some(index) = reported.iter().position(|reported| *reported == address) {
            reported.swap_remove(index);
            self.conditions.uneject(&self.cluster, address);
        }
    }
}
