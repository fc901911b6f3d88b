//! Stage 4: HTTP/1.x and HTTP/2 as a server, towards applications and, in tunnels, towards other sidecars.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_local;

use super::body::Body;
use crate::drain::Drain;

/// Header fields of one message.
pub(crate) const MAX_HEADERS: usize = 200;
/// Header bytes of one message.
pub(crate) const MAX_HEADER_BYTES: usize = 64 * 1024;
/// What one HTTP/2 stream may have outstanding, in bytes: the only window that ever binds.
pub(crate) const STREAM_WINDOW: u32 = 512 * 1024;
/// Never binds, so that one unread stream cannot block another.
pub(crate) const CONNECTION_WINDOW: u32 = 1 << 30;
/// Streams that one application connection may have open.
const MAX_STREAMS: u32 = 1000;
/// How long a connection may be idle, or its next request's header take.
pub(crate) const IDLE: Duration = Duration::from_secs(3600);
/// What hyper may buffer of an HTTP/1 message's header.
const MAX_BUFFER: usize = 2 * MAX_HEADER_BYTES;

/// The version that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// Serves requests until the peer closes or the drain begins; what is in flight then is finished.
pub(crate) async fn serve<I, S>(io: I, version: Version, drain: &Drain, handle: S)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: AsyncFn(Request<Incoming>) -> Response<Body> + 'static,
{
    let handle = Rc::new(handle);
    let service = service_fn(move |request| {
        let handle = Rc::clone(&handle);
        async move { Ok::<_, Infallible>(handle(request).await) }
    });
    let io = TokioIo::new(io);
    let served = match version {
        Version::Http1 => {
            let mut connection = pin!(http1_builder().serve_connection(io, service).with_upgrades());
            tokio::select! {
                served = connection.as_mut() => served,
                () = drain.started() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
        Version::Http2 => {
            let mut connection = pin!(http2_builder().serve_connection(io, service));
            tokio::select! {
                served = connection.as_mut() => served,
                () = drain.started() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP connection ended in an error");
    }
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .preserve_header_case(true)
        .auto_date_header(false)
        .half_close(true)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEADER_BYTES)
        .max_buf_size(MAX_BUFFER);
    builder
}

fn http2_builder() -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES as u32);
    builder
}

/// Spawns on the worker's own thread.
#[derive(Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}
