//! The inbound itinerary: what arrives for the application, from the wire to the application's own socket.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use weft_certs::spiffe::SpiffeId;

use crate::config::ApplicationAddress;
use crate::discovery::{Mtls, PortPolicy, Protocol};
use crate::path::accept;
use crate::path::body::Body;
use crate::path::connection::Connection;
use crate::path::detect::{self, Detected};
use crate::path::http::{self as http_path, Version};
use crate::path::mesh::{self, MeshListener, ReadAhead, TunnelRequest};
use crate::path::prefixed::Prefixed;
use crate::path::upstream::Carried;
use crate::path::{application, copy, http1, http2, socket, tls};
use crate::telemetry::metrics::{Direction, Refusal, RequestLabels, RequestMetrics, WireProtocol};
use crate::worker::Worker;

/// Who is calling, and which of the pod's ports: all that is known of an inbound connection.
pub(crate) struct Caller {
    /// None: plaintext, nobody has proven anything.
    pub(crate) peer: Option<SpiffeId>,
    /// The pod's own address and port, as the caller sees it.
    pub(crate) destination: SocketAddr,
    /// `NAMESPACE/WORKLOAD:PORT`, for telemetry.
    pub(crate) service: Arc<str>,
    /// What its requests are counted by.
    pub(crate) metrics: Arc<RequestMetrics>,
}

impl Caller {
    fn new(worker: &Worker, peer: Option<SpiffeId>, destination: SocketAddr) -> Rc<Self> {
        let identity = &worker.config.identity;
        // A port that nobody declared is the caller's choice, and no label may be.
        let port = match worker.directory.inbound().declares(destination.port()) {
            true => destination.port().to_string(),
            false => "undeclared".to_owned(),
        };
        let service = format!("{}/{}:{port}", identity.spiffe_id.namespace(), identity.workload);
        let metrics = worker.telemetry.metrics.requests(&RequestLabels {
            direction: Direction::Inbound,
            destination: &service,
            peer: peer.as_ref().map_or("", SpiffeId::as_str),
            tls: peer.is_some(),
        });
        Rc::new(Self { peer, destination, service: service.into(), metrics })
    }
}

/// Ports of one peer's connection that are remembered; a pod has few.
const MAX_CALLERS: usize = 64;

/// Serves one connection on the mesh's own door.
pub(crate) async fn serve_mesh(worker: Rc<Worker>, stream: TcpStream) {
    let Ok(local) = stream.local_addr().map(socket::canonical) else { return };
    if socket::expect_reader(&stream).is_err() {
        return;
    }
    // Boxed: the handshake's state is large and soon over.
    let accepted = Box::pin(tls::accept(ReadAhead::new(stream), Arc::clone(&worker.tls.mesh))).await;
    match accepted {
        Ok((stream, peer)) => {
            let _open = worker.telemetry.connection(Direction::Inbound, WireProtocol::Mesh);
            let drain = worker.drain.inbound.clone();
            let listener = Rc::new(Peer { worker, peer, local, callers: RefCell::default() });
            mesh::serve_connection(stream, listener, drain).await;
        }
        Err(error) => {
            worker.telemetry.metrics.refused(Refusal::Handshake);
            tracing::info!(%error, "a mesh connection is refused");
        }
    }
}

/// Serves one connection that was redirected on its way to the application.
pub(crate) async fn serve_redirected(worker: Rc<Worker>, stream: TcpStream) {
    let destination = match accept::original_destination(&stream) {
        Ok(original) => original.0,
        Err(error) => {
            worker.telemetry.metrics.refused(Refusal::NotRedirected);
            return tracing::warn!(%error, "an inbound connection is refused");
        }
    };
    if let Err(error) = redirected(&worker, stream, destination).await {
        tracing::debug!(%destination, %error, "an inbound connection ended in an error");
    }
}

