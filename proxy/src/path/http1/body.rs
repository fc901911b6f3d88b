//! A body that is read from an HTTP/1 connection, part by part as it is wanted.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::framing::{Framing, FramingError};
use super::wire::Wire;
use crate::path::upload::Upload;

/// The body of one message. It reads nothing but its own bytes, also when it is kept for longer than it should be.
pub(crate) struct Http1Body {
    wire: Rc<Wire>,
    message: u32,
    /// What still sends the request that this answers.
    _upload: Option<Upload>,
}

impl Http1Body {
    /// The body of the message that begins.
    pub(super) fn new(wire: &Rc<Wire>, framing: Framing, upload: Option<Upload>) -> Self {
        let message = wire.begin(framing);
        Self { wire: Rc::clone(wire), message, _upload: upload }
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FramingError>>> {
        self.wire.poll_frame(cx, self.message).map(Result::transpose)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.wire.framing(self.message).is_none_or(Framing::has_ended)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let left = self.wire.framing(self.message).and_then(Framing::left);
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
