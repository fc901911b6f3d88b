//! Stage 1: where was this connection going before the redirect rules sent it to us?

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

use super::socket::canonical;

/// The address that the peer dialled, as the kernel's connection tracking remembers it (`SO_ORIGINAL_DST`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OriginalDestination(pub(crate) SocketAddr);

/// Why a connection cannot be forwarded to where it was going.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcceptError {
    /// Somebody dialled the proxy's own port.
    #[error("{0} was dialled itself, not redirected: forwarding it would loop")]
    NotRedirected(SocketAddr),
    #[error("the kernel does not know where the connection was going: {0}; are the redirect rules installed?")]
    Unknown(io::Error),
}

/// Asks the kernel where an accepted connection was going.
///
/// # Errors
/// Where there is no such address, or it is the very listener that accepted it.
pub(crate) fn original_destination(stream: &TcpStream) -> Result<OriginalDestination, AcceptError> {
    let local = canonical(stream.local_addr().map_err(AcceptError::Unknown)?);
    let socket = SockRef::from(stream);
    // An IPv4 connection on a dual-stack listener is an IPv6 socket, yet tracked as IPv4.
    let asked = if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    let original = asked.map_err(AcceptError::Unknown)?.as_socket().map(canonical);
    match original {
        Some(original) if original != local => Ok(OriginalDestination(original)),
        _ => Err(AcceptError::NotRedirected(local)),
    }
}
