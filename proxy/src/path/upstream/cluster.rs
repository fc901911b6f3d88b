//! One worker's view of a cluster: who may be picked, what may be under way, how many retries are left.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::task::spawn_local;
use weft_rules::balance::turns::RoundRobin;
use weft_rules::budget::RetryBudget;
use weft_rules::hash::HashKey;
use weft_rules::outlier::Observation;

use super::ejection::Ejections;
use super::endpoint::EndpointState;
use super::group::{Group, InFlight, Own};
use super::limits::{ClusterPermit, Limiter, Overflow};
use super::pick::{PickBy, Picker};
use super::{Upstreams, health_check};
use crate::discovery::{Cluster, ClusterPolicy, Endpoint};
use crate::telemetry::metrics::Count;

/// One worker's view of a cluster.
pub(crate) struct ClusterState {
    core: Rc<Core>,
    group: RefCell<Group>,
    turns: Cell<RoundRobin>,
    budget: RefCell<RetryBudget>,
    retries: Arc<Count>,
    /// Whether the health of its endpoints is this worker's to check.
    checks: bool,
    /// The changes of health that are taken over, see [`health_check::changes`].
    health_changes: Cell<u64>,
}

/// What a cluster's endpoints need of it.
pub(super) struct Core {
    pub(super) cluster: Arc<Cluster>,
    /// Only where something is limited.
    pub(super) limiter: Option<Box<Limiter>>,
    /// Only where endpoints nearby come first.
    pub(super) in_flight: Option<Rc<InFlight>>,
    ejections: Option<Box<Ejections>>,
    /// Whether somebody has become usable or unusable.
    stale: Cell<bool>,
    /// Whether the cluster is gone, and only requests of before hold on to this.
    gone: Cell<bool>,
}

impl Core {
    fn new(cluster: Arc<Cluster>, upstreams: &Upstreams) -> Rc<Self> {
        cluster.workers.fetch_add(1, Ordering::Relaxed);
        let limiter = Limiter::of(&cluster, &upstreams.conditions);
        let ejections = Ejections::of(&cluster, &upstreams.conditions, &upstreams.metrics, Instant::now());
        let in_flight = cluster.policy.balance.zone_aware.then(Rc::default);
        Rc::new(Self { cluster, limiter, in_flight, ejections, stale: Cell::new(false), gone: Cell::new(false) })
    }

    /// Takes how an attempt at an endpoint went.
    pub(super) fn observe(&self, address: SocketAddr, observation: Observation) {
        if let Some(ejections) = &self.ejections
            && !self.gone.get()
            && ejections.observe(address, observation, Instant::now())
        {
            self.stale.set(true);
        }
    }

    /// Nobody looks after it any more: takes back what was told of it.
    fn leave(&self) {
        self.gone.set(true);
        if let Some(ejections) = &self.ejections {
            ejections.take_back();
        }
        if let Some(limiter) = &self.limiter {
            limiter.take_back();
        }
    }

