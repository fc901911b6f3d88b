//! The body of a message, wherever it comes from, and what is to happen when it ends.

mod clock;

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::http1::{FramingError, Http1Body};
use super::http2::Http2Body;
use super::mirror::CopyBody;
use super::replay::Replay;

pub(crate) use clock::{Clock, Over};

/// A body that is passed on frame by frame; nothing is copied or collected.
pub(crate) struct Body {
    source: Source,
    on_end: Option<Box<dyn OnEnd>>,
    clock: Option<Box<Clock>>,
}

enum Source {
    Full(Option<Bytes>),
    Edge(Incoming),
    Http1(Http1Body),
    Http2(Http2Body),
    Replay(Replay),
    Copy(CopyBody),
}

/// What a body holds on to until it ends: a pooled connection, the measure of a request.
pub(crate) trait OnEnd {
    /// The last frame was passed on. A body that is dropped before was cut off.
    fn complete(&mut self);

    /// Trailers are about to be passed on.
    fn trailers(&mut self, _trailers: &HeaderMap) {}

    /// It was cut off by the proxy, for this reason.
    fn cut_off(&mut self, _why: Over) {}
}

struct Both<L>(Box<dyn OnEnd>, L);

impl<L: OnEnd> OnEnd for Both<L> {
    fn complete(&mut self) {
        self.0.complete();
        self.1.complete();
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        self.0.trailers(trailers);
        self.1.trailers(trailers);
    }

    fn cut_off(&mut self, why: Over) {
        self.0.cut_off(why);
        self.1.cut_off(why);
    }
}

/// A body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error(transparent)]
    Edge(#[from] hyper::Error),
    #[error(transparent)]
    Http2(#[from] h2::Error),
    #[error(transparent)]
    Http1(#[from] FramingError),
    #[error("the request was sent again and its body was given up")]
    Superseded,
    #[error("{0}")]
    CutOff(Over),
    #[error("the copy of the request fell behind it, or the request broke off")]
    CopyGivenUp,
}

impl Body {
    /// No bytes at all.
    pub(crate) fn empty() -> Self {
        Source::Full(None).into()
    }

    /// A short text of our own.
    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        Source::Full(Some(text.into())).into()
    }

    /// Lets `on_end` know when the last frame was passed on, after those that were to know before it; dropped with the
    /// body in any case.
    pub(crate) fn on_end(mut self, on_end: impl OnEnd + 'static) -> Self {
        self.on_end = Some(match self.on_end.take() {
            None => Box::new(on_end),
            Some(first) => Box::new(Both(first, on_end)),
        });
        self.complete_if_ended();
        self
    }

    /// Cuts the body off when the clock says so.
    pub(crate) fn timed(mut self, clock: Clock) -> Self {
        if !self.source.is_end_stream() {
            self.clock = Some(Box::new(clock));
        }
        self
    }

    /// Ends the body early. A gRPC call that has grown too old ends with a status that makes clients call again; anything
    /// else can only break off.
    fn cut_off(&mut self, why: Over) -> Option<Result<Frame<Bytes>, BodyError>> {
        self.clock = None;
        let last = why.trailers();
        if let Some(mut on_end) = self.on_end.take() {
            on_end.cut_off(why);
            if let Some(trailers) = &last {
                on_end.trailers(trailers);
            }
        }
        self.source = Source::Full(None);
        Some(last.map_or(Err(BodyError::CutOff(why)), |trailers| Ok(Frame::trailers(trailers))))
    }

    fn complete_if_ended(&mut self) {
        if self.source.is_end_stream()
            && let Some(mut on_end) = self.on_end.take()
        {
            on_end.complete();
        }
    }
}

impl Source {
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Edge(incoming) => incoming.is_end_stream(),
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
            Self::Replay(replay) => replay.is_end_stream(),
            Self::Copy(copy) => copy.is_end_stream(),
        }
    }
}

/// An empty one.
impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Source> for Body {
    fn from(source: Source) -> Self {
        Self { source, on_end: None, clock: None }
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        Source::Edge(incoming).into()
    }
}

impl From<Http1Body> for Body {
    fn from(body: Http1Body) -> Self {
        Source::Http1(body).into()
    }
}

impl From<Http2Body> for Body {
    fn from(body: Http2Body) -> Self {
        Source::Http2(body).into()
    }
}

impl From<Replay> for Body {
    fn from(replay: Replay) -> Self {
        Source::Replay(replay).into()
    }
}

impl From<CopyBody> for Body {
    fn from(copy: CopyBody) -> Self {
        Source::Copy(copy).into()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(clock) = &mut self.clock
            && let Poll::Ready(why) = clock.poll(cx)
        {
            return Poll::Ready(self.cut_off(why));
        }
        let polled = match &mut self.source {
            Source::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Edge(incoming) => Pin::new(incoming).poll_frame(cx).map_err(BodyError::Edge),
            Source::Http1(body) => body.poll_frame(cx).map_err(BodyError::Http1),
            Source::Http2(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Http2),
            Source::Replay(replay) => Pin::new(replay).poll_frame(cx),
            Source::Copy(copy) => copy.poll_frame(cx),
        };
        if let (Some(clock), Poll::Ready(_)) = (&mut self.clock, &polled) {
            clock.moved();
        }
        match &polled {
            Poll::Ready(None) => {
                if let Some(mut on_end) = self.on_end.take() {
                    on_end.complete();
                }
            }
            // What broke off is dropped with the body.
            Poll::Ready(Some(Err(_))) => self.on_end = None,
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(on_end), Some(trailers)) = (&mut self.on_end, frame.trailers_ref()) {
                    on_end.trailers(trailers);
                }
                self.complete_if_ended();
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Edge(incoming) => incoming.size_hint(),
            Source::Http1(body) => body.size_hint(),
            Source::Http2(body) => body.size_hint(),
            Source::Replay(replay) => replay.size_hint(),
            Source::Copy(_) => SizeHint::default(),
        }
    }
}
