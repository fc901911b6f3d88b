//! Pooled HTTP/1 connections to one endpoint, over a socket or over a stream of the mesh.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_local;

use super::SendError;
use crate::path::body::Body;
use crate::path::http::{MAX_HEADER_BYTES, MAX_HEADERS};
use crate::path::mesh::Ending;

/// Shorter than the keep-alive time-out of the usual application servers (gunicorn has 2 s), so that a request hardly
/// ever meets a connection that is just being closed.
pub(super) const IDLE_APPLICATION: Duration = Duration::from_millis(1500);
/// Between sidecars a connection that ends cleanly has handled nothing, so there is no such race.
pub(super) const IDLE_TUNNEL: Duration = Duration::from_secs(60);
/// Idle connections kept for each endpoint and worker.
const MAX_IDLE: usize = 256;

/// The idle connections, the most recently used last.
pub(super) struct Pool {
    idle: RefCell<Vec<Idle>>,
    patience: Duration,
}

struct Idle {
    connection: Pooled,
    since: Instant,
}

/// A connection that is not in use.
pub(super) struct Pooled {
    sender: SendRequest<Body>,
    ending: Option<Ending>,
}

impl Pool {
    pub(super) fn new(patience: Duration) -> Self {
        Self { idle: RefCell::default(), patience }
    }

    /// The most recently used connection that is still good.
    pub(super) fn checkout(&self) -> Option<Pooled> {
        let mut idle = self.idle.borrow_mut();
        loop {
            let connection = idle.pop()?.connection;
            if connection.sender.is_ready() {
                return Some(connection);
            }
        }
    }

    /// Closes what was idle for too long.
    pub(super) fn prune(&self, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| !idle.connection.sender.is_closed() && now.duration_since(idle.since) < self.patience);
        if idle.is_empty() && idle.capacity() > 0 {
            idle.shrink_to_fit();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
    }

    /// Keeps a connection whose last answer was read to its end.
    pub(super) fn give_back(&self, connection: Pooled) {
        let mut idle = self.idle.borrow_mut();
        if !connection.sender.is_closed() && idle.len() < MAX_IDLE {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }
}

/// Makes an HTTP/1 connection of a byte stream.
pub(super) async fn handshake<I>(io: I, ending: Option<Ending>) -> hyper::Result<Pooled>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = Builder::new();
    builder.preserve_header_case(true).max_headers(MAX_HEADERS).max_header_size(MAX_HEADER_BYTES);
    let (sender, connection) = builder.handshake(TokioIo::new(io)).await?;
    spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "an upstream HTTP/1 connection broke");
        }
    });
    Ok(Pooled { sender, ending })
}

/// A request that was not answered; given back where nothing of it was written.
pub(super) struct Failed {
    pub(super) error: SendError,
    pub(super) unsent: Option<Box<Request<Body>>>,
}

/// Sends a request. The connection is free again when the answer was read to its end.
pub(super) async fn send(
    address: SocketAddr,
    mut connection: Pooled,
    request: Request<Body>,
) -> Result<(Response<Body>, Pooled), Failed> {
    match connection.sender.try_send_request(request).await {
        Ok(response) => Ok((response.map(Body::from), connection)),
        Err(mut error) => {
            let unsent = error.take_message().map(Box::new);
            let ended_cleanly = connection.ending.is_some_and(|ending| ending.is_clean());
            let unhandled = unsent.is_some() || ended_cleanly;
            Err(Failed { error: SendError::Http { address, source: error.into_error(), unhandled }, unsent })
        }
    }
}