async fn redirected(worker: &Rc<Worker>, mut stream: TcpStream, destination: SocketAddr) -> io::Result<()> {
    let policy = worker.directory.inbound().port(destination.port()).clone();
    let mut read = BytesMut::new();
    // Also on an opaque port the first bytes may be a mesh client's; only where the application may have to speak first
    // is there no time to wait for them.
    let detected = if policy.mtls == Mtls::Strict || policy.protocol == Protocol::Http {
        detect::conclude(&mut stream, &mut read, http_path::IDLE).await?
    } else {
        detect::detect(&mut stream, &mut read, worker.config.inbound.detect_timeout).await?
    };
    if detected == Detected::Tls {
        let name = Box::pin(tls::server_name(&mut stream, &mut read)).await?;
        if name.as_ref() == Some(&worker.tls.server_name) {
            return Box::pin(direct(worker, Prefixed::new(read.freeze(), stream), destination)).await;
        }
    }
    if policy.mtls == Mtls::Strict {
        worker.telemetry.metrics.refused(Refusal::Plaintext);
        tracing::info!(%destination, "refused: the port takes mutual TLS alone (weft.dev/mtls: strict)");
        socket::reset_on_close(&stream);
        return Ok(());
    }
    let caller = Caller::new(worker, None, destination);
    match http_version(&policy, detected) {
        Some(version) => serve_http(worker, Connection::Socket(stream), read.freeze(), version, caller).await,
        None => to_application(worker, stream, read.freeze(), destination).await?,
    }
    Ok(())
}

/// A mesh client without a sidecar that dials the pod itself, by the server name of the pod's identity.
async fn direct<I>(worker: &Rc<Worker>, io: I, destination: SocketAddr) -> io::Result<()>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let accepted = Box::pin(tls::accept(io, Arc::clone(&worker.tls.direct))).await;
    let (mut stream, peer) = match accepted {
        Ok(accepted) => accepted,
        Err(error) => {
            worker.telemetry.metrics.refused(Refusal::Handshake);
            return Err(io::Error::other(error));
        }
    };
    let _open = worker.telemetry.connection(Direction::Inbound, WireProtocol::Mesh);
    let policy = worker.directory.inbound().port(destination.port()).clone();
    let mut read = BytesMut::new();
    let detected = match policy.protocol {
        Protocol::Opaque => Detected::Opaque,
        _ => detect::detect(&mut stream, &mut read, worker.config.inbound.detect_timeout).await?,
    };
    let caller = Caller::new(worker, Some(peer), destination);
    let io = Prefixed::new(read.freeze(), stream);
    match http_version(&policy, detected) {
        Some(version) => {
            let _open = worker.telemetry.connection(Direction::Inbound, WireProtocol::Http);
            http_path::serve(io, version, &worker.drain.inbound, handler(worker, caller)).await;
            Ok(())
        }
        None => {
            let (application, _carried) = application_socket(worker, destination).await?;
            copy::socket_and_stream(application, Bytes::new(), io).await
        }
    }
}

/// The HTTP version to serve; none: bytes. What is not HTTP on a port that is declared HTTP is for the server to refuse.
fn http_version(policy: &PortPolicy, detected: Detected) -> Option<Version> {
    match (policy.protocol, detected) {
        (Protocol::Opaque, _) => None,
        (_, Detected::Http2) => Some(Version::Http2),
        (_, Detected::Http1) | (Protocol::Http, _) => Some(Version::Http1),
        (Protocol::Detect, _) => None,
    }
}

async fn serve_http(worker: &Rc<Worker>, connection: Connection, read: Bytes, version: Version, caller: Rc<Caller>) {
    let _open = worker.telemetry.connection(Direction::Inbound, WireProtocol::Http);
    let (drain, handle) = (&worker.drain.inbound, handler(worker, caller));
    match version {
        Version::Http1 => http1::server::serve(connection, read, drain, handle).await,
        Version::Http2 => Box::pin(http2::server::serve(Prefixed::new(read, connection), drain, handle)).await,
    }
}

/// What answers the requests of one caller.
fn handler(worker: &Rc<Worker>, caller: Rc<Caller>) -> impl AsyncFn(Request<Body>) -> Response<Body> + 'static {
    let worker = Rc::clone(worker);
    async move |request| application::request(&worker, &caller, request).await
}

async fn to_application(
    worker: &Rc<Worker>,
    stream: TcpStream,
    read: Bytes,
    destination: SocketAddr,
) -> io::Result<()> {
    let _open = worker.telemetry.connection(Direction::Inbound, WireProtocol::Opaque);
    match application_socket(worker, destination).await {
        Ok((application, _carried)) => {
            let (client, application) = (Connection::Socket(stream), Connection::Socket(application));
            copy::connections(client, read, application, Bytes::new()).await
        }
        Err(error) => {
            socket::reset_on_close(&stream);
            Err(error)
        }
    }
}

