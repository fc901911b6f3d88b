//! What one worker keeps for the places that traffic goes to: who may be picked, each endpoint's load, its pooled
//! connections, the connection to its sidecar.
//!
//! ```text
//! Upstreams ─► ClusterState ─► Group ─► EndpointState ─► MeshPeer (one for each peer pod, shared)
//!              budget, limits   who may    load, pools
//!                               be picked
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`cluster`] | what a request needs of a cluster: an endpoint, leave to be under way, a retry |
//! | [`group`] | the endpoints that are known, and those of them that may be used now |
//! | [`pick`] | the choice of one of them |
//! | [`ejection`], [`health_check`] | why some may not be used |
//! | [`limits`] | the limits of what is under way to a cluster, and their breakers |
//! | [`endpoint`] | sending something to an endpoint |
//! | [`http1`], [`http2`], [`held`] | its connections |
//! | [`grpc`] | calls of the proxy's own |
//!
//! Nothing here is shared between workers, so nothing is locked. What is limited is limited for the pod: those counts
//! are atomics in the cluster itself.

mod cluster;
mod ejection;
mod endpoint;
mod error;
mod group;
mod grpc;
mod health_check;
mod held;
mod http1;
mod http2;
mod limits;
#[cfg(test)]
mod memory;
mod pick;
#[cfg(test)]
mod testing;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use weft_certs::identity::WorkloadIdentity;
use weft_certs::spiffe::SpiffeId;

use super::mesh::MeshPeer;
use super::socket;
use crate::discovery::{Cluster, Endpoint, EndpointHealth, Place};
use crate::telemetry::conditions::Conditions;
use crate::telemetry::metrics::{Direction, RequestLabels, RequestMetrics, WorkerMetrics};
use cluster::Core;
use endpoint::Reach;

pub(crate) use cluster::ClusterState;
pub(crate) use endpoint::{Carried, EndpointState};
pub(crate) use error::SendError;
pub(crate) use grpc::GrpcEndpoint;
pub(crate) use held::Held;
pub(crate) use limits::{ClusterPermit, Overflow};
pub(crate) use pick::PickBy;

/// How often what is no longer used is let go.
pub(crate) const MAINTENANCE: Duration = Duration::from_secs(1);
/// The application is on the same machine; it takes a connection at once or not at all.
const APPLICATION_TIMEOUT: Duration = Duration::from_secs(5);
/// What the application would see without a sidecar is a time-out of minutes; this is kinder and still patient.
const PASSTHROUGH_TIMEOUT: Duration = Duration::from_secs(30);

/// One worker's view of everything upstream.
pub(crate) struct Upstreams {
    identity: WorkloadIdentity,
    mark: Option<u32>,
    /// How many workers the pod has, for what they share evenly.
    workers: NonZeroUsize,
    metrics: Rc<WorkerMetrics>,
    conditions: Conditions,
    /// Probes of health checks that may still be begun.
    probes: Rc<Semaphore>,
    /// Where the pod is; empty until it is told.
    place: RefCell<Place>,
    clusters: RefCell<HashMap<u64, Rc<ClusterState>, foldhash::fast::RandomState>>,
    peers: RefCell<HashMap<(SocketAddr, SpiffeId), Weak<MeshPeer>>>,
    applications: RefCell<HashMap<SocketAddr, Rc<EndpointState>, foldhash::fast::RandomState>>,
}

impl Upstreams {
    pub(crate) fn new(
        identity: WorkloadIdentity,
        mark: Option<u32>,
        workers: NonZeroUsize,
        metrics: WorkerMetrics,
        conditions: Conditions,
    ) -> Self {
        Self {
            identity,
            mark,
            workers,
            metrics: Rc::new(metrics),
            conditions,
            probes: Rc::new(Semaphore::new(health_check::MAX_PROBES)),
            place: RefCell::default(),
            clusters: RefCell::default(),
            peers: RefCell::default(),
            applications: RefCell::default(),
        }
    }

