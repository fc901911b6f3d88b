//! Requests on a connection to an application.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;

use super::body::Http1Body;
use super::framing::{Framing, FramingError};
use super::head::{self, Head, Parsed, Spelling};
use super::wire::Wire;
use crate::path::body::{Body, BodyError};
use crate::path::upload::Upload;

/// How many answers of 1xx an application may send before the one that counts.
const MAX_INTERIM: u32 = 64;

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not a byte of an answer came.
    #[error("the connection was closed before an answer")]
    Closed,
    #[error("the connection was closed within the header of the answer")]
    CutShort,
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the answer is not acceptable HTTP")]
    Malformed,
    #[error("more than {MAX_INTERIM} interim answers (1xx) came before the answer itself")]
    EndlessInterim,
    #[error("the request's body: {0}")]
    Body(Box<BodyError>),
    #[error("the request's body: {0}")]
    Framing(#[from] FramingError),
}

/// A request that was not answered.
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// Nothing of it was written, and it can be sent again as it is.
    pub(crate) is_unsent: bool,
}

impl<E: Into<Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self { error: error.into(), is_unsent: false }
    }
}

/// Whether a request can be sent from here: one that was read here, and wants nothing but an answer.
pub(crate) fn is_ordinary(request: &Request<Body>) -> bool {
    request.version() == Version::HTTP_11
        && request.extensions().get::<Spelling>().is_some()
        && !request.headers().contains_key(http::header::UPGRADE)
        && *request.method() != Method::CONNECT
}

/// Sends a request on an idle connection, and takes its body as far as it is sent. The connection is idle again when the
/// answer was read to its end.
///
/// # Errors
/// With whether something of the request was written.
pub(crate) async fn send(wire: &Rc<Wire>, request: &mut Request<Body>) -> Result<Response<Body>, Failed> {
    // Until its answer was read.
    wire.keep_alive.set(false);
    let mut framing = framing_of(request);
    let head = head::write_request(request, &framing).freeze();
    let length = head.len();
    let begun = begin(&mut framing, request.body_mut())?;
    let is_touched = !matches!(&begun, Begun::Whole(body) if body.iter().all(Bytes::is_empty));
    let (mut pieces, part) = match begun {
        Begun::Whole([before, data, after]) => ([head, before, data, after], None),
        Begun::Part(first) => ([head, Bytes::new(), Bytes::new(), Bytes::new()], Some(first)),
    };
    let mut part = part.map(|first| (first, framing, std::mem::take(request.body_mut())));
    let (mut upload, mut is_written) = (None, false);
    let answered = {
        let mut answer = pin!(answer(wire, request.method()));
        poll_fn(|cx| {
            if !is_written {
                match wire.poll_write(cx, &mut pieces) {
                    Poll::Ready(Ok(())) => {
                        is_written = true;
                        upload = part.take().map(|(first, framing, body)| start_upload(wire, first, body, framing));
                    }
                    // Who hung up may have answered before.
                    Poll::Ready(Err(error)) => {
                        return match answer.as_mut().poll(cx) {
                            Poll::Ready(Ok(answered)) => Poll::Ready(Ok(answered)),
                            _ => Poll::Ready(Err(Error::from(error))),
                        };
                    }
                    Poll::Pending => {}
                }
            }
            answer.as_mut().poll(cx)
        })
        .await
    };
    match answered {
        Ok(Head { message, framing, keep_alive }) => {
            wire.keep_alive.set(keep_alive && is_written);
            Ok(message.map(|()| Http1Body::new(wire, framing, upload).into()))
        }
        Err(error) => {
            let is_unsent = !is_touched && pieces.first().is_some_and(|head| head.len() == length);
            Err(Failed { error, is_unsent })
        }
    }
}

/// As the request came: with its length, or in chunks.
fn framing_of(request: &Request<Body>) -> Framing {
    let length = request.headers().get(http::header::CONTENT_LENGTH);
    match length.and_then(|length| length.to_str().ok()?.parse().ok()) {
        Some(length) => Framing::length(length),
        None if request.body().is_end_stream() => Framing::length(0),
        None => Framing::chunked(),
    }
}

