//! A CONNECT stream as a byte stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that is copied into one DATA frame at once.
const WRITE_CHUNK: usize = 16 * 1024;

/// Both directions of a CONNECT stream, read by [`poll_chunk`](Self::poll_chunk), or as [`AsyncRead`], or by both in turns.
/// Dropped before both ended, it resets the stream.
pub(crate) struct Tunnel {
    send: SendStream<Bytes>,
    recv: RecvStream,
    unread: Bytes,
    read_ended: bool,
    write_ended: bool,
    ending: Ending,
}

/// Whether the peer ended its direction cleanly; outlives the tunnel.
#[derive(Clone, Default)]
pub(crate) struct Ending(Arc<AtomicBool>);

impl Ending {
    /// True from when END_STREAM was read. See the module's page for what it means.
    pub(crate) fn is_clean(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Tunnel {
    pub(crate) fn new(send: SendStream<Bytes>, recv: RecvStream) -> Self {
        Self { send, recv, unread: Bytes::new(), read_ended: false, write_ended: false, ending: Ending::default() }
    }

    /// A handle that tells, also after the tunnel is gone, how the peer ended it.
    pub(crate) fn ending(&self) -> Ending {
        self.ending.clone()
    }

    /// The next bytes as they arrived, none at the end. They must be given back with [`Tunnel::release`].
    ///
    /// # Errors
    /// `ConnectionReset` where the peer reset the stream or the connection broke.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        // What `poll_read` has taken of the stream and not given yet.
        if !self.unread.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.unread))));
        }
        if self.read_ended {
            return Poll::Ready(Ok(None));
        }
        match ready!(self.recv.poll_data(cx)) {
            Some(Ok(data)) => Poll::Ready(Ok(Some(data))),
            // A peer that is through with a stream that we still write to says NO_ERROR after its end.
            Some(Err(error)) if error.reason() != Some(Reason::NO_ERROR) => Poll::Ready(Err(reset(error))),
            Some(Err(_)) | None => {
                self.read_ended = true;
                self.ending.0.store(true, Ordering::Relaxed);
                Poll::Ready(Ok(None))
            }
        }
    }

    /// Opens the stream's window again by bytes that were passed on.
    pub(crate) fn release(&mut self, bytes: usize) {
        // Fails on a stream that is closed, whose window nobody needs.
        let _ = self.recv.flow_control().release_capacity(bytes);
    }

    /// Waits until some of `wanted` bytes may be sent, and tells how many.
    pub(crate) fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        if self.send.capacity() == 0 {
            self.send.reserve_capacity(wanted);
            loop {
                match ready!(self.send.poll_capacity(cx)) {
                    Some(Ok(0)) => {}
                    Some(Ok(_)) => break,
                    Some(Err(error)) => return Poll::Ready(Err(reset(error))),
                    None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                }
            }
        }
        Poll::Ready(Ok(self.send.capacity().min(wanted)))
    }

    /// Sends bytes for which there is capacity.
    ///
    /// # Errors
    /// `BrokenPipe` where the stream is closed.
    pub(crate) fn send(&mut self, data: Bytes) -> io::Result<()> {
        self.send.send_data(data, false).map_err(|error| io::Error::new(io::ErrorKind::BrokenPipe, error))
    }

    /// Ends our direction.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if self.write_ended {
            return Ok(());
        }
        self.write_ended = true;
        match self.send.send_data(Bytes::new(), true) {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::new(io::ErrorKind::BrokenPipe, error)),
        }
    }
}

impl Tunnel {
    /// Breaks the stream off in both directions.
    pub(crate) fn reset(&mut self) {
        self.write_ended = true;
        self.send.send_reset(Reason::CANCEL);
    }
}

fn reset(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // After our own END_STREAM, h2 itself tells the peer that we don't read the rest (NO_ERROR), once everything is
        // sent. A reset by hand would throw away what is still queued: the answer, and the END_STREAM after it.
        if !self.write_ended {
            self.send.send_reset(Reason::CANCEL);
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(self.poll_chunk(cx))? {
                Some(chunk) => self.unread = chunk,
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = self.unread.len().min(buf.remaining());
        buf.put_slice(self.unread.get(..taken).unwrap_or_default());
        self.unread.advance(taken);
        self.release(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let granted = ready!(self.poll_capacity(cx, buf.len().min(WRITE_CHUNK)))?;
        let data = buf.get(..granted).unwrap_or_default();
        self.send(Bytes::copy_from_slice(data))?;
        Poll::Ready(Ok(granted))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = bufs.iter().map(|buf| buf.len()).sum::<usize>().min(WRITE_CHUNK);
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        let granted = ready!(self.poll_capacity(cx, wanted))?;
        let mut data = Vec::with_capacity(granted);
        for buf in bufs {
            let room = granted - data.len();
            data.extend_from_slice(buf.get(..room.min(buf.len())).unwrap_or_default());
        }
        self.send(data.into())?;
        Poll::Ready(Ok(granted))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.finish())
    }
}
