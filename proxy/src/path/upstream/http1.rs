//! Pooled HTTP/1 connections to one endpoint, over a socket or over a stream of the mesh.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::spawn_local;

use super::SendError;
use super::held::Held;
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
    max_age: Option<Duration>,
    /// Only since somebody had to wait.
    freed: OnceCell<Box<Freed>>,
}

struct Idle {
    connection: Pooled,
    since: Instant,
}

/// A connection that is not in use.
pub(super) struct Pooled {
    sender: SendRequest<Body>,
    ending: Option<Ending>,
    opened: Instant,
}

/// Those who wait for a connection to become idle.
#[derive(Default)]
struct Freed {
    notify: Notify,
    waiting: Cell<u32>,
}

impl Pool {
    /// Idle connections are kept for `patience`, and none is used that is older than `max_age`.
    pub(super) fn new(patience: Duration, max_age: Option<Duration>) -> Self {
        Self { idle: RefCell::default(), patience, max_age, freed: OnceCell::new() }
    }

    /// The most recently used connection that is still good.
    pub(super) fn checkout(&self) -> Option<Pooled> {
        let mut idle = self.idle.borrow_mut();
        loop {
            let connection = idle.pop()?.connection;
            if connection.sender.is_ready() && !self.is_too_old(&connection, Instant::now()) {
                return Some(connection);
            }
        }
    }

    /// The next connection that is given back.
    pub(super) async fn next_idle(&self) -> Pooled {
        let freed = self.freed.get_or_init(Box::default);
        freed.waiting.set(freed.waiting.get() + 1);
        let _waiting = Waiting(freed);
        loop {
            freed.notify.notified().await;
            if let Some(connection) = self.checkout() {
                return connection;
            }
        }
    }

    /// How many wait for [`Pool::next_idle`].
    pub(super) fn waiting(&self) -> u32 {
        self.freed.get().map_or(0, |freed| freed.waiting.get())
    }

    /// Closes what was idle for too long, or is too old.
    pub(super) fn prune(&self, now: Instant) {
        self.retain(|idle| now.duration_since(idle.since) < self.patience && !self.is_too_old(&idle.connection, now));
    }

    /// Closes all that are idle.
    pub(super) fn clear(&self) {
        self.retain(|_| false);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
    }

    /// Keeps a connection whose last answer was read to its end.
    pub(super) fn give_back(&self, connection: Pooled) {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        if !connection.sender.is_closed() && idle.len() < MAX_IDLE && !self.is_too_old(&connection, now) {
            idle.push(Idle { connection, since: now });
            if let Some(freed) = self.freed.get().filter(|freed| freed.waiting.get() > 0) {
                freed.notify.notify_one();
            }
        }
    }

    fn retain(&self, keep: impl Fn(&Idle) -> bool) {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| !idle.connection.sender.is_closed() && keep(idle));
        if idle.is_empty() && idle.capacity() > 0 {
            idle.shrink_to_fit();
        }
    }

    fn is_too_old(&self, connection: &Pooled, now: Instant) -> bool {
        self.max_age.is_some_and(|max| now.duration_since(connection.opened) >= max)
    }
}

struct Waiting<'a>(&'a Freed);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get().saturating_sub(1));
    }
}

/// Makes an HTTP/1 connection of a byte stream.
pub(super) async fn handshake<I>(
    io: I,
    permit: Option<OwnedSemaphorePermit>,
    ending: Option<Ending>,
) -> hyper::Result<Pooled>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = Builder::new();
    builder.preserve_header_case(true).max_headers(MAX_HEADERS).max_header_size(MAX_HEADER_BYTES);
    let (sender, connection) = builder.handshake(TokioIo::new(Held::new(io, permit))).await?;
    spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "an upstream HTTP/1 connection broke");
        }
    });
    Ok(Pooled { sender, ending, opened: Instant::now() })
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
