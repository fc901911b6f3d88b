//! The one HTTP/2 connection of a worker to an endpoint without a sidecar, prior knowledge (RFC 9113 3.3).

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use super::SendError;
use crate::path::body::Body;
use crate::path::http::{CONNECTION_WINDOW, LocalExecutor, MAX_HEADER_BYTES, STREAM_WINDOW};
use crate::path::mesh::{h2_cause, is_unhandled};

/// A silent peer is asked for a sign of life this often.
const PING: Duration = Duration::from_secs(10);

/// The connection, once it was needed.
#[derive(Default)]
pub(super) struct Shared {
    sender: RefCell<Option<SendRequest<Body>>>,
}

impl Shared {
    pub(super) fn is_open(&self) -> bool {
        self.sender.borrow().as_ref().is_some_and(|sender| !sender.is_closed())
    }

    /// Sends a request, over a new connection where there is none.
    ///
    /// # Errors
    /// With whether the application may have seen the request.
    pub(super) async fn send(
        &self,
        address: SocketAddr,
        request: Request<Body>,
        dial: impl AsyncFnOnce() -> Result<TcpStream, SendError>,
    ) -> Result<Response<Body>, SendError> {
        let held = self.sender.borrow().clone().filter(|sender| !sender.is_closed());
        let mut sender = match held {
            Some(sender) => sender,
            None => {
                let sender = handshake(dial().await?).await.map_err(|source| SendError::Http {
                    address,
                    source,
                    unhandled: true,
                })?;
                *self.sender.borrow_mut() = Some(sender.clone());
                sender
            }
        };
        let sent = sender.try_send_request(request).await;
        sent.map(|response| response.map(Body::from)).map_err(|mut error| {
            let never_sent = error.take_message().is_some();
            let source = error.into_error();
            let unhandled = never_sent || h2_cause(&source).is_some_and(is_unhandled);
            SendError::Http { address, source, unhandled }
        })
    }
}

async fn handshake(stream: TcpStream) -> hyper::Result<SendRequest<Body>> {
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
