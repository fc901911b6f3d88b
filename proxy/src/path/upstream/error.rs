//! Why an endpoint did not answer.

use std::io;
use std::net::SocketAddr;

use super::limits::Overflow;
use crate::path::mesh::MeshError;

/// Why an endpoint did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// Nobody took the connection.
    #[error("cannot connect to {address}: {source}")]
    Connect { address: SocketAddr, source: io::Error },
    /// It did not get through the mesh.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// The endpoint broke off.
    #[error("{address} broke off: {source}")]
    Http { address: SocketAddr, source: hyper::Error, unhandled: bool },
    /// Likewise, or what it sent is not acceptable.
    #[error("{address}: {source}")]
    Http1 { address: SocketAddr, source: crate::path::http1::client::Error, unhandled: bool },
    /// Likewise.
    #[error("{address} broke off: {source}")]
    Http2 { address: SocketAddr, source: h2::Error, unhandled: bool },
    /// The cluster has as many connections as it may have. Another endpoint of it would be refused alike.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

impl SendError {
    /// Whether it is certain that the application saw nothing of the request.
    pub(crate) fn is_unhandled(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Overflow(_) => true,
            Self::Mesh(error) => error.is_unhandled(),
            Self::Http { unhandled, .. } | Self::Http1 { unhandled, .. } | Self::Http2 { unhandled, .. } => *unhandled,
        }
    }
}