async fn application_socket(worker: &Rc<Worker>, destination: SocketAddr) -> io::Result<(TcpStream, Carried)> {
    let application = worker.upstreams.application(application_address(worker, destination));
    match application.connect().await {
        Ok((Connection::Socket(socket), carried)) => Ok((socket, carried)),
        Ok((Connection::Tunnel(_), _)) => Err(io::Error::other("the application is no sidecar")),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Where the application listens: on the pod's own address, or on loopback where that was asked for.
pub(crate) fn application_address(worker: &Worker, destination: SocketAddr) -> SocketAddr {
    match worker.config.inbound.application {
        ApplicationAddress::Pod => destination,
        ApplicationAddress::Loopback if destination.is_ipv4() => ([127, 0, 0, 1], destination.port()).into(),
        ApplicationAddress::Loopback => (std::net::Ipv6Addr::LOCALHOST, destination.port()).into(),
    }
}

/// One peer's connection to the mesh's door.
struct Peer {
    worker: Rc<Worker>,
    peer: SpiffeId,
    local: SocketAddr,
    /// By the port that is called.
    callers: RefCell<HashMap<u16, Rc<Caller>>>,
}

impl Peer {
    /// A peer may reach this pod's application and nothing else: no other address, none of the proxy's own ports.
    fn is_mine(&self, destination: SocketAddr) -> bool {
        let config = &self.worker.config;
        let own = [
            config.outbound.port,
            config.inbound.port,
            config.inbound.mesh_port,
            config.admin.port,
            config.admin.metrics_port,
        ];
        let ip = destination.ip().to_canonical();
        (ip == self.local.ip() || config.identity.addresses.contains(&ip)) && !own.contains(&destination.port())
    }

    fn caller(&self, destination: SocketAddr) -> Rc<Caller> {
        let mut callers = self.callers.borrow_mut();
        if let Some(caller) = callers.get(&destination.port()) {
            return Rc::clone(caller);
        }
        if callers.len() >= MAX_CALLERS {
            callers.clear();
        }
        let caller = Caller::new(&self.worker, Some(self.peer.clone()), destination);
        callers.insert(destination.port(), Rc::clone(&caller));
        caller
    }
}

impl MeshListener for Peer {
    async fn request(&self, destination: SocketAddr, request: Request<Body>) -> Response<Body> {
        if !self.is_mine(destination) {
            return application::not_mine(request.headers());
        }
        application::request(&self.worker, &self.caller(destination), request).await
    }

    async fn http1(&self, destination: SocketAddr, tunnel: TunnelRequest) {
        if !self.is_mine(destination) {
            return tunnel.refuse(StatusCode::MISDIRECTED_REQUEST, "not_mine");
        }
        if let Ok(tunnel) = tunnel.accept() {
            let (connection, caller) = (Connection::Tunnel(tunnel), self.caller(destination));
            serve_http(&self.worker, connection, Bytes::new(), Version::Http1, caller).await;
        }
    }

    async fn opaque(&self, destination: SocketAddr, tunnel: TunnelRequest) {
        if !self.is_mine(destination) {
            return tunnel.refuse(StatusCode::MISDIRECTED_REQUEST, "not_mine");
        }
        // Who declares HTTP gets HTTP, whatever the caller calls it.
        if self.worker.directory.inbound().port(destination.port()).protocol == Protocol::Http {
            let Ok(mut tunnel) = tunnel.accept() else { return };
            let mut read = BytesMut::new();
            let version = match detect::http_version(&mut tunnel, &mut read).await {
                Ok(Detected::Http2) => Version::Http2,
                Ok(_) => Version::Http1,
                Err(_) => return,
            };
            let (connection, caller) = (Connection::Tunnel(tunnel), self.caller(destination));
            // Boxed: it is rare, and what passes bytes on needs less.
            return Box::pin(serve_http(&self.worker, connection, read.freeze(), version, caller)).await;
        }
        let _open = self.worker.telemetry.connection(Direction::Inbound, WireProtocol::Opaque);
        // Boxed: it is large and soon over.
        match Box::pin(application_socket(&self.worker, destination)).await {
            Ok((application, _carried)) => {
                let Ok(tunnel) = tunnel.accept() else { return };
                let (tunnel, application) = (Connection::Tunnel(tunnel), Connection::Socket(application));
                if let Err(error) = copy::connections(tunnel, Bytes::new(), application, Bytes::new()).await {
                    tracing::debug!(%destination, %error, "an opaque connection broke");
                }
            }
            Err(error) => {
                tracing::info!(%destination, %error, "the application does not take a connection");
                tunnel.refuse(StatusCode::SERVICE_UNAVAILABLE, "connect_failed");
            }
        }
    }
}
