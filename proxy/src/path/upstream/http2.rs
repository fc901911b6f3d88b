//! The one HTTP/2 connection of a worker to an endpoint without a sidecar, prior knowledge (RFC 9113 3.3).

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use h2::client::Builder;
use http::{Request, Response};
use tokio::net::TcpStream;

use super::SendError;
use super::held::Held;
use crate::path::body::Body;
use crate::path::http2::client::{self, Failed};

pub(super) use crate::path::http2::client::Sender;

/// The connection. One that is replaced ends when its last request has.
pub(super) struct Shared {
    open: RefCell<Option<Open>>,
    last_used: Cell<Instant>,
    /// Held while dialling, so that all who wait share one dial.
    pub(super) dialling: tokio::sync::Mutex<()>,
}

struct Open {
    sender: Sender,
    since: Instant,
}

impl Default for Shared {
    fn default() -> Self {
        Self { open: RefCell::default(), last_used: Cell::new(Instant::now()), dialling: tokio::sync::Mutex::default() }
    }
}

impl Shared {
    pub(super) fn is_open(&self) -> bool {
        self.open.borrow_mut().as_mut().is_some_and(|open| client::is_open(&mut open.sender))
    }

    /// Closes the connection if it has not been used for so long. To be called only while no request is under way.
    pub(super) fn prune(&self, now: Instant, patience: Duration) {
        if now.duration_since(self.last_used.get()) >= patience {
            self.clear();
        }
    }

    /// No new request goes over the connection; it ends when the last one has.
    pub(super) fn clear(&self) {
        *self.open.borrow_mut() = None;
    }

    /// The connection, if there is one. One that is closed, or too old, is let go: it ends when its last request has, and makes room
    /// for the next.
    pub(super) fn usable(&self, max_age: Option<Duration>) -> Option<Sender> {
        let mut open = self.open.borrow_mut();
        open.take_if(|open| {
            !client::is_open(&mut open.sender) || max_age.is_some_and(|max| open.since.elapsed() >= max)
        });
        open.as_ref().map(|open| open.sender.clone())
    }

    /// Makes a byte stream the connection.
    ///
    /// # Errors
    /// The other side's.
    pub(super) async fn open(&self, address: SocketAddr, stream: Held<TcpStream>) -> Result<Sender, h2::Error> {
        let sender = client::open(stream, Builder::new(), address.to_string()).await?;
        *self.open.borrow_mut() = Some(Open { sender: sender.clone(), since: Instant::now() });
        Ok(sender)
    }

    /// Sends a request.
    ///
    /// # Errors
    /// With whether the application may have seen the request.
    pub(super) async fn send(
        &self,
        address: SocketAddr,
        sender: Sender,
        request: &mut Request<Body>,
    ) -> Result<Response<Body>, SendError> {
        self.last_used.set(Instant::now());
        let failed = |Failed { error: source, unhandled }| SendError::Http2 { address, source, unhandled };
        client::send(sender, request).await.map_err(failed)
    }
}
