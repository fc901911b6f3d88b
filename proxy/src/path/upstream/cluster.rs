//! One worker's view of a cluster: who may be picked, what may be under way, how many retries are left.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::task::spawn_local;
use weft_rules::budget::RetryBudget;
use weft_rules::hash::HashKey;
use weft_rules::outlier::Observation;

use super::Upstreams;
use super::endpoint::EndpointState;
use super::group::Group;
use super::limits::{ClusterPermit, Limiter, Overflow};
use super::pick::{PickBy, Picker};
use crate::discovery::{Cluster, ClusterPolicy};
use crate::telemetry::conditions::Conditions;
use crate::telemetry::metrics::Count;

/// One worker's view of a cluster.
pub(crate) struct ClusterState {
    core: Rc<Core>,
    group: RefCell<Group>,
    next: Cell<usize>,
    budget: RefCell<RetryBudget>,
    retries: Arc<Count>,
}

/// What a cluster's endpoints need of it.
pub(super) struct Core {
    pub(super) cluster: Arc<Cluster>,
    /// Only where something is limited.
    pub(super) limiter: Option<Box<Limiter>>,
    /// Whether somebody is usable that was not, or the other way round.
    stale: Cell<bool>,
}

impl Core {
    fn new(cluster: Arc<Cluster>, conditions: &Conditions) -> Rc<Self> {
        cluster.workers.fetch_add(1, Ordering::Relaxed);
        let limiter = Limiter::of(&cluster, conditions);
        Rc::new(Self { cluster, limiter, stale: Cell::new(false) })
    }

    pub(super) fn observe(&self, _address: SocketAddr, _observation: Observation) {}
}

impl Drop for Core {
    fn drop(&mut self) {
        self.cluster.workers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ClusterState {
    pub(super) fn new(cluster: &Arc<Cluster>, conditions: &Conditions, retries: Arc<Count>) -> Rc<Self> {
        let state = Rc::new(Self {
            core: Core::new(Arc::clone(cluster), conditions),
            group: RefCell::default(),
            next: Cell::new(rand::random_range(0..=u32::MAX) as usize),
            budget: RefCell::new(cluster.policy.budget.budget()),
            retries,
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
        let mut picker = Picker { policy, by, next: &self.next, random: rand::random, now };
        picker.pick(&self.group.borrow()).map(Rc::clone)
    }

    /// What of a request decides its place, for [`PickBy::hash`]; empty where that has no say.
    pub(crate) fn hash_keys(&self) -> &[HashKey] {
        &self.policy().balance.hash
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

    /// Whether any configuration still names it.
    pub(super) fn is_named(&self) -> bool {
        Arc::strong_count(&self.core.cluster) > self.core.cluster.workers.load(Ordering::Relaxed)
    }

    /// The pod's zone is another one.
    pub(super) fn moved(&self) {
        if self.policy().balance.zone_aware {
            self.core.stale.set(true);
        }
    }

    /// What has to be done about once a second.
    pub(super) fn maintain(&self, _upstreams: &Upstreams, now: Instant) {
        self.group.borrow().all().iter().for_each(|endpoint| endpoint.prune(now));
        if let Some(limiter) = &self.core.limiter {
            limiter.settle();
        }
    }

    /// Takes over new endpoints, and who of them is usable.
    fn refresh(&self, upstreams: &Upstreams, now: Instant) {
        let snapshot = self.core.cluster.endpoints();
        if !self.group.borrow().is_of(&snapshot) {
            let make = |endpoint: &Arc<_>| Rc::new(upstreams.endpoint(Arc::clone(endpoint), &self.core));
            self.group.borrow_mut().take_over(Arc::clone(&snapshot), now, make);
            self.core.stale.set(true);
        }
        if self.core.stale.replace(false) {
            self.group.borrow_mut().narrow(self.policy().balance.panic_percent, |_| true);
        }
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
