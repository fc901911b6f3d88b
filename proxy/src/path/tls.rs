//! Inbound stage 2: mutual TLS from other sidecars and from mesh clients that dial directly.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use weft_certs::spiffe::SpiffeId;

use super::mesh::TLS_BUFFER;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The largest ClientHello that is looked at, in bytes.
const HELLO: usize = 16 * 1024;

/// Why a connection has no mesh peer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("the mutual TLS handshake took longer than {HANDSHAKE:?}")]
    Timeout,
    #[error("the mutual TLS handshake failed: {}", weft_certs::tls::explain(.0))]
    Handshake(io::Error),
    #[error("the peer's certificate names nobody: {0}")]
    Identity(String),
}

/// Terminates mutual TLS and learns who called.
///
/// # Errors
/// Where the peer has no certificate of the mesh, or takes too long.
pub(crate) async fn accept<I>(io: I, config: Arc<ServerConfig>) -> Result<(TlsStream<I>, SpiffeId), TlsError>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(io));
    let mut stream = handshake.await.map_err(|_| TlsError::Timeout)?.map_err(TlsError::Handshake)?;
    stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
    let peer = weft_certs::tls::peer_id(stream.get_ref().1.peer_certificates())
        .map_err(|error| TlsError::Identity(error.to_string()))?;
    Ok((stream, peer))
}

/// The server name in a ClientHello; what was read stays in `read`. None: no name, or no ClientHello that we understand.
///
/// # Errors
/// The connection's own.
pub(crate) async fn server_name<I: AsyncRead + Unpin>(io: &mut I, read: &mut BytesMut) -> io::Result<Option<String>> {
    let reading = async {
        let mut acceptor = Acceptor::default();
        let mut seen = 0;
        loop {
            let mut unseen = read.get(seen..).unwrap_or_default();
            seen += acceptor.read_tls(&mut unseen)?;
            match acceptor.accept() {
                Ok(Some(accepted)) => return Ok(accepted.client_hello().server_name().map(str::to_owned)),
                Ok(None) if seen < read.len() => {}
                Ok(None) if read.len() < HELLO => {
                    if io.read_buf(read).await? == 0 {
                        return Ok(None);
                    }
                }
                Ok(None) | Err(_) => return Ok(None),
            }
        }
    };
    tokio::time::timeout(HANDSHAKE, reading).await.unwrap_or(Ok(None))
}
