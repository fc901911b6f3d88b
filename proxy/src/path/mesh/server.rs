//! The called side: what arrives on port 15008.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{DESTINATION, PROTOCOL, PROTOCOL_HTTP1, Tunnel};
use crate::drain::Drain;
use crate::path::answer::REASON;
use crate::path::body::Body;
use crate::path::http2::{self, server::start};

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
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(super::MAX_STREAMS)
        .max_frame_size(super::MAX_FRAME)
        .max_pending_accept_reset_streams(super::MAX_PENDING_RESETS)
        .max_concurrent_reset_streams(super::MAX_PENDING_RESETS);
    http2::server::serve_streams(io, builder, &drain, |request, respond| serve_stream(&listener, request, respond))
        .await;
}

/// Starts what serves a stream.
fn serve_stream<L: MeshListener + 'static>(
    listener: &Rc<L>,
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
    let listener = Rc::clone(listener);
    if !is_tunnel {
        return start(async move {
            let handle = async |request| listener.request(destination, request).await;
            http2::server::answer(request, respond, &handle).await;
        });
    }
    let http1 = request.headers().get(PROTOCOL).is_some_and(|value| value == PROTOCOL_HTTP1);
    let tunnel = TunnelRequest { respond, stream: request.into_body() };
    if http1 {
        start(async move { listener.http1(destination, tunnel).await });
    } else {
        start(async move { listener.opaque(destination, tunnel).await });
    }
}

fn refuse(respond: &mut SendResponse<Bytes>, status: StatusCode, reason: &'static str) {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response.headers_mut().insert(REASON, HeaderValue::from_static(reason));
    // Fails where the peer has gone already.
    let _ = respond.send_response(response, true);
}
