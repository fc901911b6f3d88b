//! Which replica leads: the Lease `weft-control-leader`, held by a pod's name and renewed every two seconds.
//!
//! ```text
//!            acquired                     not renewed for 7 s, or somebody else holds it
//! following ─────────> leading ─────────────────────────────────────────> following
//!     ^ the holder has not renewed it for 10 s, or released it at shutdown
//! ```
//!
//! Each replica measures by its own clock for how long a holder has not renewed, so that clocks that differ do no harm; and
//! a leader stops leading before anybody may take the Lease over, also when the API server does not answer. Every write
//! names the state of the Lease that it is made from, so of two that want it one gets it.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Cluster;

/// The Lease's name.
pub const LEASE: &str = "weft-control-leader";
/// How long a holder that does not renew keeps others out.
const DURATION: Duration = Duration::from_secs(10);
/// How long a holder leads without having renewed; shorter than [`DURATION`].
const DEADLINE: Duration = Duration::from_secs(7);
/// How often it is renewed, or tried to get.
const PERIOD: Duration = Duration::from_secs(2);
/// How long the release at shutdown may take.
const RELEASE: Duration = Duration::from_secs(2);

/// Takes part in the election.
pub struct Election {
    leases: Api<Lease>,
    pod: Arc<str>,
    leads: watch::Sender<bool>,
    metric: Gauge,
    seen: Option<Seen>,
}

/// A state of the Lease, and when it was first seen.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    resource_version: String,
    at: Instant,
}

impl Election {
    /// A replica that has not won yet; whether it leads is told by the receiver, and by the metric: 1 or 0.
    pub fn new(cluster: &Cluster, metric: Gauge) -> (Self, watch::Receiver<bool>) {
        let (leads, receiver) = watch::channel(false);
        let leases = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        (Self { leases, pod: Arc::clone(&cluster.pod), leads, metric, seen: None }, receiver)
    }

    /// Takes part until `shutdown`, and then leaves the Lease to others.
    pub async fn run(mut self, shutdown: CancellationToken) {
        // Until when it leads.
        let mut until = None;
        loop {
            let began = Instant::now();
            let limit = until.unwrap_or(began + DEADLINE);
            let held = tokio::select! {
                held = timeout_at(limit, self.attempt()) => held,
                () = shutdown.cancelled() => break,
            };
            match held {
                Ok(Ok(true)) => until = Some(began + DEADLINE),
                Ok(Ok(false)) => until = None,
                Ok(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the Lease of the leader could not be read or written; trying again");
                }
                Err(_) => tracing::warn!("the API server did not answer in time about the Lease of the leader"),
            }
            until = until.filter(|until| Instant::now() < *until);
            self.tell(until.is_some());
            let next = (began + PERIOD).min(until.unwrap_or(began + PERIOD));
            tokio::select! {
                () = tokio::time::sleep_until(next.max(Instant::now() + PERIOD / 20)) => {}
                () = shutdown.cancelled() => break,
            }
            until = until.filter(|until| Instant::now() < *until);
            self.tell(until.is_some());
        }
        let led = *self.leads.borrow();
        self.tell(false);
        if led && tokio::time::timeout(RELEASE, self.release()).await.is_err() {
            tracing::warn!("the Lease of the leader could not be released; others take it over in {DURATION:?}");
        }
    }

    fn tell(&self, leads: bool) {
        let changed = self.leads.send_if_modified(|known| std::mem::replace(known, leads) != leads);
        self.metric.set(i64::from(leads));
        if changed && leads {
            tracing::info!(pod = %self.pod, "this replica leads");
        } else if changed {
            tracing::info!(pod = %self.pod, "this replica does not lead any more");
        }
    }

    /// Renews the Lease, or tries to get it. Returns whether this replica holds it then.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let Some(lease) = self.leases.get_opt(LEASE).await? else {
            return self.written(self.leases.create(&parameters(), &self.lease(None)).await);
        };
        if !self.may_take(&lease, Instant::now()) {
            return Ok(false);
        }
        let new = self.lease(Some(&lease));
        let written = self.leases.replace(LEASE, &parameters(), &new).await;
        self.written(written)
    }

    /// Whether the Lease is ours, nobody's, or held by somebody who has not renewed it for too long.
    fn may_take(&mut self, lease: &Lease, now: Instant) -> bool {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        let resource_version = lease.metadata.resource_version.clone().unwrap_or_default();
        let seen = match self.seen.take().filter(|seen| seen.resource_version == resource_version) {
            Some(seen) => seen,
            None => Seen { resource_version, at: now },
        };
        let silent = now.saturating_duration_since(seen.at);
        self.seen = Some(seen);
        holder.is_empty() || *holder == *self.pod || silent >= DURATION
    }

    /// The Lease as this replica holds it.
    fn lease(&self, known: Option<&Lease>) -> Lease {
        let mut lease = known.cloned().unwrap_or_default();
        if known.is_none() {
            lease.metadata = ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() };
        }
        let now = MicroTime(Timestamp::now());
        let before = lease.spec.take().unwrap_or_default();
        let renews = before.holder_identity.as_deref() == Some(&*self.pod);
        let transitions = before.lease_transitions.unwrap_or_default();
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.pod.to_string()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if renews { before.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if renews { transitions } else { transitions.saturating_add(1) }),
            ..LeaseSpec::default()
        });
        lease
    }

    /// Somebody else was faster where the state is another.
    fn written(&self, written: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn release(&self) {
        let release = async {
            let Some(mut lease) = self.leases.get_opt(LEASE).await? else { return Ok(()) };
            let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&*self.pod))
            else {
                return Ok(());
            };
            (spec.holder_identity, spec.lease_duration_seconds) = (Some(String::new()), Some(1));
            self.leases.replace(LEASE, &parameters(), &lease).await.map(drop)
        };
        if let Err(error) = release.await {
            let error: kube::Error = error;
            tracing::warn!(error = &error as &dyn std::error::Error, "the Lease of the leader could not be released");
        }
    }
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some("weft-control".to_owned()), ..PostParams::default() }
}

#[cfg(test)]
mod tests;
