//! Active health checks: the endpoints of a cluster are asked now and then whether they work.
//!
//! One worker asks for all, that which used the cluster first: a task for each endpoint, and at most [`MAX_PROBES`]
//! probes at once. What it finds out is in the endpoints themselves, which all workers share.

mod probe;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use weft_rules::health::{HealthPolicy, HealthState};

use super::EndpointState;
use super::cluster::Core;
use probe::{Failed, probe};

/// Probes that a worker has under way at once; further ones wait.
pub(super) const MAX_PROBES: usize = 64;
/// How far the time between two probes differs from the policy's, as a share of it, so that the proxies of a mesh don't
/// all ask at the same time.
const JITTER: f64 = 0.1;

/// How often the health of any endpoint has changed.
static CHANGES: AtomicU64 = AtomicU64::new(0);

/// A number that is another one whenever the health of an endpoint, of any cluster, has changed.
pub(super) fn changes() -> u64 {
    CHANGES.load(Ordering::Relaxed)
}

/// Begins to check an endpoint; ends when the cluster no longer has it.
pub(super) fn start(endpoint: &Rc<EndpointState>, core: &Rc<Core>, probes: &Rc<Semaphore>) {
    if let Some(policy) = core.cluster.policy.health.clone() {
        let check = Check {
            address: endpoint.endpoint.address,
            endpoint: Rc::downgrade(endpoint),
            core: Rc::downgrade(core),
            probes: Rc::clone(probes),
            policy,
        };
        spawn_local(check.run());
    }
}

struct Check {
    address: SocketAddr,
    endpoint: Weak<EndpointState>,
    core: Weak<Core>,
    probes: Rc<Semaphore>,
    policy: HealthPolicy,
}

impl Check {
    async fn run(self) {
        let mut state = self.last_state();
        // Spreads the endpoints over the interval.
        tokio::time::sleep(self.policy.interval.mul_f64(rand::random())).await;
        // It may be gone and still at hand, for a request of before.
        while let Some(endpoint) = self.endpoint.upgrade().filter(|endpoint| !endpoint.standing().gone.get()) {
            if let Some(result) = self.ask(&endpoint).await {
                state.report(result.is_ok());
                self.publish(state.is_healthy(), result.err());
            }
            drop(endpoint);
            tokio::time::sleep(jittered(self.policy.interval, rand::random())).await;
        }
    }

    /// What is known from an earlier configuration, which has not to be found out again.
    fn last_state(&self) -> HealthState {
        let mut state = HealthState::new(&self.policy);
        let is_healthy = |state: Rc<EndpointState>| state.endpoint.health.is_healthy();
        if !self.endpoint.upgrade().is_none_or(is_healthy) {
            while state.report(false).is_none() {}
        }
        state
    }

    /// Probes once; none where the probe says nothing about the endpoint.
    async fn ask(&self, endpoint: &Rc<EndpointState>) -> Option<Result<(), Failed>> {
        // Never closed.
        let _permit = self.probes.acquire().await.ok()?;
        let asked = tokio::time::timeout(self.policy.timeout, probe(endpoint, &self.policy.probe)).await;
        let result = asked.unwrap_or(Err(Failed::TimedOut(self.policy.timeout)));
        match result {
            Err(error) if error.is_ours() => {
                tracing::debug!(address = %self.address, %error, "a health check was not made");
                None
            }
            result => Some(result),
        }
    }

    /// Writes the result into the endpoint as it is held now: the same endpoint may have become another value since.
    fn publish(&self, healthy: bool, failed: Option<Failed>) {
        let Some(core) = self.core.upgrade() else { return };
        let endpoints = core.cluster.endpoints();
        let Some(endpoint) = endpoints.all.iter().find(|endpoint| endpoint.address == self.address) else { return };
        if endpoint.health.is_healthy() != healthy {
            endpoint.health.set_healthy(healthy);
            CHANGES.fetch_add(1, Ordering::Relaxed);
            let (cluster, address) = (&core.cluster.name, self.address);
            match failed {
                None => tracing::info!(%cluster, %address, "health checks pass again: the endpoint is used"),
                Some(cause) => {
                    tracing::warn!(%cluster, %address, %cause, "health checks fail: the endpoint is not used")
                }
            }
        }
    }
}

/// The interval, more or less; `random` is from 0 to 1.
fn jittered(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(1.0 + JITTER * (2.0 * random - 1.0))
}
