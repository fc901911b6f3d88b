//! What one worker keeps for the places that traffic goes to: each endpoint's load, its pooled connections, the
//! connection to its sidecar, each cluster's retry budget.
//!
//! ```text
//! Upstreams ─► ClusterState (budget) ─► EndpointState (load, pools) ─► MeshPeer (one for each peer pod, shared)
//! ```
//!
//! Nothing here is shared between workers, so nothing is locked.

mod http1;
mod http2;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response, Version};
use tokio::net::TcpStream;
use weft_certs::identity::WorkloadIdentity;
use weft_certs::spiffe::SpiffeId;
use weft_rules::balance::{PeakEwma, choose};
use weft_rules::budget::RetryBudget;

use super::body::{Body, OnEnd};
use super::mesh::{self, MeshError, MeshPeer, Tunnel};
use super::socket;
use crate::discovery::{Cluster, Endpoint, EndpointHealth, Endpoints};
use crate::telemetry::metrics::{Direction, RequestLabels, RequestMetrics, RetryMetrics, WorkerMetrics};

/// How often what is no longer used is let go.
pub(crate) const MAINTENANCE: Duration = Duration::from_secs(1);

/// One worker's view of everything upstream.
pub(crate) struct Upstreams {
    identity: WorkloadIdentity,
    mark: Option<u32>,
    metrics: WorkerMetrics,
    clusters: RefCell<HashMap<u64, Rc<ClusterState>, foldhash::fast::RandomState>>,
    peers: RefCell<HashMap<(SocketAddr, SpiffeId), Weak<MeshPeer>>>,
    applications: RefCell<HashMap<SocketAddr, Rc<EndpointState>, foldhash::fast::RandomState>>,
}

/// One worker's view of a cluster.
pub(crate) struct ClusterState {
    cluster: Arc<Cluster>,
    endpoints: RefCell<Known>,
    budget: RefCell<RetryBudget>,
    retries: Arc<RetryMetrics>,
}

/// The endpoints as they were when they were last looked at. Those that drain come last.
struct Known {
    snapshot: Arc<Endpoints>,
    states: Vec<Rc<EndpointState>>,
    serving: usize,
}

/// One worker's view of an endpoint.
pub(crate) struct EndpointState {
    pub(crate) endpoint: Arc<Endpoint>,
    /// The cluster's name; empty for the pod's own application.
    pub(crate) cluster: Arc<str>,
    /// What its requests are counted by; the pod's own application is counted by caller.
    pub(crate) metrics: Option<Arc<RequestMetrics>>,
    timeout: Duration,
    mark: Option<u32>,
    mesh: Option<Rc<MeshPeer>>,
    load: RefCell<PeakEwma>,
    pending: Cell<u32>,
    http1: http1::Pool,
    http2: http2::Shared,
}