/// What there is of a body when its message begins.
enum Begun {
    /// This is all, as it is framed.
    Whole([Bytes; 3]),
    /// There is more to come after this.
    Part(Option<Frame<Bytes>>),
}

/// Takes what is there of a body, without waiting for it. Who waits for more is woken by who reads on.
fn begin(framing: &mut Framing, body: &mut Body) -> Result<Begun, Error> {
    if body.is_end_stream() {
        return match framing.has_ended() {
            true => Ok(Begun::Whole([const { Bytes::new() }; 3])),
            false => Err(FramingError::WrongLength.into()),
        };
    }
    match Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => Ok(Begun::Part(None)),
        Poll::Ready(None) => Ok(Begun::Whole([framing.end(), Bytes::new(), Bytes::new()])),
        Poll::Ready(Some(Err(error))) => Err(Error::Body(Box::new(error))),
        Poll::Ready(Some(Ok(frame))) if body.is_end_stream() && frame.is_data() => {
            let whole = framing.wrap(frame.into_data().unwrap_or_default(), true)?;
            if framing.has_ended() { Ok(Begun::Whole(whole)) } else { Err(FramingError::WrongLength.into()) }
        }
        Poll::Ready(Some(Ok(frame))) => Ok(Begun::Part(Some(frame))),
    }
}

/// Sends the rest of a body beside the waiting for the answer.
fn start_upload(wire: &Rc<Wire>, first: Option<Frame<Bytes>>, body: Body, framing: Framing) -> Upload {
    wire.uploading.set(true);
    let wire = Rc::clone(wire);
    Upload::start(async move {
        match send_body(&wire, first, body, framing).await {
            Ok(()) => wire.uploading.set(false),
            // Who no longer reads may still answer.
            Err(Error::Broken(_)) => {}
            Err(error) => {
                tracing::debug!(%error, "a request broke off");
                wire.break_off();
            }
        }
    })
}

/// Writes a body to its end.
pub(super) async fn send_body(
    wire: &Wire,
    mut first: Option<Frame<Bytes>>,
    mut body: Body,
    mut framing: Framing,
) -> Result<(), Error> {
    loop {
        let frame = match first.take() {
            Some(frame) => frame,
            None => match body.frame().await {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Err(Error::Body(Box::new(error))),
                None => {
                    wire.write([framing.end()]).await?;
                    break;
                }
            },
        };
        match frame.into_data() {
            Ok(data) => {
                let last = body.is_end_stream();
                let pieces = framing.wrap(data, last)?;
                wire.write(pieces).await?;
                if last {
                    break;
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    // Without chunks there is no place for them.
                    if framing.is_chunked() {
                        wire.write([head::write_trailers(&trailers).freeze()]).await?;
                        return Ok(());
                    }
                }
            }
        }
    }
    if framing.has_ended() || framing.is_until_close() { Ok(()) } else { Err(FramingError::WrongLength.into()) }
}

/// Waits for the header of the answer.
async fn answer(wire: &Wire, method: &Method) -> Result<Head<Response<()>>, Error> {
    let mut interim = 0;
    loop {
        match wire.take(|unread| head::response(unread, method)) {
            Parsed::Whole(head) if head.message.status() == StatusCode::SWITCHING_PROTOCOLS => {
                // Nobody asked for another protocol.
                return Err(Error::Malformed);
            }
            Parsed::Whole(head) if head.message.status().is_informational() => {
                interim += 1;
                if interim > MAX_INTERIM {
                    return Err(Error::EndlessInterim);
                }
            }
            Parsed::Whole(head) => return Ok(head),
            Parsed::Other => return Err(Error::Malformed),
            Parsed::Partial => {
                if !wire.fill().await? {
                    return Err(if wire.take(|unread| unread.is_empty()) { Error::Closed } else { Error::CutShort });
                }
            }
        }
    }
}
