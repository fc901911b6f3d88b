//! Requests on the streams of a connection, many at a time.

use std::rc::Rc;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Request, Response, Version};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_local;

use super::{Http2Body, ping, send_body};
use crate::drain::Drain;
use crate::path::body::Body;
use crate::path::http::{CONNECTION_WINDOW, HANDSHAKE, MAX_HEADER_BYTES, SEND_BUFFER, STREAM_WINDOW};

/// Streams that one application connection may have open.
const MAX_STREAMS: u32 = 1000;

/// Serves an application's requests until it closes or the drain begins; what is in flight then is finished.
pub(crate) async fn serve<I, S>(io: I, drain: &Drain, handle: S)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    S: AsyncFn(Request<Body>) -> Response<Body> + 'static,
{
    let mut builder = Builder::new();
    builder.max_concurrent_streams(MAX_STREAMS);
    let handle = Rc::new(handle);
    serve_streams(io, builder, drain, |request, respond| {
        let handle = Rc::clone(&handle);
        start(async move { answer(request, respond, &*handle).await });
    })
    .await;
}

/// Starts what serves a stream. Boxed: tokio moves a task more than once.
pub(in crate::path) fn start(serving: impl Future<Output = ()> + 'static) {
    spawn_local(Box::pin(serving));
}

/// Gives each stream of a connection to `serve`, which [starts](start) what serves it. `builder` has what is particular to
/// the connection.
pub(in crate::path) async fn serve_streams<I>(
    io: I,
    mut builder: Builder,
    drain: &Drain,
    serve: impl Fn(Request<RecvStream>, SendResponse<Bytes>),
) where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let handshake = builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .max_send_buffer_size(SEND_BUFFER)
        .handshake::<_, Bytes>(io);
    // Boxed: its future is large, and soon over.
    let mut connection = match tokio::time::timeout(HANDSHAKE, Box::pin(handshake)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%error, "an HTTP/2 handshake failed"),
        Err(_) => return tracing::debug!("an HTTP/2 handshake took too long"),
    };
    let silent = ping::until_silent(connection.ping_pong());
    tokio::select! {
        () = accept(&mut connection, drain, serve) => {}
        () = silent => tracing::debug!("a peer no longer answers pings; its connection is given up"),
    }
}

async fn accept<I>(
    connection: &mut Connection<I, Bytes>,
    drain: &Drain,
    serve: impl Fn(Request<RecvStream>, SendResponse<Bytes>),
) where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut started = std::pin::pin!(drain.started());
    let mut is_draining = false;
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = connection.accept() => accepted,
            () = &mut started, if !is_draining => {
                is_draining = true;
                connection.graceful_shutdown();
                continue;
            }
        };
        match accepted {
            Some(Ok((request, respond))) => serve(request, respond),
            Some(Err(error)) => return tracing::debug!(%error, "an HTTP/2 connection broke"),
            None => return,
        }
    }
}

/// Answers one request; gives up when its client does.
pub(in crate::path) async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    handle: &impl AsyncFn(Request<Body>) -> Response<Body>,
) {
    let (parts, stream) = request.into_parts();
    let body = Http2Body::new(stream, &parts.headers, None);
    let request = Request::from_parts(parts, body.into());
    let response = tokio::select! {
        biased;
        response = handle(request) => response,
        _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => return,
    };
    send(response, respond).await;
}

async fn send(response: Response<Body>, mut respond: SendResponse<Bytes>) {
    let (mut parts, body) = response.into_parts();
    parts.version = Version::HTTP_2;
    let ends = body.is_end_stream();
    if !ends
        && let Some(length) = body.size_hint().exact()
        && !parts.headers.contains_key(CONTENT_LENGTH)
    {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    match respond.send_response(Response::from_parts(parts, ()), ends) {
        Ok(stream) if !ends => send_body(body, stream).await,
        Ok(_) => {}
        Err(error) => {
            tracing::debug!(%error, "an answer could not be sent");
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}
