//! Requests on streams of a connection that many share.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::{Request, Response};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_local;

use super::{Http2Body, ping, send_body};
use crate::path::body::Body;
use crate::path::http::{CONNECTION_WINDOW, MAX_HEADER_BYTES, SEND_BUFFER, STREAM_WINDOW};
use crate::path::upload::Upload;

/// A handle to a connection, to send requests by.
pub(in crate::path) type Sender = SendRequest<Bytes>;

/// Makes a byte stream a connection, which lives in a task of its own until it is closed, its peer falls silent, or its last
/// handle is dropped and its last request answered. `builder` has what is particular to it.
///
/// # Errors
/// The peer's, or the stream's.
pub(in crate::path) async fn open<I>(io: I, mut builder: Builder, whose: String) -> Result<Sender, h2::Error>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(0)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .max_send_buffer_size(SEND_BUFFER)
        .enable_push(false);
    let (sender, mut connection) = builder.handshake(io).await?;
    spawn_local(async move {
        let silent = ping::until_silent(connection.ping_pong());
        tokio::select! {
            ended = connection => match ended {
                Ok(()) => tracing::debug!(%whose, "an HTTP/2 connection was closed"),
                Err(error) => tracing::debug!(%whose, %error, "an HTTP/2 connection broke"),
            },
            () = silent => tracing::warn!(%whose, "pings are no longer answered; the connection is given up"),
        }
    });
    Ok(sender)
}

/// Whether a connection takes requests: now, or when others have ended.
pub(in crate::path) fn is_open(sender: &mut Sender) -> bool {
    !matches!(sender.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
}

/// Why a request was not answered.
#[derive(Debug)]
pub(in crate::path) struct Failed {
    pub(in crate::path) error: h2::Error,
    /// Whether it is certain that nobody has handled it.
    pub(in crate::path) unhandled: bool,
}

/// Sends a request, which is taken when there is room for it. Dropped before the answer was read to its end, it resets the stream.
///
/// # Errors
/// With whether the peer may have handled it.
pub(in crate::path) async fn send(mut sender: Sender, request: &mut Request<Body>) -> Result<Response<Body>, Failed> {
    let unsent = |error| Failed { error, unhandled: true };
    poll_fn(|cx| sender.poll_ready(cx)).await.map_err(unsent)?;
    let (response, upload) = begin(sender, std::mem::take(request)).map_err(unsent)?;
    let (parts, stream) =
        response.await.map_err(|error| Failed { unhandled: is_unhandled(&error), error })?.into_parts();
    let body = Http2Body::new(stream, &parts.headers, upload);
    Ok(Response::from_parts(parts, body.into()))
}

fn begin(mut sender: Sender, request: Request<Body>) -> Result<(ResponseFuture, Option<Upload>), h2::Error> {
    let (parts, body) = request.into_parts();
    let ends = body.is_end_stream();
    let (response, stream) = sender.send_request(Request::from_parts(parts, ()), ends)?;
    Ok((response, (!ends).then(|| Upload::start(send_body(body, stream)))))
}

/// RFC 9113 8.7: REFUSED_STREAM, and GOAWAY with a lower stream id, say that nothing was processed.
pub(in crate::path) fn is_unhandled(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

#[cfg(test)]
mod tests;
