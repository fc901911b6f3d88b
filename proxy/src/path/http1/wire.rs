//! An HTTP/1 connection, as those who read it and those who write to it share it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::OwnedSemaphorePermit;

use super::MAX_HEAD;
use super::framing::{Framing, FramingError};
use crate::path::connection::Connection;
use crate::path::mesh::Ending;

/// The connection, what was read of it and not taken yet, and where its present message stands.
pub(crate) struct Wire {
    state: RefCell<State>,
    /// Which of its messages is being read.
    message: Cell<u32>,
    /// Whether another message may follow.
    pub(super) keep_alive: Cell<bool>,
    /// Whether the body of a request is still being sent.
    pub(super) uploading: Cell<bool>,
    /// Whether it was broken off on our side: its end is no message's end then.
    broken: Cell<bool>,
    /// How a stream of the mesh ended.
    pub(crate) ending: Option<Ending>,
    pub(crate) opened: Instant,
    /// The connection's place among those that its cluster may have.
    _permit: Option<OwnedSemaphorePermit>,
}

struct State {
    /// None: it was handed over to somebody else.
    connection: Option<Connection>,
    unread: Bytes,
    framing: Framing,
}

impl Wire {
    pub(crate) fn new(connection: Connection, unread: Bytes, permit: Option<OwnedSemaphorePermit>) -> Self {
        let ending = match &connection {
            Connection::Socket(_) => None,
            Connection::Tunnel(tunnel) => Some(tunnel.ending()),
        };
        Self {
            state: RefCell::new(State { connection: Some(connection), unread, framing: Framing::length(0) }),
            message: Cell::new(0),
            keep_alive: Cell::new(true),
            uploading: Cell::new(false),
            broken: Cell::new(false),
            ending,
            opened: Instant::now(),
            _permit: permit,
        }
    }

    /// Hands the connection over, and what was read of it. Bodies that somebody still holds give nothing any more.
    pub(super) fn hand_over(&self) -> Option<(Connection, Bytes)> {
        self.begin(Framing::length(0));
        let State { connection, unread, .. } = &mut *self.state.borrow_mut();
        Some((connection.take()?, std::mem::take(unread)))
    }

    /// Whether a request can be sent: its last answer was read to the end, and nothing has come since, not even the end. Asks
    /// the kernel only where something has come.
    pub(crate) fn is_idle(&self) -> bool {
        if !self.keep_alive.get() || self.uploading.get() {
            return false;
        }
        let State { connection, unread, framing } = &mut *self.state.borrow_mut();
        let Some(connection) = connection else { return false };
        let mut now = Context::from_waker(Waker::noop());
        framing.has_ended() && unread.is_empty() && connection.poll_fill(&mut now, unread).is_pending()
    }

    /// Reads until there is a line more, or more than a header may have; false: the connection has ended.
    pub(super) async fn fill(&self) -> io::Result<bool> {
        poll_fn(|cx| {
            loop {
                let State { connection, unread, .. } = &mut *self.state.borrow_mut();
                let Some(connection) = connection else { return Poll::Ready(Err(gone())) };
                let before = unread.len();
                if !ready!(connection.poll_fill(cx, unread))? {
                    return Poll::Ready(Ok(false));
                }
                let news = unread.get(before..).unwrap_or_default();
                if memchr::memchr(b'\n', news).is_some() || unread.len() >= MAX_HEAD {
                    return Poll::Ready(Ok(true));
                }
            }
        })
        .await
    }

    /// Gives what was read to who can take something from it.
    pub(super) fn take<T>(&self, take: impl FnOnce(&mut Bytes) -> T) -> T {
        take(&mut self.state.borrow_mut().unread)
    }

    /// A message begins, whose body is framed so. Bodies of earlier ones give nothing any more. Its number is given.
    pub(super) fn begin(&self, framing: Framing) -> u32 {
        self.state.borrow_mut().framing = framing;
        self.message.set(self.message.get().wrapping_add(1));
        self.message.get()
    }

    /// How the body that is being read is framed, if it is that of this message.
    pub(super) fn framing(&self, message: u32) -> Option<Framing> {
        (message == self.message.get()).then(|| self.state.borrow().framing)
    }

    /// The next part of a message's body; none at its end.
    pub(super) fn poll_frame(
        &self,
        cx: &mut Context<'_>,
        message: u32,
    ) -> Poll<Result<Option<Frame<Bytes>>, FramingError>> {
        if message != self.message.get() {
            return Poll::Ready(Err(FramingError::Stale));
        }
        if self.broken.get() {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionReset).into()));
        }
        let State { connection, unread, framing } = &mut *self.state.borrow_mut();
        let Some(connection) = connection else { return Poll::Ready(Err(gone().into())) };
        framing.poll_frame(cx, connection, unread)
    }

    /// Whether the body of the present message was read to its end.
    pub(super) fn has_ended(&self) -> bool {
        self.state.borrow().framing.has_ended()
    }

    /// Throws away what comes, framed or not, and tells how much it was; none at the end.
    pub(super) fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<u64>>> {
        let State { connection, unread, .. } = &mut *self.state.borrow_mut();
        let Some(connection) = connection else { return Poll::Ready(Ok(None)) };
        unread.clear();
        let more = ready!(connection.poll_fill(cx, unread))?;
        Poll::Ready(Ok(more.then_some(unread.len() as u64)))
    }

    /// Writes all pieces, in order; those that are written are empty then.
    pub(super) fn poll_write<const N: usize>(
        &self,
        cx: &mut Context<'_>,
        pieces: &mut [Bytes; N],
    ) -> Poll<io::Result<()>> {
        match &mut self.state.borrow_mut().connection {
            Some(connection) => connection.poll_write_pieces(cx, pieces),
            None => Poll::Ready(Err(gone())),
        }
    }

    /// Likewise.
    pub(super) async fn write<const N: usize>(&self, mut pieces: [Bytes; N]) -> io::Result<()> {
        poll_fn(|cx| self.poll_write(cx, &mut pieces)).await
    }

    /// Ends our direction.
    pub(super) fn finish(&self) -> io::Result<()> {
        self.state.borrow_mut().connection.as_mut().map_or_else(|| Err(gone()), Connection::finish)
    }

    /// Breaks the connection off, so that whoever reads it sees that something was lost, be it the other side or the present
    /// message's body.
    pub(super) fn break_off(&self) {
        self.keep_alive.set(false);
        self.broken.set(true);
        if let Some(connection) = &mut self.state.borrow_mut().connection {
            connection.break_off();
        }
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}
