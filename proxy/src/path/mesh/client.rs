//! The calling side: one connection to a peer pod, dialled when it is needed and shared by all that flows there.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use rustls::ClientConfig;
use tokio_rustls::TlsConnector;
use weft_certs::identity::WorkloadIdentity;
use weft_certs::spiffe::SpiffeId;

use super::{PROTOCOL, PROTOCOL_HTTP1, ReadAhead, Tunnel};
use crate::path::body::Body;
use crate::path::http2::client::Failed;
use crate::path::{http2, socket};

/// Streams that may be opened before the peer's settings are known.
const INITIAL_STREAMS: usize = 256;

/// A peer pod's mesh listener and the connection to it. Belongs to one worker.
pub(crate) struct MeshPeer {
    address: SocketAddr,
    expected: SpiffeId,
    tls: Arc<ClientConfig>,
    mark: Option<u32>,
    open: RefCell<Option<Open>>,
    /// Held while dialling, so that all who wait share one dial.
    dialling: tokio::sync::Mutex<()>,
}

struct Open {
    sender: SendRequest<Bytes>,
    since: Instant,
}

/// What a caller puts up with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How long the connection, or a tunnel, may take to be established.
    pub(crate) connect: Duration,
    /// A connection that is older is replaced by a new one; what is under way on it ends there.
    pub(crate) max_age: Option<Duration>,
}

/// Why something did not get through to a peer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MeshError {
    #[error(
        "cannot connect to the sidecar at {address}: {source}; is the pod up, does a NetworkPolicy block the port?"
    )]
    Connect { address: SocketAddr, source: io::Error },
    #[error("mutual TLS with {address} failed, expected {expected}: {}", weft_certs::tls::explain(.source))]
    Tls { address: SocketAddr, expected: SpiffeId, source: io::Error },
    #[error("the sidecar at {address} did not open a stream: {source}")]
    Open { address: SocketAddr, source: h2::Error },
    #[error("the sidecar at {address} broke off: {source}")]
    Stream { address: SocketAddr, source: h2::Error },
    #[error("the sidecar at {address} refused: {status} {reason}")]
    Refused { address: SocketAddr, status: StatusCode, reason: String },
}

impl MeshError {
    /// Whether it is certain that the application saw nothing of it.
    pub(crate) fn is_unhandled(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Tls { .. } | Self::Open { .. } | Self::Refused { .. } => true,
            Self::Stream { .. } => false,
        }
    }
}

impl MeshPeer {
    pub(crate) fn new(
        address: SocketAddr,
        expected: SpiffeId,
        identity: &WorkloadIdentity,
        mark: Option<u32>,
    ) -> Rc<Self> {
        let (open, dialling) = (RefCell::new(None), tokio::sync::Mutex::new(()));
        let tls = weft_certs::tls::mesh_client(identity, &expected);
        Rc::new(Self { address, expected, tls, mark, open, dialling })
    }

    /// Opens a byte stream to an address of the peer's pod.
    ///
    /// # Errors
    /// [`MeshError::Refused`] where the peer's application does not take the connection.
    pub(crate) async fn tunnel(
        &self,
        destination: SocketAddr,
        http1: bool,
        patience: Patience,
    ) -> Result<Tunnel, MeshError> {
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = authority(destination);
        if http1 {
            request.headers_mut().insert(PROTOCOL, HeaderValue::from_static(PROTOCOL_HTTP1));
        }
        // Nothing goes through a tunnel before it is open, so whatever fails until then has reached nobody.
        let unopened = |source| MeshError::Open { address: self.address, source };
        let mut sender = self.sender(patience).await?;
        let (response, send) = sender.send_request(request, false).map_err(unopened)?;
        let response = match tokio::time::timeout(patience.connect, response).await {
            Ok(response) => response.map_err(unopened)?,
            Err(_) => {
                let source = io::Error::new(io::ErrorKind::TimedOut, "the stream was not accepted in time");
                return Err(MeshError::Connect { address: self.address, source });
            }
        };
        if !response.status().is_success() {
            return Err(self.refused(&response));
        }
        Ok(Tunnel::new(send, response.into_body()))
    }

