//! The body of a message, wherever it comes from, and what is to happen when it ends.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::mesh::MeshBody;
use super::replay::Replay;

/// A body that is passed on frame by frame; nothing is copied or collected.
pub(crate) struct Body {
    source: Source,
    on_end: Option<Box<dyn OnEnd>>,
    deadline: Option<Pin<Box<Sleep>>>,
}

enum Source {
    Full(Option<Bytes>),
    Edge(Incoming),
    Mesh(MeshBody),
    Replay(Replay),
}

/// What a body holds on to until it ends: a pooled connection, the measure of a request.
pub(crate) trait OnEnd {
    /// The last frame was passed on. A body that is dropped before was cut off.
    fn complete(&mut self);
}

struct Both<L>(Box<dyn OnEnd>, L);

impl<L: OnEnd> OnEnd for Both<L> {
    fn complete(&mut self) {
        self.0.complete();
        self.1.complete();
    }
}

/// A body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error(transparent)]
    Edge(#[from] hyper::Error),
    // Transparent: hyper looks for the h2 error among the sources, to reset its stream with the same reason.
    #[error(transparent)]
    Mesh(#[from] h2::Error),
    #[error("the request was sent again and its body was given up")]
    Superseded,
    #[error("the route's time-out passed before the body had ended")]
    Timeout,
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

    /// Breaks the body off if it has not ended by then.
    pub(crate) fn until(mut self, deadline: Instant) -> Self {
        if !self.source.is_end_stream() {
            self.deadline = Some(Box::pin(tokio::time::sleep_until(deadline)));
        }
        self
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
            Self::Mesh(body) => body.is_end_stream(),
            Self::Replay(replay) => replay.is_end_stream(),
        }
    }
}

impl From<Source> for Body {
    fn from(source: Source) -> Self {
        Self { source, on_end: None, deadline: None }
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        Source::Edge(incoming).into()
    }
}

impl From<MeshBody> for Body {
    fn from(body: MeshBody) -> Self {
        Source::Mesh(body).into()
    }
}

impl From<Replay> for Body {
    fn from(replay: Replay) -> Self {
        Source::Replay(replay).into()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            self.on_end = None;
            return Poll::Ready(Some(Err(BodyError::Timeout)));
        }
        let polled = match &mut self.source {
            Source::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Edge(incoming) => Pin::new(incoming).poll_frame(cx).map_err(BodyError::Edge),
            Source::Mesh(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Mesh),
            Source::Replay(replay) => Pin::new(replay).poll_frame(cx),
        };
        match &polled {
            Poll::Ready(None) => {
                if let Some(mut on_end) = self.on_end.take() {
                    on_end.complete();
                }
            }
            // What broke off is dropped with the body.
            Poll::Ready(Some(Err(_))) => self.on_end = None,
            Poll::Ready(Some(Ok(_))) => self.complete_if_ended(),
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
            Source::Mesh(body) => body.size_hint(),
            Source::Replay(replay) => replay.size_hint(),
        }
    }
}
