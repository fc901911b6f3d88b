//! Requests on a connection of an application, or of a peer's, one after the other.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body::Body as _;
use tokio::time::Instant;

use super::body::Http1Body;
use super::client::{Error, send_body};
use super::framing::{Framing, FramingError};
use super::head::{self, Head, Parsed};
use super::wire::Wire;
use crate::drain::Drain;
use crate::path::body::Body;
use crate::path::connection::Connection;
use crate::path::http::{self as http_path, IDLE};
use crate::path::prefixed::Prefixed;

/// How long a request's header may take from its first byte on.
const HEAD: Duration = Duration::from_secs(60);
/// How much of a request that was answered early is read and thrown away before its connection is closed, in bytes: whoever is
/// closed on while writing would lose the answer.
const LINGER_BYTES: u64 = 256 * 1024;
/// How long that may take.
const LINGER: Duration = Duration::from_secs(2);

/// Serves requests until the peer closes or the drain begins; what is in flight then is finished. `read` was read of the
/// connection before.
pub(crate) async fn serve<S>(connection: Connection, read: Bytes, drain: &Drain, handle: S)
where
    S: AsyncFn(Request<Body>) -> Response<Body> + 'static,
{
    let wire = Rc::new(Wire::new(connection, read, None));
    match serve_ordinary(&wire, drain, &handle).await {
        Ok(Ended::Closed) => {}
        Ok(Ended::HandedOver) => {
            let Some((connection, unread)) = wire.hand_over() else { return };
            drop(wire);
            // Boxed: it is rare and its future is large.
            Box::pin(http_path::serve_http1(Prefixed::new(unread, connection), drain, handle)).await;
        }
        Err(error) => tracing::debug!(%error, "an HTTP/1 connection ended in an error"),
    }
}

/// How the serving of ordinary requests ended.
enum Ended {
    Closed,
    /// What comes next is not one.
    HandedOver,
}

async fn serve_ordinary<S>(wire: &Rc<Wire>, drain: &Drain, handle: &S) -> Result<Ended, Error>
where
    S: AsyncFn(Request<Body>) -> Response<Body> + 'static,
{
    let mut draining = pin!(drain.started());
    let mut idle = pin!(tokio::time::sleep(IDLE));
    let mut since = Instant::now();
    loop {
        let next = tokio::select! {
            biased;
            next = next_request(wire) => next?,
            () = &mut draining => ControlFlow::Break(Ended::Closed),
            // Set anew only when it fires, not with each request.
            () = &mut idle => match since.elapsed() < IDLE {
                true => {
                    idle.as_mut().reset(since + IDLE);
                    continue;
                }
                false => ControlFlow::Break(Ended::Closed),
            },
        };
        let head = match next {
            ControlFlow::Continue(head) => head,
            ControlFlow::Break(Ended::HandedOver) => return Ok(Ended::HandedOver),
            ControlFlow::Break(Ended::Closed) => break,
        };
        // Boxed, so that a connection holds nothing of it while it waits for the next one.
        let exchange = Box::pin(exchange(wire, head, handle, draining.as_mut()));
        if !exchange.await? {
            break;
        }
        since = Instant::now();
    }
    close(wire).await;
    Ok(Ended::Closed)
}

/// Answers one request; whether another may follow.
async fn exchange<S>(
    wire: &Rc<Wire>,
    head: Head<Request<()>>,
    handle: &S,
    draining: Pin<&mut impl Future<Output = ()>>,
) -> Result<bool, Error>
where
    S: AsyncFn(Request<Body>) -> Response<Body> + 'static,
{
    let Head { message, framing, keep_alive } = head;
    let method = message.method().clone();
    let response = handle(message.map(|()| Http1Body::new(wire, framing, None).into())).await;
    let close = !keep_alive || is_ready(draining).await;
    respond(wire, &method, response, close).await?;
    Ok(!close && wire.has_ended())
}

/// Waits for the next request. To be dropped only while not all of its header has come.
async fn next_request(wire: &Wire) -> Result<ControlFlow<Ended, Head<Request<()>>>, Error> {
    let mut begun = None;
    loop {
        match wire.take(head::request) {
            Parsed::Whole(head) => return Ok(ControlFlow::Continue(head)),
            Parsed::Other => return Ok(ControlFlow::Break(Ended::HandedOver)),
            Parsed::Partial => {}
        }
        let has_begun = wire.take(|unread| !unread.is_empty());
        let filled = if has_begun {
            let until = *begun.get_or_insert_with(|| Instant::now() + HEAD);
            match tokio::time::timeout_at(until, wire.fill()).await {
                Ok(filled) => filled?,
                Err(_) => return Ok(ControlFlow::Break(Ended::Closed)),
            }
        } else {
            wire.fill().await?
        };
        if !filled {
            // What has only begun is for hyper to refuse.
            return Ok(ControlFlow::Break(if has_begun { Ended::HandedOver } else { Ended::Closed }));
        }
    }
}

async fn is_ready(mut future: Pin<&mut impl Future<Output = ()>>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

/// Writes an answer, its header together with what is there of its body.
async fn respond(wire: &Wire, method: &Method, response: Response<Body>, close: bool) -> Result<(), Error> {
    let (parts, mut body) = response.into_parts();
    let may_have_body = head::has_body(method, parts.status);
    let declared = content_length(&parts.headers);
    let exact = body.size_hint().exact();
    let mut framing = match declared.or(exact) {
        _ if !may_have_body => Framing::length(0),
        Some(length) => Framing::length(length),
        None => Framing::chunked(),
    };
    let length = exact.filter(|_| declared.is_none() && may_have_body);
    let head = head::write_response(&parts, &framing, length, close).freeze();
    if !may_have_body || body.is_end_stream() {
        wire.write([head]).await?;
        return if framing.has_ended() { Ok(()) } else { Err(FramingError::WrongLength.into()) };
    }
    let first = match poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await {
        Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
            let last = body.is_end_stream();
            let [before, data, after] = framing.wrap(frame.into_data().unwrap_or_default(), last)?;
            wire.write([head, before, data, after]).await?;
            if last {
                return if framing.has_ended() { Ok(()) } else { Err(FramingError::WrongLength.into()) };
            }
            None
        }
        Poll::Ready(Some(Ok(trailers))) => {
            wire.write([head]).await?;
            Some(trailers)
        }
        Poll::Ready(Some(Err(error))) => {
            wire.write([head]).await?;
            return Err(Error::Body(Box::new(error)));
        }
        Poll::Ready(None) => {
            wire.write([head, framing.end()]).await?;
            return if framing.has_ended() { Ok(()) } else { Err(FramingError::WrongLength.into()) };
        }
        Poll::Pending => {
            wire.write([head]).await?;
            None
        }
    };
    send_body(wire, first, body, framing).await
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Ends a connection in a way that lets the peer read what it was sent.
async fn close(wire: &Rc<Wire>) {
    // It is gone already where this fails.
    if wire.finish().is_err() || wire.has_ended() {
        return;
    }
    let rest = async {
        let mut left = LINGER_BYTES;
        while let Ok(Some(length)) = poll_fn(|cx| wire.poll_discard(cx)).await {
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // What takes longer is cut off.
    let _ = tokio::time::timeout(LINGER, rest).await;
}
