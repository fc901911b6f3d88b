//! The transport between sidecars: HTTP/2 over mutual TLS 1.3, a few long-lived connections for each worker and peer.
//!
//! ```text
//! HTTP/1 connection ──► CONNECT ip:port, weft-protocol: http/1.1 ──► HTTP/1 served in the stream, as it went in
//! opaque connection ──► CONNECT ip:port                          ──► the application (HBONE, as ztunnel speaks it)
//! HTTP/2 request    ──► a stream of its own, weft-destination: ip:port
//! ```
//!
//! **A clean end means 'not handled'.** A sidecar that ends an HTTP/1 tunnel with END_STREAM has begun none of the
//! requests that it left unanswered; whatever else happens to a tunnel is a reset. So a drain loses no request: the
//! caller may repeat even a POST. GOAWAY and REFUSED_STREAM say the same of a request that is a stream of its own.

mod client;
mod read_ahead;
mod server;
#[cfg(test)]
mod tests;
mod tunnel;

pub(crate) use client::{MeshError, MeshPeer, Patience};
pub(crate) use read_ahead::ReadAhead;
pub(crate) use server::{MeshListener, TunnelRequest, serve_connection};
pub(crate) use tunnel::{Ending, Tunnel};

use http::HeaderName;

/// The address that a request is for, on a stream of its own. Only between sidecars; stripped from applications.
pub(crate) const DESTINATION: HeaderName = HeaderName::from_static("weft-destination");
/// What a CONNECT stream carries: `http/1.1`, else opaque bytes. Only between sidecars.
pub(crate) const PROTOCOL: HeaderName = HeaderName::from_static("weft-protocol");
/// The value of [`PROTOCOL`] for an HTTP/1 connection.
pub(crate) const PROTOCOL_HTTP1: &str = "http/1.1";

/// Streams on one connection. Idle application connections are cheap; this bounds what a peer can make us hold.
const MAX_STREAMS: u32 = 4096;
/// Clients that leave at once must not look like an attack to their own sidecar's peer.
const MAX_PENDING_RESETS: usize = MAX_STREAMS as usize;
/// The largest DATA frame, in bytes, its header of 9 bytes included: what one system call sends. Only what is read of a socket that
/// has so much ready comes in frames of this size.
pub(super) const MAX_FRAME: u32 = 128 * 1024;
/// The most of a connection's bytes that go into one DATA frame: with the frame's header they fill eight records of TLS.
pub(super) const MAX_PAYLOAD: u32 = MAX_FRAME - 9;
/// What TLS may hold of what the socket did not take, in bytes: a whole frame with its header, where rustls would hold 64 KiB.
pub(super) const TLS_BUFFER: usize = MAX_FRAME as usize + 32 * 1024;
