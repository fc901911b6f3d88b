//! Clusters: sets of endpoints with a name, and what applies to the traffic that goes there.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{Notify, Semaphore};
use weft_rules::balance::BalancePolicy;
use weft_rules::budget::{self, RetryBudget};
use weft_rules::health::HealthPolicy;
use weft_rules::limits::{Counter, Limits};
use weft_rules::outlier::OutlierPolicy;

use super::Endpoints;

/// A set of endpoints with one name.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Unique in the process: another configuration of the same name is another cluster.
    pub(crate) id: u64,
    /// `NAMESPACE/SERVICE:PORT`, or `IP:PORT` of a pod.
    pub(crate) name: Arc<str>,
    /// What applies to the traffic that goes there.
    pub(crate) policy: Arc<ClusterPolicy>,
    /// What all workers have under way there. Kept when the policy changes.
    pub(crate) counters: Arc<ClusterCounters>,
    /// False: a route names it, and there is none. Not the same as a cluster without endpoints.
    pub(crate) exists: bool,
    /// How many workers hold it, so that it is known when they alone do.
    pub(crate) workers: AtomicUsize,
    /// Whether a worker has taken the active health checks upon itself.
    checks_claimed: AtomicBool,
    endpoints: Arc<ArcSwap<Endpoints>>,
}

impl Cluster {
    /// A cluster with a fresh id.
    pub(crate) fn new(name: Arc<str>, policy: Arc<ClusterPolicy>, endpoints: Endpoints) -> Self {
        let counters = Arc::new(ClusterCounters::new(&policy.limits));
        Self::sharing(name, policy, counters, Arc::new(ArcSwap::from_pointee(endpoints)))
    }

    /// A cluster with a fresh id whose endpoints are swapped by another hand.
    pub(crate) fn sharing(
        name: Arc<str>,
        policy: Arc<ClusterPolicy>,
        counters: Arc<ClusterCounters>,
        endpoints: Arc<ArcSwap<Endpoints>>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let (workers, checks_claimed) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { id, name, policy, counters, exists: true, workers, checks_claimed, endpoints }
    }

    /// A cluster that does not exist.
    pub(in crate::discovery) fn missing(name: Arc<str>) -> Self {
        Self { exists: false, ..Self::new(name, Arc::default(), Endpoints::default()) }
    }

    /// Its endpoints now. Swapped as a whole when they change; empty when the cluster does not exist.
    pub(crate) fn endpoints(&self) -> Guard<Arc<Endpoints>> {
        self.endpoints.load()
    }

    /// Whether the caller is the first to ask, and so the one who runs the active health checks for all workers, for as
    /// long as the cluster is in use.
    pub(crate) fn claim_health_checks(&self) -> bool {
        self.policy.health.is_some() && !self.checks_claimed.swap(true, Ordering::AcqRel)
    }
}

/// What applies to the traffic of a cluster. The default is that of a Service without a `TrafficPolicy`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClusterPolicy {
    /// How an endpoint is picked.
    pub(crate) balance: BalancePolicy,
    /// How much may be under way at once, in the whole pod.
    pub(crate) limits: Limits,
    /// How many retries there may be.
    pub(crate) budget: BudgetPolicy,
    /// When an endpoint is ejected for what it answers; `None`: never.
    pub(crate) outlier: Option<OutlierPolicy>,
    /// How endpoints are checked; `None`: not at all.
    pub(crate) health: Option<HealthPolicy>,
    /// How long the connection to an endpoint may take to be established.
    pub(crate) connect_timeout: Duration,
    /// After how long without use a connection is closed; `None`: as the proxy sees fit.
    pub(crate) idle_timeout: Option<Duration>,
    /// How old a connection may grow until no new request goes over it; `None`: as old as it likes.
    pub(crate) max_connection_age: Option<Duration>,
    /// How long a request with its answer may take, whatever its route says; `None`: as long as it likes.
    pub(crate) max_stream_age: Option<Duration>,
    /// What says so, such as `TrafficPolicy shop/api`; empty: nothing does, these are defaults.
    pub(crate) manifest: Arc<str>,
    /// Whether the control plane tells of the endpoints on the pod's own node alone. For people: nothing depends on it here.
    pub(crate) node_local: bool,
    /// Whether it tells on which node they are, so that those on the own one come first. For people likewise.
    pub(crate) node_first: bool,
}

impl ClusterPolicy {
    /// Of a connection to an endpoint, unless told.
    pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
}

impl Default for ClusterPolicy {
    fn default() -> Self {
        Self {
            balance: BalancePolicy::default(),
            limits: Limits::default(),
            budget: BudgetPolicy::default(),
            outlier: None,
            health: None,
            connect_timeout: Self::CONNECT_TIMEOUT,
            idle_timeout: None,
            max_connection_age: None,
            max_stream_age: None,
            manifest: Arc::default(),
            node_local: false,
            node_first: false,
        }
    }
}

/// How many retries there may be, of each worker's requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BudgetPolicy {
    /// Retries for each request, 0.2 being one for five.
    pub(crate) ratio: f64,
    /// Retries in each second, however few requests there are.
    pub(crate) min_per_second: u32,
    /// The time over which requests and retries are compared.
    pub(crate) window: Duration,
}

impl BudgetPolicy {
    /// The part of one of several workers, of which nothing is spent.
    pub(crate) fn budget(&self, workers: NonZeroUsize) -> RetryBudget {
        RetryBudget::new(self.ratio, self.min_per_second, self.window).part_of(workers)
    }
}

impl Default for BudgetPolicy {
    fn default() -> Self {
        Self {
            ratio: budget::DEFAULT_RATIO,
            min_per_second: budget::DEFAULT_MIN_PER_SECOND,
            window: budget::DEFAULT_WINDOW,
        }
    }
}

/// What a pod has under way to a cluster. Touched only where a limit is set, since all workers share it.
#[derive(Debug)]
pub(crate) struct ClusterCounters {
    /// Requests whose answer has not ended.
    pub(crate) requests: Arc<Counter>,
    /// Requests that wait for a connection.
    pub(crate) pending: Arc<Counter>,
    /// A permit for each connection that may still be opened, where that is limited.
    pub(crate) connections: Option<Arc<Semaphore>>,
    /// Told when a request begins to wait for a connection, so that idle ones make room for it.
    pub(crate) wanted: Arc<Notify>,
    max_connections: Option<u32>,
}

impl ClusterCounters {
    /// Counters at zero.
    pub(crate) fn new(limits: &Limits) -> Self {
        let permits = |max: u32| Semaphore::new((max as usize).min(Semaphore::MAX_PERMITS));
        Self {
            requests: Arc::default(),
            pending: Arc::default(),
            connections: limits.max_connections.map(permits).map(Arc::new),
            wanted: Arc::default(),
            max_connections: limits.max_connections,
        }
    }

    /// The same counters under other limits. Connections are counted anew where their limit is another one.
    pub(in crate::discovery) fn under(&self, limits: &Limits) -> Self {
        let fresh = Self::new(limits);
        let same = self.max_connections == limits.max_connections;
        Self {
            requests: Arc::clone(&self.requests),
            pending: Arc::clone(&self.pending),
            connections: if same { self.connections.clone() } else { fresh.connections },
            wanted: Arc::clone(&self.wanted),
            max_connections: limits.max_connections,
        }
    }
}
