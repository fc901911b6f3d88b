//! The TLS door of the control plane (15012), for [`tonic::transport::Server::serve_with_incoming`].
//!
//! Handshakes run beside each other, so that a slow client delays nobody, and in bounded number and time, so that many
//! slow clients exhaust nothing. Every connection carries its [`Peer`] into the extensions of its requests.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use weft_certs::spiffe::SpiffeId;
use weft_certs::tls::{self, PeerCertificate, PeerIdError};

#[cfg(test)]
mod tests;

/// Handshakes that may be under way at a time. More clients wait in the kernel's queue.
const MAX_HANDSHAKES: usize = 1024;
/// How long a client may take for its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after the kernel refused to accept, for want of file descriptors usually.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long written bytes may stay unacknowledged before the connection counts as dead (`TCP_USER_TIMEOUT`).
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// A silent connection is probed after this long, and at this interval.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Who is at the other end of a connection. In the extensions of each of its requests.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it comes from.
    pub address: SocketAddr,
    /// The certificate that it showed in the handshake, verified then; `None` when it showed none.
    pub certificate: Option<PeerCertificate>,
}

impl Peer {
    /// The peer's SPIFFE id, if it showed a certificate.
    pub fn id(&self) -> Option<&SpiffeId> {
        self.certificate.as_ref().map(|certificate| &certificate.id)
    }
}

/// A connection whose handshake is done.
pub struct TlsConnection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
}

/// Accepts connections and yields those that finish their handshake, until the stream is dropped.
///
/// `config` is usually [`tls::control_server`]. The stream never yields an error: a bad connection is logged and closed.
pub fn incoming(listener: TcpListener, config: Arc<ServerConfig>) -> ReceiverStream<io::Result<TlsConnection>> {
    let (ready, connections) = mpsc::channel(16);
    tokio::spawn(accept(listener, TlsAcceptor::from(config), ready));
    ReceiverStream::new(connections)
}

type Ready = mpsc::Sender<io::Result<TlsConnection>>;

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, ready: Ready) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let Ok(permit) = handshakes.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ready.closed() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection; are there file descriptors left (ulimit -n)?");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            match handshake(stream, address, &acceptor).await {
                // Fails only when nobody is serving any more.
                Ok(connection) => drop(ready.send(Ok(connection)).await),
                Err(cause) => tracing::info!(peer = %address, cause, "refused a connection"),
            }
            drop(permit);
        });
    }
}

async fn handshake(stream: TcpStream, address: SocketAddr, acceptor: &TlsAcceptor) -> Result<TlsConnection, String> {
    tune(&stream).map_err(|error| error.to_string())?;
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream))
        .await
        .map_err(|_| format!("no TLS handshake within {} s", HANDSHAKE_TIMEOUT.as_secs()))?
        .map_err(|error| tls::explain(&error))?;
    let certificate = match tls::peer_certificate(stream.get_ref().1.peer_certificates()) {
        Ok(certificate) => Some(certificate),
        Err(PeerIdError::NoCertificate) => None,
        Err(error) => return Err(error.to_string()),
    };
    Ok(TlsConnection { stream, peer: Peer { address, certificate } })
}

/// Sends small writes at once and notices a peer that is gone.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE).with_retries(3))
}

impl Connected for TlsConnection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl std::fmt::Debug for TlsConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TlsConnection({:?})", self.peer)
    }
}
