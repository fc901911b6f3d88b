//! Stage 4: HTTP/1.x and HTTP/2 as a server, towards applications and, in tunnels, towards other sidecars. HTTP/1 comes here
//! where [`http1`](super::http1) leaves it.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::Body;
use super::http2;
use super::mesh::MAX_PAYLOAD;
use crate::drain::Drain;

/// Header fields of one message.
pub(crate) const MAX_HEADERS: usize = 200;
/// Header bytes of one message.
pub(crate) const MAX_HEADER_BYTES: usize = 64 * 1024;
/// What one HTTP/2 stream may have outstanding, in bytes. Whole frames of the mesh, as is what may be buffered: else each window
/// would end with a frame of a few bytes.
pub(crate) const STREAM_WINDOW: u32 = 4 * MAX_PAYLOAD;
/// Two thousand streams may be full and unread before they block the others of their connection.
pub(crate) const CONNECTION_WINDOW: u32 = 2048 * STREAM_WINDOW;
/// The most that is buffered of what one HTTP/2 stream sends, in bytes.
pub(crate) const SEND_BUFFER: usize = 2 * MAX_PAYLOAD as usize;
/// How long the settings of a new HTTP/2 connection may take.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);
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
    S: AsyncFn(Request<Body>) -> Response<Body> + 'static,
{
    match version {
        Version::Http1 => serve_http1(io, drain, handle).await,
        Version::Http2 => http2::server::serve(io, drain, handle).await,
    }
}

/// Serves all of HTTP/1, by hyper.
pub(super) async fn serve_http1<I, S>(io: I, drain: &Drain, handle: S)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: AsyncFn(Request<Body>) -> Response<Body> + 'static,
{
    let handle = Rc::new(handle);
    let service = service_fn(move |request: Request<_>| {
        let handle = Rc::clone(&handle);
        async move { Ok::<_, Infallible>(handle(request.map(Body::from)).await) }
    });
    let mut connection = pin!(http1_builder().serve_connection(TokioIo::new(io), service).with_upgrades());
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = drain.started() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP/1 connection ended in an error");
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
