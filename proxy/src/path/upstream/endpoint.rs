//! One worker's view of an endpoint: its load, its connections, and the way to send something there.

mod connections;
mod load;

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response, Version};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use weft_rules::balance::PeakEwma;
use weft_rules::outlier::Observation;

use super::SendError;
use super::cluster::Core;
use super::{http1, http2};
use crate::discovery::Endpoint;
use crate::path::body::Body;
use crate::path::connection::Connection;
use crate::path::http1::client::is_ordinary;
use crate::path::mesh::{self, MeshPeer};
use crate::path::socket;
use crate::telemetry::metrics::RequestMetrics;
use load::{Lease, Load};

/// One worker's view of an endpoint.
pub(crate) struct EndpointState {
    pub(crate) endpoint: Arc<Endpoint>,
    /// The cluster's name; empty for the pod's own application.
    pub(crate) cluster: Arc<str>,
    /// What its requests are counted by; the pod's own application is counted by caller.
    pub(crate) metrics: Option<Arc<RequestMetrics>>,
    /// What it shares with its cluster; the pod's own application has none.
    core: Option<Rc<Core>>,
    reach: Reach,
    load: RefCell<PeakEwma>,
    pending: Cell<u32>,
    standing: Standing,
    http1: http1::Pool,
    http2: OnceCell<Box<http2::Shared>>,
}

/// How connections to an endpoint are made.
pub(super) struct Reach {
    /// How long one may take to be established.
    pub(super) timeout: Duration,
    /// The mark that the redirect rules let pass.
    pub(super) mark: Option<u32>,
    /// The endpoint's sidecar.
    pub(super) mesh: Option<Rc<MeshPeer>>,
    /// After how long without use one is closed; `None`: as is good for what is at the other end.
    pub(super) idle_timeout: Option<Duration>,
    /// How old one may be and still be given something new.
    pub(super) max_age: Option<Duration>,
}

impl Reach {
    fn patience(&self) -> Duration {
        let usual = if self.mesh.is_some() { http1::IDLE_TUNNEL } else { http1::IDLE_APPLICATION };
        self.idle_timeout.unwrap_or(usual)
    }
}

/// What the cluster makes of an endpoint.
#[derive(Default)]
pub(super) struct Standing {
    /// Whether it is among those that are picked from.
    pub(super) usable: Cell<bool>,
    /// Whether it is in the pod's own zone, where that matters.
    pub(super) here: Cell<bool>,
    /// Whether its cluster has it no more.
    pub(super) gone: Cell<bool>,
    /// Whether health checks failed when it was last looked at.
    unhealthy: Cell<bool>,
    /// Since when it gets its share slowly; `None`: it has its full share.
    pub(super) new_since: Cell<Option<Instant>>,
}

impl Standing {
    /// Takes over its health; whether it was bad before and is good now.
    pub(super) fn recovers(&self, healthy: bool) -> bool {
        self.unhealthy.replace(!healthy) && healthy
    }
}

/// What a connection for bytes counts for as long as it is open: load on the endpoint, and one of the cluster's
/// connections where those are limited.
#[must_use = "the connection counts as closed when this is dropped"]
pub(crate) struct Carried {
    /// How long it may be open; `None`: as long as it likes.
    pub(crate) max_age: Option<Duration>,
    _load: Load,
    _permit: Option<OwnedSemaphorePermit>,
}

