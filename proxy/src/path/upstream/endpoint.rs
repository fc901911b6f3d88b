//! One worker's view of an endpoint: its load, its connections, and the way to send something there.

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
use super::held::Held;
use super::limits::Limiter;
use super::{http1, http2};
use crate::discovery::Endpoint;
use crate::path::body::Body;
use crate::path::mesh::{self, MeshPeer, Tunnel};
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

/// An opened connection for bytes.
pub(crate) enum Connection {
    Socket(TcpStream),
    Tunnel(Tunnel),
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

/// Leave to use a connection.
enum Slot {
    /// To open one.
    New(Option<OwnedSemaphorePermit>),
    /// To use one that has become idle.
    Idle(http1::Pooled),
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
    pub(crate) async fn send(self: &Rc<Self>, request: Request<Body>) -> Result<Response<Body>, SendError> {
        let mut lease = Lease::start(self);
        let sent = match request.version() {
            Version::HTTP_2 => self.send_http2(request).await,
            _ => self.send_http1(request).await.map(|(response, connection)| {
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

    /// Closes connections that were idle for too long.
    pub(super) fn prune(&self, now: Instant) {
        self.http1.prune(now);
        if let Some(http2) = self.http2.get().filter(|_| self.pending.get() == 0) {
            // Without a policy it stays for as long as the other side lets it.
            self.reach.idle_timeout.inspect(|patience| http2.prune(now, *patience));
        }
    }

    /// Closes all connections that nobody uses, for others who need them more.
    pub(super) fn close_idle(&self) {
        self.http1.clear();
        if let Some(http2) = self.http2.get().filter(|_| self.pending.get() == 0) {
            http2.clear();
        }
    }

    /// Whether it has a connection or something under way.
    pub(super) fn is_used(&self) -> bool {
        self.pending.get() > 0 || !self.http1.is_empty() || self.http2.get().is_some_and(|http2| http2.is_open())
    }

    async fn send_http1(&self, mut request: Request<Body>) -> Result<(Response<Body>, http1::Pooled), SendError> {
        // A pooled connection may just be closing; a request that it gives back untouched goes on to the next.
        loop {
            let slot = match self.http1.checkout() {
                Some(idle) => Slot::Idle(idle),
                None => self.slot().await?,
            };
            let (connection, is_new) = match slot {
                Slot::Idle(idle) => (idle, false),
                Slot::New(permit) => (self.connect_http1(permit).await?, true),
            };
            match http1::send(self.endpoint.address, connection, request).await {
                Ok(answered) => return Ok(answered),
                Err(http1::Failed { unsent: Some(untouched), .. }) if !is_new => request = *untouched,
                Err(failed) => return Err(failed.error),
            }
        }
    }

    async fn connect_http1(&self, permit: Option<OwnedSemaphorePermit>) -> Result<http1::Pooled, SendError> {
        let connected = match &self.reach.mesh {
            Some(peer) => {
                let tunnel = Box::pin(peer.tunnel(self.endpoint.address, true, self.patience())).await?;
                let ending = tunnel.ending();
                http1::handshake(tunnel, permit, Some(ending)).await
            }
            None => http1::handshake(self.dial().await?, permit, None).await,
        };
        connected.map_err(|source| SendError::Http { address: self.endpoint.address, source, unhandled: true })
    }

    async fn send_http2(&self, mut request: Request<Body>) -> Result<Response<Body>, SendError> {
        complete_uri(&mut request, self.endpoint.address);
        let Some(peer) = &self.reach.mesh else {
            let http2 = self.http2.get_or_init(|| Box::new(http2::Shared::new()));
            let bounds = http2::Bounds { connect_timeout: self.reach.timeout, max_age: self.reach.max_age };
            let dial = async || {
                let permit = self.permit().await?;
                Ok(Held::new(self.dial().await?, permit))
            };
            return http2.send(self.endpoint.address, request, bounds, dial).await;
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

    /// The limits of connections, where there are any.
    fn limiter(&self) -> Option<&Limiter> {
        let limiter = self.core.as_ref()?.limiter.as_deref()?;
        limiter.limits_connections().then_some(limiter)
    }

    /// Leave to open a connection.
    async fn permit(&self) -> Result<Option<OwnedSemaphorePermit>, SendError> {
        let Some(limiter) = self.limiter() else { return Ok(None) };
        if let Some(permit) = limiter.try_connection() {
            return Ok(Some(permit));
        }
        let _waiting = limiter.wait()?;
        match tokio::time::timeout(self.reach.timeout, limiter.connection()).await {
            Ok(permit) => Ok(permit),
            Err(_) => Err(limiter.no_connection().into()),
        }
    }

    /// Leave to open a connection for HTTP/1, or an idle one that somebody else has opened.
    async fn slot(&self) -> Result<Slot, SendError> {
        let Some(limiter) = self.limiter() else { return Ok(Slot::New(None)) };
        if let Some(permit) = limiter.try_connection() {
            return Ok(Slot::New(Some(permit)));
        }
        let _waiting = limiter.wait()?;
        tokio::select! {
            permit = limiter.connection() => Ok(Slot::New(permit)),
            idle = self.http1.next_idle() => Ok(Slot::Idle(idle)),
            () = tokio::time::sleep(self.reach.timeout) => Err(limiter.no_connection().into()),
        }
    }

    /// Lets the HTTP/2 connection go when nothing is under way on it and others wait for one.
    fn make_room(&self) {
        if self.pending.get() == 0
            && let Some(http2) = self.http2.get()
            && self.limiter().is_some_and(|limiter| limiter.waiting() > 0)
        {
            http2.clear();
        }
    }

    /// Keeps an idle connection, unless those who wait for one elsewhere need the room. They get their part: as many of
    /// the connections as they are among all who wait.
    fn give_back(&self, connection: http1::Pooled) {
        if let Some(limiter) = self.limiter() {
            let (here, all) = (self.http1.waiting(), limiter.waiting());
            if all > here && rand::random_range(0..all) >= here {
                return;
            }
        }
        self.http1.give_back(connection);
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