    /// Sends a request on a stream of its own.
    ///
    /// # Errors
    /// With whether the peer may have handled it, see [`MeshError::is_unhandled`].
    pub(crate) async fn request(
        &self,
        request: &mut Request<Body>,
        patience: Patience,
    ) -> Result<Response<Body>, MeshError> {
        let (sender, address) = (self.sender(patience).await?, self.address);
        http2::client::send(sender, request).await.map_err(|failed| match failed {
            Failed { error: source, unhandled: true } => MeshError::Open { address, source },
            Failed { error: source, unhandled: false } => MeshError::Stream { address, source },
        })
    }

    /// The connection, dialled anew where there is none, it takes no more streams, or is too old.
    async fn sender(&self, patience: Patience) -> Result<SendRequest<Bytes>, MeshError> {
        if let Some(sender) = self.usable(patience.max_age).await {
            return Ok(sender);
        }
        let dialled = async {
            let _dialling = self.dialling.lock().await;
            if let Some(sender) = self.usable(patience.max_age).await {
                return Ok(sender);
            }
            let sender = self.dial(patience.connect).await?;
            // One that is replaced ends when its last stream has.
            *self.open.borrow_mut() = Some(Open { sender: sender.clone(), since: Instant::now() });
            Ok(sender)
        };
        let timed_out = |_| MeshError::Connect {
            address: self.address,
            source: io::Error::new(io::ErrorKind::TimedOut, "no mesh connection in time"),
        };
        // Boxed: dialling is rare and its future is large. The time-out is also for those who wait behind others.
        tokio::time::timeout(patience.connect, Box::pin(dialled)).await.map_err(timed_out)?
    }

    async fn usable(&self, max_age: Option<Duration>) -> Option<SendRequest<Bytes>> {
        let (sender, since) = {
            let open = self.open.borrow();
            let open = open.as_ref().filter(|open| max_age.is_none_or(|max| open.since.elapsed() < max))?;
            (open.sender.clone(), open.since)
        };
        match sender.ready().await {
            Ok(sender) => Some(sender),
            Err(_) => {
                // Somebody else may have dialled meanwhile.
                self.open.borrow_mut().take_if(|open| open.since == since);
                None
            }
        }
    }

    async fn dial(&self, timeout: Duration) -> Result<SendRequest<Bytes>, MeshError> {
        let address = self.address;
        let connected = socket::connect(address, self.mark, timeout).await;
        let stream = connected
            .and_then(|stream| socket::expect_reader(&stream).map(|()| stream))
            .map_err(|source| MeshError::Connect { address, source })?;
        let tls_error = |source| MeshError::Tls { address, expected: self.expected.clone(), source };
        let name = weft_certs::tls::server_name(&self.expected);
        let mut stream =
            TlsConnector::from(Arc::clone(&self.tls)).connect(name, ReadAhead::new(stream)).await.map_err(tls_error)?;
        stream.get_mut().1.set_buffer_limit(Some(super::TLS_BUFFER));
        let opened = http2::client::open(stream, builder(), format!("{} at {address}", self.expected)).await;
        opened.map_err(|source| MeshError::Open { address, source })
    }

    fn refused<B>(&self, response: &Response<B>) -> MeshError {
        let reason = response.headers().get(crate::path::answer::REASON).and_then(|reason| reason.to_str().ok());
        let reason = reason.unwrap_or("without a reason").to_owned();
        MeshError::Refused { address: self.address, status: response.status(), reason }
    }
}

/// What is particular to connections between sidecars.
pub(super) fn builder() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_max_send_streams(INITIAL_STREAMS)
        .max_frame_size(super::MAX_FRAME)
        .max_pending_accept_reset_streams(super::MAX_PENDING_RESETS)
        .max_concurrent_reset_streams(super::MAX_PENDING_RESETS);
    builder
}

fn authority(destination: SocketAddr) -> Uri {
    // An address is always an authority.
    Uri::try_from(destination.to_string()).unwrap_or_default()
}
