//! The called side: what arrives on port 15008.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_local;

use super::{DESTINATION, MeshBody, PROTOCOL, PROTOCOL_HTTP1, Tunnel, ping, send_body};
use crate::drain::Drain;
use crate::path::answer::REASON;
use crate::path::body::Body;

/// How long the settings of a new connection may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Takes what arrives on the connections of one peer.
pub(crate) trait MeshListener {
    /// Answers one request.
    async fn request(&self, destination: SocketAddr, request: Request<Body>) -> Response<Body>;
    /// Carries an HTTP/1 connection.
    async fn http1(&self, destination: SocketAddr, tunnel: TunnelRequest);
    /// Carries a connection of bytes.
    async fn opaque(&self, destination: SocketAddr, tunnel: TunnelRequest);
}

/// A CONNECT stream that is not answered yet.
pub(crate) struct TunnelRequest {
    respond: SendResponse<Bytes>,
    stream: RecvStream,
}

impl TunnelRequest {
    /// Accepts it.
    ///
    /// # Errors
    /// Where the peer has gone already.
    pub(crate) fn accept(mut self) -> Result<Tunnel, h2::Error> {
        let send = self.respond.send_response(Response::new(()), false)?;
        Ok(Tunnel::new(send, self.stream))
    }

    /// Answers with an error and a reason for the peer's log.
    pub(crate) fn refuse(mut self, status: StatusCode, reason: &'static str) {
        refuse(&mut self.respond, status, reason);
    }
}

/// Serves one connection until the peer closes it, or until it is drained.
pub(crate) async fn serve_connection<I, L>(io: I, listener: Rc<L>, drain: Drain)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    L: MeshListener + 'static,
{
    let handshake = h2::server::Builder::new()
        .initial_window_size(super::STREAM_WINDOW)
        .initial_connection_window_size(super::CONNECTION_WINDOW)
        .max_concurrent_streams(super::MAX_STREAMS)
        .max_frame_size(super::MAX_FRAME)
        .max_header_list_size(super::MAX_HEADER_LIST)
        .max_send_buffer_size(super::SEND_BUFFER)
        .max_pending_accept_reset_streams(super::MAX_PENDING_RESETS)
        .max_concurrent_reset_streams(super::MAX_PENDING_RESETS)
        .handshake::<_, Bytes>(io);
    let mut connection = match tokio::time::timeout(HANDSHAKE, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%error, "a peer's HTTP/2 handshake failed"),
        Err(_) => return tracing::debug!("a peer's HTTP/2 handshake took too long"),
    };
    let silent = ping::until_silent(connection.ping_pong());
    tokio::pin!(silent);
    let draining = Cell::new(false);
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = drain.started(), if !draining.get() => {
                draining.set(true);
                connection.graceful_shutdown();
                continue;
            }
            () = &mut silent => return tracing::debug!("a peer no longer answers pings; its connection is given up"),
        };
        match accepted {
            Some(Ok((request, respond))) => {
                let listener = Rc::clone(&listener);
                spawn_local(async move { serve_stream(&*listener, request, respond).await });
            }
            Some(Err(error)) => return tracing::debug!(%error, "a peer's mesh connection broke"),
            None => return,
        }
    }
}

async fn serve_stream<L: MeshListener>(
    listener: &L,
    mut request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let is_tunnel = request.method() == Method::CONNECT && request.extensions().get::<h2::ext::Protocol>().is_none();
    let destination = if is_tunnel {
        request.uri().authority().and_then(|authority| authority.as_str().parse().ok())
    } else {
        request.headers_mut().remove(DESTINATION).and_then(|value| value.to_str().ok()?.parse().ok())
    };
    let Some(destination) = destination else {
        return refuse(&mut respond, StatusCode::BAD_REQUEST, "no_destination");
    };
    if is_tunnel {
        let http1 = request.headers().get(PROTOCOL).is_some_and(|value| value == PROTOCOL_HTTP1);
        let tunnel = TunnelRequest { respond, stream: request.into_body() };
        return if http1 {
            listener.http1(destination, tunnel).await
        } else {
            listener.opaque(destination, tunnel).await
        };
    }
    let (parts, stream) = request.into_parts();
    let body = MeshBody::new(stream, &parts.headers);
    let request = Request::from_parts(parts, body.into());
    let response = tokio::select! {
        response = listener.request(destination, request) => response,
        _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => return,
    };
    answer(response, respond).await;
}

async fn answer(response: Response<Body>, mut respond: SendResponse<Bytes>) {
    let (mut parts, body) = response.into_parts();
    parts.version = http::Version::HTTP_2;
    let ends = http_body::Body::is_end_stream(&body);
    match respond.send_response(Response::from_parts(parts, ()), ends) {
        Ok(stream) if !ends => send_body(body, stream).await,
        Ok(_) => {}
        Err(error) => {
            tracing::debug!(%error, "a response could not be sent to the peer");
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

fn refuse(respond: &mut SendResponse<Bytes>, status: StatusCode, reason: &'static str) {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response.headers_mut().insert(REASON, HeaderValue::from_static(reason));
    // Fails where the peer has gone already.
    let _ = respond.send_response(response, true);
}