/// Why an endpoint did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("cannot connect to {address}: {source}")]
    Connect { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Mesh(#[from] MeshError),
    #[error("{address} broke off: {source}")]
    Http { address: SocketAddr, source: hyper::Error, unhandled: bool },
}

impl SendError {
    /// Whether it is certain that the application saw nothing of the request.
    pub(crate) fn is_unhandled(&self) -> bool {
        match self {
            Self::Connect { .. } => true,
            Self::Mesh(error) => error.is_unhandled(),
            Self::Http { unhandled, .. } => *unhandled,
        }
    }
}

/// An opened connection for bytes.
pub(crate) enum Connection {
    Socket(TcpStream),
    Tunnel(Tunnel),
}

impl Upstreams {
    pub(crate) fn new(identity: WorkloadIdentity, mark: Option<u32>, metrics: WorkerMetrics) -> Self {
        Self {
            identity,
            mark,
            metrics,
            clusters: RefCell::default(),
            peers: RefCell::default(),
            applications: RefCell::default(),
        }
    }

    /// What this worker knows of a cluster.
    pub(crate) fn cluster(&self, cluster: &Arc<Cluster>) -> Rc<ClusterState> {
        if let Some(state) = self.clusters.borrow().get(&cluster.id) {
            return Rc::clone(state);
        }
        let state = Rc::new(ClusterState {
            cluster: Arc::clone(cluster),
            endpoints: RefCell::new(Known { snapshot: Arc::default(), states: Vec::new(), serving: 0 }),
            budget: RefCell::new(RetryBudget::default()),
            retries: self.metrics.retries(&cluster.name),
        });
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
            zone: Arc::default(),
            draining: false,
            health: EndpointHealth::default(),
        };
        let state = Rc::new(self.endpoint(Arc::new(endpoint), None, APPLICATION_TIMEOUT));
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

    /// Lets go of idle connections, and of clusters and peers that no configuration names any more.
    pub(crate) fn maintain(&self, now: Instant) {
        self.clusters.borrow_mut().retain(|_, state| Arc::strong_count(&state.cluster) > 1);
        for state in self.clusters.borrow().values() {
            state.endpoints.borrow().states.iter().for_each(|endpoint| endpoint.http1.prune(now));
        }
        self.applications.borrow_mut().retain(|_, state| {
            state.http1.prune(now);
            state.pending.get() > 0 || !state.http1.is_empty() || state.http2.is_open()
        });
        self.peers.borrow_mut().retain(|_, peer| peer.strong_count() > 0);
    }

    /// The count of requests that got no answer from an endpoint, for a Service.
    pub(crate) fn unanswered(&self, service: &str) -> Arc<RequestMetrics> {
        let labels = RequestLabels { direction: Direction::Outbound, destination: service, peer: "", tls: false };
        self.metrics.requests(&labels)
    }

    fn endpoint(&self, endpoint: Arc<Endpoint>, cluster: Option<&Arc<str>>, timeout: Duration) -> EndpointState {
        let mesh = endpoint.mesh.as_ref().map(|mesh| self.peer(mesh.address, &mesh.identity));
        let metrics = cluster.map(|cluster| {
            self.metrics.requests(&RequestLabels {
                direction: Direction::Outbound,
                destination: cluster,
                peer: endpoint.mesh.as_ref().map_or("", |mesh| mesh.identity.as_str()),
                tls: mesh.is_some(),
            })
        });
        let idle = if mesh.is_some() { http1::IDLE_TUNNEL } else { http1::IDLE_APPLICATION };
        EndpointState {
            endpoint,
            cluster: cluster.cloned().unwrap_or_default(),
            metrics,
            timeout,
            mark: self.mark,
            mesh,
            load: RefCell::new(PeakEwma::new(Instant::now())),
            pending: Cell::new(0),
            http1: http1::Pool::new(idle),
            http2: http2::Shared::default(),
        }
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

/// The application is on the same machine; it takes a connection at once or not at all.
const APPLICATION_TIMEOUT: Duration = Duration::from_secs(5);
/// What the application would see without a sidecar is a time-out of minutes; this is kinder and still patient.
const PASSTHROUGH_TIMEOUT: Duration = Duration::from_secs(30);
/// As how slow an endpoint counts that did not answer.
const FAILURE: Duration = Duration::from_secs(1);
/// How often an endpoint that was tried already is passed over before it is taken again.
const REDRAWS: usize = 4;

impl ClusterState {
    /// Picks an endpoint: the less loaded of two at random, not one of `tried` while there are others.
    pub(crate) fn pick(&self, upstreams: &Upstreams, tried: &[SocketAddr], now: Instant) -> Option<Rc<EndpointState>> {
        self.refresh(upstreams);
        let known = self.endpoints.borrow();
        let serving = known.states.get(..known.serving).filter(|serving| !serving.is_empty());
        let candidates = serving.unwrap_or(&known.states);
        let mut picked = None;
        for _ in 0..REDRAWS {
            picked = candidates.get(choose(candidates, rand::random(), |state| state.cost(now))?);
            let again = picked.is_some_and(|state| tried.contains(&state.endpoint.address));
            if !again {
                return picked.map(Rc::clone);
            }
        }
        let untried = candidates.iter().find(|state| !tried.contains(&state.endpoint.address));
        untried.or(picked).map(Rc::clone)
    }

    /// The cluster's name, for logs.
    pub(crate) fn name(&self) -> &str {
        &self.cluster.name
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

    /// Takes over new endpoints; the ones that stay keep their load and connections.
    fn refresh(&self, upstreams: &Upstreams) {
        let snapshot = self.cluster.endpoints();
        if Arc::ptr_eq(&snapshot, &self.endpoints.borrow().snapshot) {
            return;
        }
        let mut known = self.endpoints.borrow_mut();
        let mut old: HashMap<SocketAddr, Rc<EndpointState>> =
            known.states.drain(..).map(|state| (state.endpoint.address, state)).collect();
        let mut state_of = |endpoint: &Arc<Endpoint>| match old.remove(&endpoint.address) {
            Some(state) if state.endpoint.mesh == endpoint.mesh => state,
            _ => Rc::new(upstreams.endpoint(
                Arc::clone(endpoint),
                Some(&self.cluster.name),
                self.cluster.policy.connect_timeout,
            )),
        };
        let (serving, draining): (Vec<_>, Vec<_>) = snapshot.all.iter().partition(|endpoint| !endpoint.draining);
        known.states = serving.iter().chain(&draining).map(|endpoint| state_of(endpoint)).collect();
        known.serving = serving.len();
        known.snapshot = Arc::clone(&snapshot);
    }
}

impl EndpointState {
    fn cost(&self, now: Instant) -> f64 {
        self.load.borrow().cost(now, self.pending.get())
    }

    /// Sends a request in the version that it came in, and measures the endpoint by it.
    ///
    /// # Errors
    /// With whether the application may have seen the request.
    pub(crate) async fn send(self: &Rc<Self>, request: Request<Body>) -> Result<Response<Body>, SendError> {
        let mut lease = Lease::start(self);
        let sent = match request.version() {
            Version::HTTP_2 => self.send_http2(request).await,
            _ => self.send_http1(request).await.map(|(response, connection)| {
                lease.connection = Some(connection);
                response
            }),
        };
        lease.measure(sent.is_ok());
        sent.map(|response| response.map(|body| body.on_end(lease)))
    }

    /// Opens a connection for bytes.
    ///
    /// # Errors
    /// Where nobody takes it.
    pub(crate) async fn connect(&self) -> Result<Connection, SendError> {
        match &self.mesh {
            Some(peer) => Ok(Connection::Tunnel(peer.tunnel(self.endpoint.address, false, self.timeout).await?)),
            None => Ok(Connection::Socket(self.dial().await?)),
        }
    }

    async fn send_http1(&self, mut request: Request<Body>) -> Result<(Response<Body>, http1::Pooled), SendError> {
        // A pooled connection may just be closing; a request that it gives back untouched goes on to the next.
        while let Some(idle) = self.http1.checkout() {
            match http1::send(self.endpoint.address, idle, request).await {
                Ok(answered) => return Ok(answered),
                Err(http1::Failed { unsent: Some(untouched), .. }) => request = *untouched,
                Err(failed) => return Err(failed.error),
            }
        }
        let connection = self.connect_http1().await?;
        http1::send(self.endpoint.address, connection, request).await.map_err(|failed| failed.error)
    }

    async fn connect_http1(&self) -> Result<http1::Pooled, SendError> {
        let connected = match &self.mesh {
            Some(peer) => {
                let tunnel = Box::pin(peer.tunnel(self.endpoint.address, true, self.timeout)).await?;
                let ending = tunnel.ending();
                http1::handshake(tunnel, Some(ending)).await
            }
            None => http1::handshake(self.dial().await?, None).await,
        };
        connected.map_err(|source| SendError::Http { address: self.endpoint.address, source, unhandled: true })
    }

    async fn send_http2(&self, mut request: Request<Body>) -> Result<Response<Body>, SendError> {
        complete_uri(&mut request, self.endpoint.address);
        let Some(peer) = &self.mesh else {
            return self.http2.send(self.endpoint.address, request, || self.dial()).await;
        };
        if let Ok(destination) = self.endpoint.address.to_string().try_into() {
            request.headers_mut().insert(mesh::DESTINATION, destination);
        }
        Ok(peer.request(request, self.timeout).await?)
    }

    async fn dial(&self) -> Result<TcpStream, SendError> {
        let address = self.endpoint.address;
        let connected = socket::connect(address, self.mark, self.timeout).await;
        connected.map_err(|source| SendError::Connect { address, source })
    }
}

/// RFC 9113 8.3.1 wants a scheme and an authority of requests that are made anew.
fn complete_uri(request: &mut Request<Body>, address: SocketAddr) {
    if request.uri().scheme().is_some() && request.uri().authority().is_some() {
        return;
    }
    let host = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
    let authority = host.map_or_else(|| address.to_string(), str::to_owned);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if let Ok(uri) = http::Uri::builder().scheme("http").authority(authority).path_and_query(path).build() {
        *request.uri_mut() = uri;
    }
}

/// A request that an endpoint works on, and the connection that it holds meanwhile.
struct Lease {
    endpoint: Rc<EndpointState>,
    started: Instant,
    connection: Option<http1::Pooled>,
}

impl Lease {
    fn start(endpoint: &Rc<EndpointState>) -> Self {
        endpoint.pending.set(endpoint.pending.get() + 1);
        Self { endpoint: Rc::clone(endpoint), started: Instant::now(), connection: None }
    }

    /// The endpoint is as fast as it was to answer this; one that fails at once must not look fast.
    fn measure(&self, answered: bool) {
        let now = Instant::now();
        let took = now.duration_since(self.started);
        let observed = if answered { took } else { took.max(FAILURE) };
        self.endpoint.load.borrow_mut().observe(now, observed);
    }
}

impl OnEnd for Lease {
    fn complete(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.endpoint.http1.give_back(connection);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.pending.set(self.endpoint.pending.get().saturating_sub(1));
    }
}
