//! A request body that can be sent again, as long as little of it has gone out.
//!
//! The first try is never delayed: frames are remembered as they pass. Past [`LIMIT`] bytes they are let go, and the
//! request can no longer be repeated. Copies for other destinations get the frames as they pass, too.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::body::{Body, BodyError};
use super::mirror::{self, CopyBody, CopySender};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

/// The most that is remembered of a request's body, in bytes.
const LIMIT: usize = 64 * 1024;

/// The original body, shared by the tries of one request.
pub(crate) struct Replayable(Rc<RefCell<Original>>);

/// One try's view of the body.
pub(crate) struct Replay {
    original: Rc<RefCell<Original>>,
    try_number: u32,
    next: usize,
    trailers_sent: bool,
}

struct Original {
    incoming: Body,
    frames: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    remembered: usize,
    overflowed: bool,
    ended: bool,
    current_try: u32,
    copies: Vec<CopySender>,
    moved: Option<Instant>,
}

impl Replayable {
    pub(crate) fn new(incoming: Body) -> Self {
        let ended = incoming.is_end_stream();
        Self(Rc::new(RefCell::new(Original {
            incoming,
            frames: Vec::new(),
            trailers: None,
            remembered: 0,
            overflowed: false,
            ended,
            current_try: 0,
            copies: Vec::new(),
            moved: None,
        })))
    }

    /// A copy of the body. To be made before the first try.
    pub(crate) fn copy(&self) -> CopyBody {
        let (sender, copy) = mirror::copy();
        self.0.borrow_mut().copies.push(sender);
        copy
    }

    /// When a part of the body was last passed on.
    pub(crate) fn last_moved(&self) -> Option<Instant> {
        self.0.borrow().moved
    }

    /// Whether the body can be sent again from its beginning.
    pub(crate) fn can_repeat(&self) -> bool {
        !self.0.borrow().overflowed
    }

    /// Whether all of the body is here, so that several tries can have it at the same time.
    pub(crate) fn is_complete(&self) -> bool {
        let original = self.0.borrow();
        original.ended && !original.overflowed
    }

    /// The body for the next try; none where too much of it is gone. Ends all tries before, unless it
    /// [is complete](Self::is_complete).
    pub(crate) fn next_try(&self) -> Option<Replay> {
        let mut original = self.0.borrow_mut();
        if original.overflowed {
            return None;
        }
        original.current_try += 1;
        Some(Replay { original: Rc::clone(&self.0), try_number: original.current_try, next: 0, trailers_sent: false })
    }
}

impl Original {
    /// Puts what has come into the copies.
    fn copy(&mut self, frame: &Frame<Bytes>) {
        if !self.copies.is_empty() {
            self.copies.retain(|copy| copy.push(frame));
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.copies.drain(..).for_each(CopySender::end);
    }

    fn remember(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.remembered += data.len();
            if self.remembered > LIMIT {
                self.overflowed = true;
                self.frames = Vec::new();
            } else {
                self.frames.push(data.clone());
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
        }
    }
}

impl HttpBody for Replay {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut original = this.original.borrow_mut();
        // What is complete serves all tries.
        let complete = original.ended && !original.overflowed;
        if this.try_number != original.current_try && !complete {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        if let Some(frame) = original.frames.get(this.next) {
            this.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(frame.clone()))));
        }
        if original.ended {
            let trailers = original.trailers.clone().filter(|_| !this.trailers_sent);
            this.trailers_sent = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let Some(frame) = ready!(Pin::new(&mut original.incoming).poll_frame(cx)).transpose()? else {
            original.end();
            return Poll::Ready(None);
        };
        original.moved = Some(Instant::now());
        original.copy(&frame);
        original.remember(&frame);
        if frame.is_trailers() || original.incoming.is_end_stream() {
            original.end();
        }
        if frame.is_trailers() {
            this.trailers_sent = true;
        } else if !original.overflowed {
            this.next += 1;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let original = self.original.borrow();
        let unread_trailers = original.trailers.is_some() && !self.trailers_sent;
        original.ended && !unread_trailers && self.next >= original.frames.len()
    }

    fn size_hint(&self) -> SizeHint {
        let original = self.original.borrow();
        let ahead: usize = original.frames.iter().skip(self.next).map(Bytes::len).sum();
        let rest = original.incoming.size_hint();
        match rest.exact() {
            Some(exact) => SizeHint::with_exact(exact + ahead as u64),
            None => SizeHint::default(),
        }
    }
}