    /// What this worker knows of a cluster. On the worker's own thread, within its `LocalSet`.
    pub(crate) fn cluster(&self, cluster: &Arc<Cluster>) -> Rc<ClusterState> {
        if let Some(state) = self.clusters.borrow().get(&cluster.id) {
            return Rc::clone(state);
        }
        let state = ClusterState::new(cluster, self);
        self.clusters.borrow_mut().insert(cluster.id, Rc::clone(&state));
        state
    }

    /// The pod's own application, which is dialled as it is.
    pub(crate) fn application(&self, address: SocketAddr) -> Rc<EndpointState> {
        if let Some(state) = self.applications.borrow().get(&address) {
            return Rc::clone(state);
        }
        let endpoint = Endpoint {
            address,
            mesh: None,
            workload: Arc::default(),
            pod: Arc::default(),
            place: Place::default(),
            draining: false,
            health: EndpointHealth::default(),
        };
        let (timeout, mark) = (APPLICATION_TIMEOUT, self.mark);
        let reach = Reach { timeout, mark, mesh: None, idle_timeout: None, max_age: None };
        let state = Rc::new(EndpointState::new(Arc::new(endpoint), None, reach, None, Instant::now()));
        self.applications.borrow_mut().insert(address, Rc::clone(&state));
        state
    }

    /// Any other address, dialled as it is.
    ///
    /// # Errors
    /// The kernel's, or that it took too long.
    pub(crate) async fn passthrough(&self, address: SocketAddr) -> Result<TcpStream, SendError> {
        let connected = socket::connect(address, self.mark, PASSTHROUGH_TIMEOUT).await;
        connected.map_err(|source| SendError::Connect { address, source })
    }

    /// Lets go of idle connections, and of clusters and peers that no configuration names any more. To be called each
    /// [`MAINTENANCE`], with where the pod is, as far as that is known.
    pub(crate) fn maintain(&self, now: Instant, place: &Place) {
        if *self.place.borrow() != *place {
            *self.place.borrow_mut() = place.clone();
            self.clusters.borrow().values().for_each(|state| state.moved());
        }
        self.clusters.borrow_mut().retain(|_, state| state.is_named());
        for state in self.clusters.borrow().values() {
            state.maintain(self, now);
        }
        self.applications.borrow_mut().retain(|_, state| {
            state.prune(now);
            state.is_used()
        });
        self.peers.borrow_mut().retain(|_, peer| peer.strong_count() > 0);
        self.metrics.maintain();
    }

    /// The count of requests that got no answer from an endpoint, for a Service.
    pub(crate) fn unanswered(&self, service: &str) -> Arc<RequestMetrics> {
        let labels = RequestLabels { direction: Direction::Outbound, destination: service, peer: "", tls: false };
        self.metrics.requests(&labels)
    }

    /// A new endpoint of a cluster.
    fn endpoint(&self, endpoint: Arc<Endpoint>, core: &Rc<Core>, now: Instant) -> EndpointState {
        let mesh = endpoint.mesh.as_ref().map(|mesh| self.peer(mesh.address, &mesh.identity));
        let metrics = self.metrics.requests(&RequestLabels {
            direction: Direction::Outbound,
            destination: &core.cluster.name,
            peer: endpoint.mesh.as_ref().map_or("", |mesh| mesh.identity.as_str()),
            tls: mesh.is_some(),
        });
        let policy = &core.cluster.policy;
        let reach = Reach {
            timeout: policy.connect_timeout,
            mark: self.mark,
            mesh,
            idle_timeout: policy.idle_timeout,
            max_age: policy.max_connection_age,
        };
        EndpointState::new(endpoint, Some(Rc::clone(core)), reach, Some(metrics), now)
    }

    fn peer(&self, address: SocketAddr, expected: &SpiffeId) -> Rc<MeshPeer> {
        let mut peers = self.peers.borrow_mut();
        let key = (address, expected.clone());
        if let Some(peer) = peers.get(&key).and_then(Weak::upgrade) {
            return peer;
        }
        let peer = MeshPeer::new(address, expected.clone(), &self.identity, self.mark);
        peers.insert(key, Rc::downgrade(&peer));
        peer
    }
}