    /// Whether an endpoint is neither ejected nor unhealthy.
    fn is_usable(&self, endpoint: &Endpoint, now: Instant) -> bool {
        let is_healthy = self.cluster.policy.health.is_none() || endpoint.health.is_healthy();
        is_healthy && self.ejections.as_ref().is_none_or(|ejections| !ejections.is_ejected(endpoint.address, now))
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.cluster.workers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ClusterState {
    pub(super) fn new(cluster: &Arc<Cluster>, upstreams: &Upstreams) -> Rc<Self> {
        let state = Rc::new(Self {
            core: Core::new(Arc::clone(cluster), upstreams),
            group: RefCell::default(),
            turns: Cell::new(RoundRobin::starting_at(rand::random())),
            budget: RefCell::new(cluster.policy.budget.budget(upstreams.workers)),
            retries: upstreams.metrics.retries(&cluster.name),
            checks: cluster.claim_health_checks(),
            health_changes: Cell::new(0),
        });
        if state.core.limiter.as_ref().is_some_and(|limiter| limiter.limits_connections()) {
            spawn_local(make_room(Rc::downgrade(&state)));
        }
        state
    }

    /// Picks an endpoint by the cluster's policy; none where there is none that may be used.
    pub(crate) fn pick(&self, upstreams: &Upstreams, by: &PickBy<'_>, now: Instant) -> Option<Rc<EndpointState>> {
        self.refresh(upstreams, now);
        let policy = &self.policy().balance;
        let mut picker = Picker { policy, by, turns: &self.turns, random: rand::random, now };
        picker.pick(&self.group.borrow()).map(Rc::clone)
    }

    /// What of a request decides its place, for [`PickBy::hash`]; empty where that has no say.
    pub(crate) fn hash_keys(&self) -> &[HashKey] {
        let balance = &self.policy().balance;
        if balance.algorithm.is_hashing() { &balance.hash } else { &[] }
    }

    /// Whether it has an endpoint with this address.
    pub(crate) fn holds(&self, address: SocketAddr) -> bool {
        self.core.cluster.endpoints().all.iter().any(|endpoint| endpoint.address == address)
    }

    /// Counts a request in, until the permit is dropped.
    ///
    /// # Errors
    /// Where the pod has as many under way as it may.
    pub(crate) fn admit(&self) -> Result<ClusterPermit, Overflow> {
        self.core.limiter.as_ref().map_or_else(|| Ok(ClusterPermit::default()), |limiter| limiter.admit())
    }

    /// What applies to the cluster's traffic.
    pub(crate) fn policy(&self) -> &ClusterPolicy {
        &self.core.cluster.policy
    }

    /// `NAMESPACE/SERVICE:PORT`, or `IP:PORT` of a pod.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.core.cluster.name
    }

    /// A request was made: a share of it may be spent on a retry.
    pub(crate) fn deposit(&self, now: Instant) {
        self.budget.borrow_mut().deposit(now);
    }

    /// Whether the budget has a retry left; takes and counts it.
    pub(crate) fn withdraw(&self, now: Instant) -> bool {
        let affordable = self.budget.borrow_mut().withdraw(now);
        if affordable {
            self.retries.record();
        }
        affordable
    }

    /// Whether any configuration still names it, and not only workers hold it.
    pub(super) fn is_named(&self) -> bool {
        Arc::strong_count(&self.core.cluster) > self.core.cluster.workers.load(Ordering::Relaxed)
    }

    /// The pod is in another place.
    pub(super) fn moved(&self) {
        self.core.stale.set(true);
    }

    /// What has to be done about once a second.
    pub(super) fn maintain(&self, upstreams: &Upstreams, now: Instant) {
        self.group.borrow().all().iter().for_each(|endpoint| endpoint.prune(now));
        if let Some(limiter) = &self.core.limiter {
            limiter.settle();
        }
        if self.core.ejections.as_ref().is_some_and(|ejections| ejections.sweep(now)) {
            self.core.stale.set(true);
        }
        if self.checks {
            // New endpoints are checked though nobody sends them anything yet.
            self.refresh(upstreams, now);
        }
    }

    /// Takes over new endpoints, and who of them is usable.
    fn refresh(&self, upstreams: &Upstreams, now: Instant) {
        let snapshot = self.core.cluster.endpoints();
        if !self.group.borrow().is_of(&snapshot) {
            self.group.borrow_mut().take_over(Arc::clone(&snapshot), now, |endpoint| {
                let state = Rc::new(upstreams.endpoint(Arc::clone(endpoint), &self.core, now));
                if self.checks {
                    health_check::start(&state, &self.core, &upstreams.probes);
                }
                state
            });
            if let Some(ejections) = &self.core.ejections {
                let addresses: Vec<_> = snapshot.all.iter().map(|endpoint| endpoint.address).collect();
                ejections.keep(&addresses, now);
            }
            self.core.stale.set(true);
        }
        if self.policy().health.is_some() {
            let changes = health_check::changes();
            if self.health_changes.replace(changes) != changes {
                self.core.stale.set(true);
            }
        }
        if self.core.stale.replace(false) {
            self.narrow(upstreams, now);
        }
    }

    fn narrow(&self, upstreams: &Upstreams, now: Instant) {
        let place = upstreams.place.borrow();
        let own = self.core.in_flight.as_ref().map(|in_flight| Own { place: &place, in_flight });
        let checked = self.policy().health.is_some();
        self.group.borrow_mut().narrow(&self.policy().balance, own, |endpoint, state| {
            if checked && state.standing().recovers(endpoint.health.is_healthy()) {
                // What has just begun to work again is as cold as what is new.
                state.standing().new_since.set(Some(now));
            }
            self.core.is_usable(endpoint, now)
        });
    }
}

impl Drop for ClusterState {
    fn drop(&mut self) {
        self.group.borrow().all().iter().for_each(|endpoint| endpoint.standing().gone.set(true));
        self.core.leave();
    }
}

/// Closes idle connections when somebody in the pod waits for one. Ends with the cluster.
async fn make_room(state: Weak<ClusterState>) {
    loop {
        let wanted = {
            let Some(state) = state.upgrade() else { return };
            let Some(limiter) = &state.core.limiter else { return };
            let wanted = limiter.until_wanted();
            if limiter.waiting() > 0 {
                state.group.borrow().all().iter().for_each(|endpoint| endpoint.close_idle());
            }
            wanted
        };
        wanted.await;
    }
}
