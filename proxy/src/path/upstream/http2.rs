//! The one HTTP/2 connection of a worker to an endpoint without a sidecar, prior knowledge (RFC 9113 3.3).

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use super::SendError;
use super::held::Held;
use crate::path::body::Body;
use crate::path::http::{CONNECTION_WINDOW, LocalExecutor, MAX_HEADER_BYTES, STREAM_WINDOW};
use crate::path::mesh::{h2_cause, is_unhandled};

/// A silent peer is asked for a sign of life this often.
const PING: Duration = Duration::from_secs(10);

/// A handle to a connection, to send requests by.
pub(super) type Sender = SendRequest<Body>;

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
        self.open.borrow().as_ref().is_some_and(|open| !open.sender.is_closed())
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

    /// The connection, if there is one that is not too old.
    pub(super) fn usable(&self, max_age: Option<Duration>) -> Option<Sender> {
        let open = self.open.borrow();
        let open = open.as_ref()?;
        let usable = !open.sender.is_closed() && max_age.is_none_or(|max| open.since.elapsed() < max);
        usable.then(|| open.sender.clone())
    }

    /// Makes a byte stream the connection.
    pub(super) async fn open(&self, stream: Held<TcpStream>) -> hyper::Result<Sender> {
        let sender = handshake(stream).await?;
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
        mut sender: Sender,
        request: Request<Body>,
    ) -> Result<Response<Body>, SendError> {
        self.last_used.set(Instant::now());
        let sent = sender.try_send_request(request).await;
        sent.map(|response| response.map(Body::from)).map_err(|mut error| {
            let never_sent = error.take_message().is_some();
            let source = error.into_error();
            let unhandled = never_sent || h2_cause(&source).is_some_and(is_unhandled);
            SendError::Http { address, source, unhandled }
        })
    }
}

async fn handshake(stream: Held<TcpStream>) -> hyper::Result<Sender> {
    let (sender, connection) = Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .keep_alive_interval(PING)
        .handshake(TokioIo::new(stream))
        .await?;
    spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream HTTP/2 connection broke");
        }
    });
    Ok(sender)
}
