//! Pooled HTTP/1 connections to one endpoint, over a socket or over a stream of the mesh.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::spawn_local;

use super::SendError;
use super::held::Held;
use crate::path::body::Body;
use crate::path::connection::Connection;
use crate::path::http::{MAX_HEADER_BYTES, MAX_HEADERS};
use crate::path::http1::{Wire, client};
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

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ordinary requests, see [`http1`](crate::path::http1).
    Ordinary,
    /// Whatever hyper makes of a request.
    Any,
}

/// A connection that is not in use.
pub(super) enum Pooled {
    Ordinary(Rc<Wire>),
    Any(Hyper),
}

/// hyper's handle to a connection.
pub(super) struct Hyper {
    sender: SendRequest<Body>,
    ending: Option<Ending>,
    opened: Instant,
}

impl Pooled {
    fn is_for(&self, kind: Kind) -> bool {
        matches!((self, kind), (Self::Ordinary(_), Kind::Ordinary) | (Self::Any(_), Kind::Any))
    }

    /// Whether a request can be sent now.
    fn is_ready(&self) -> bool {
        match self {
            Self::Ordinary(wire) => wire.is_idle(),
            Self::Any(hyper) => hyper.sender.is_ready(),
        }
    }

    /// Whether the other side has closed it, as far as that is known.
    fn is_closed(&self) -> bool {
        match self {
            Self::Ordinary(wire) => !wire.is_idle(),
            Self::Any(hyper) => hyper.sender.is_closed(),
        }
    }

    fn opened(&self) -> Instant {
        match self {
            Self::Ordinary(wire) => wire.opened,
            Self::Any(hyper) => hyper.opened,
        }
    }
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

    /// The most recently used connection of a kind that is still good.
    pub(super) fn checkout(&self, kind: Kind) -> Option<Pooled> {
        let mut idle = self.idle.borrow_mut();
        loop {
            let latest = idle.iter().rposition(|idle| idle.connection.is_for(kind))?;
            let connection = idle.remove(latest).connection;
            if connection.is_ready() && !self.is_too_old(&connection, Instant::now()) {
                return Some(connection);
            }
        }
    }

    /// The next connection that is given back, if it is of this kind. Of the other kind one is closed, to make room.
    pub(super) async fn next_idle(&self, kind: Kind) -> Pooled {
        let freed = self.freed.get_or_init(Box::default);
        freed.waiting.set(freed.waiting.get() + 1);
        let _waiting = Waiting(freed);
        loop {
            freed.notify.notified().await;
            if let Some(connection) = self.checkout(kind) {
                return connection;
            }
            self.idle.borrow_mut().pop();
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
        if !connection.is_closed() && idle.len() < MAX_IDLE && !self.is_too_old(&connection, now) {
            idle.push(Idle { connection, since: now });
            if let Some(freed) = self.freed.get().filter(|freed| freed.waiting.get() > 0) {
                freed.notify.notify_one();
            }
        }
    }

    fn retain(&self, keep: impl Fn(&Idle) -> bool) {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| !idle.connection.is_closed() && keep(idle));
        if idle.is_empty() && idle.capacity() > 0 {
            idle.shrink_to_fit();
        }
    }

    fn is_too_old(&self, connection: &Pooled, now: Instant) -> bool {
        self.max_age.is_some_and(|max| now.duration_since(connection.opened()) >= max)
    }
}

struct Waiting<'a>(&'a Freed);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get().saturating_sub(1));
    }
}

/// Makes an HTTP/1 connection of a connection for bytes.
pub(super) async fn handshake(
    kind: Kind,
    connection: Connection,
    permit: Option<OwnedSemaphorePermit>,
) -> hyper::Result<Pooled> {
    if kind == Kind::Ordinary {
        return Ok(Pooled::Ordinary(Rc::new(Wire::new(connection, Bytes::new(), permit))));
    }
    let ending = match &connection {
        Connection::Socket(_) => None,
        Connection::Tunnel(tunnel) => Some(tunnel.ending()),
    };
    let mut builder = Builder::new();
    builder.preserve_header_case(true).max_headers(MAX_HEADERS).max_header_size(MAX_HEADER_BYTES);
    let (sender, connection) = builder.handshake(TokioIo::new(Held::new(connection, permit))).await?;
    spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "an upstream HTTP/1 connection broke");
        }
    });
    Ok(Pooled::Any(Hyper { sender, ending, opened: Instant::now() }))
}

/// A request that was not answered.
pub(super) struct Failed {
    pub(super) error: SendError,
    /// Nothing of it was written, and it can be sent again as it is.
    pub(super) is_unsent: bool,
}

/// Sends a request, which is taken. The connection is free again when the answer was read to its end.
pub(super) async fn send(
    address: SocketAddr,
    connection: Pooled,
    request: &mut Request<Body>,
) -> Result<(Response<Body>, Pooled), Failed> {
    match connection {
        Pooled::Ordinary(wire) => match client::send(&wire, request).await {
            Ok(response) => Ok((response, Pooled::Ordinary(wire))),
            Err(client::Failed { error: source, is_unsent }) => {
                let unhandled = is_unsent || ended_cleanly(wire.ending.as_ref());
                Err(Failed { error: SendError::Http1 { address, source, unhandled }, is_unsent })
            }
        },
        // Boxed: it is rare and its future is large.
        Pooled::Any(mut hyper) => match Box::pin(hyper.sender.try_send_request(std::mem::take(request))).await {
            Ok(response) => Ok((response.map(Body::from), Pooled::Any(hyper))),
            Err(mut error) => {
                let unsent = error.take_message();
                let is_unsent = unsent.is_some();
                unsent.into_iter().for_each(|unsent| *request = unsent);
                let unhandled = is_unsent || ended_cleanly(hyper.ending.as_ref());
                Err(Failed { error: SendError::Http { address, source: error.into_error(), unhandled }, is_unsent })
            }
        },
    }
}

/// Whether the peer's sidecar says that it has handled nothing of what it did not answer.
fn ended_cleanly(ending: Option<&Ending>) -> bool {
    ending.is_some_and(Ending::is_clean)
}