impl EndpointState {
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        core: Option<Rc<Core>>,
        reach: Reach,
        metrics: Option<Arc<RequestMetrics>>,
        now: Instant,
    ) -> Self {
        Self {
            cluster: core.as_ref().map(|core| Arc::clone(&core.cluster.name)).unwrap_or_default(),
            endpoint,
            core,
            metrics,
            load: RefCell::new(PeakEwma::new(now)),
            pending: Cell::new(0),
            standing: Standing::default(),
            http1: http1::Pool::new(reach.patience(), reach.max_age),
            http2: OnceCell::new(),
            reach,
        }
    }

    /// Sends a request in the version that it came in, and measures the endpoint by it. Where the cluster has as many
    /// connections as it may, the request waits for one, at most for the connect time-out.
    ///
    /// # Errors
    /// With whether the application may have seen the request.
    pub(crate) async fn send(self: &Rc<Self>, mut request: Request<Body>) -> Result<Response<Body>, SendError> {
        let mut lease = Lease::start(self);
        let sent = match request.version() {
            Version::HTTP_2 => self.send_http2(&mut request).await,
            _ => self.send_http1(&mut request).await.map(|(response, connection)| {
                lease.connection = Some(connection);
                response
            }),
        };
        match &sent {
            // Says nothing about the endpoint.
            Err(SendError::Overflow(_)) => {}
            sent => lease.measure(sent.is_ok()),
        }
        sent.map(|response| response.map(|body| body.on_end(lease)))
    }

    /// Opens a connection for bytes, and tells the outlier detection whether it could be opened.
    ///
    /// # Errors
    /// Where nobody takes it, or the cluster has as many connections as it may.
    pub(crate) async fn connect(self: &Rc<Self>) -> Result<(Connection, Carried), SendError> {
        let opened = self.open().await;
        match &opened {
            Ok(_) => self.observe(Observation::Success),
            Err(SendError::Overflow(_)) => {}
            Err(_) => self.observe(Observation::GatewayFailure),
        }
        opened
    }

    /// Opens a connection for bytes.
    pub(super) async fn open(self: &Rc<Self>) -> Result<(Connection, Carried), SendError> {
        let load = Load::add(self);
        let permit = self.permit().await?;
        let connection = match &self.reach.mesh {
            Some(peer) => Connection::Tunnel(peer.tunnel(self.endpoint.address, false, self.patience()).await?),
            None => Connection::Socket(self.dial().await?),
        };
        let max_age = self.core.as_ref().and_then(|core| core.cluster.policy.max_stream_age);
        Ok((connection, Carried { max_age, _load: load, _permit: permit }))
    }

    /// Tells the outlier detection how an attempt went.
    pub(crate) fn observe(&self, observation: Observation) {
        if let Some(core) = &self.core {
            core.observe(self.endpoint.address, observation);
        }
    }

    /// What one more request would meet, in nanoseconds.
    pub(super) fn cost(&self, now: Instant) -> f64 {
        self.load.borrow().cost(now, self.pending.get())
    }

    /// Requests and connections for bytes that it has now.
    pub(super) fn pending(&self) -> u32 {
        self.pending.get()
    }

    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    async fn send_http1(&self, request: &mut Request<Body>) -> Result<(Response<Body>, http1::Pooled), SendError> {
        // A pooled connection may just be closing; a request that it gives back untouched goes on to the next.
        let kind = if is_ordinary(request) { http1::Kind::Ordinary } else { http1::Kind::Any };
        loop {
            let (connection, is_new) = match self.http1.checkout(kind) {
                Some(idle) => (idle, false),
                // Boxed: it is rare, and its future large.
                None => Box::pin(self.http1_connection(kind)).await?,
            };
            match http1::send(self.endpoint.address, connection, request).await {
                Ok(answered) => return Ok(answered),
                Err(http1::Failed { is_unsent: true, .. }) if !is_new => {}
                Err(failed) => return Err(failed.error),
            }
        }
    }

    async fn send_http2(&self, request: &mut Request<Body>) -> Result<Response<Body>, SendError> {
        complete_uri(request, self.endpoint.address);
        let Some(peer) = &self.reach.mesh else {
            let http2 = self.http2.get_or_init(Box::default);
            let sender = match http2.usable(self.reach.max_age) {
                Some(sender) => sender,
                None => Box::pin(self.connect_http2(http2)).await?,
            };
            return http2.send(self.endpoint.address, sender, request).await;
        };
        if let Ok(destination) = self.endpoint.address.to_string().try_into() {
            request.headers_mut().insert(mesh::DESTINATION, destination);
        }
        Ok(peer.request(request, self.patience()).await?)
    }

    fn patience(&self) -> mesh::Patience {
        mesh::Patience { connect: self.reach.timeout, max_age: self.reach.max_age }
    }

    async fn dial(&self) -> Result<TcpStream, SendError> {
        let address = self.endpoint.address;
        let connected = socket::connect(address, self.reach.mark, self.reach.timeout).await;
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
