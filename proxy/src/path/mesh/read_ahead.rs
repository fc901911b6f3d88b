//! Fewer reads of the socket under TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

/// What is read at once when much comes, in bytes: nearly eight records of TLS.
const AHEAD: usize = 128 * 1024;

/// A socket that reads ahead while its reader takes all that it is given.
///
/// rustls reads 4 KiB at a time, a quarter of a record. While that is filled there is more to come: then much is read at once,
/// and handed over in parts. What is less goes through as it is; a connection that waits holds nothing.
pub(crate) struct ReadAhead {
    socket: TcpStream,
    ahead: Bytes,
    /// Whether the last read filled all that there was room for.
    is_bulk: bool,
}

impl ReadAhead {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self { socket, ahead: Bytes::new(), is_bulk: false }
    }

    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let given = self.ahead.len().min(buf.remaining());
        buf.put_slice(self.ahead.get(..given).unwrap_or_default());
        self.ahead.advance(given);
        if self.ahead.is_empty() {
            self.ahead = Bytes::new();
        }
    }
}

impl AsyncRead for ReadAhead {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.ahead.is_empty() {
            this.give(buf);
            return Poll::Ready(Ok(()));
        }
        if !this.is_bulk {
            let before = buf.remaining();
            ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
            this.is_bulk = buf.remaining() == 0 && before > 0;
            return Poll::Ready(Ok(()));
        }
        ready!(this.socket.poll_read_ready(cx))?;
        let mut ahead = BytesMut::with_capacity(AHEAD);
        let read = ready!(poll_read_buf(Pin::new(&mut this.socket), cx, &mut ahead))?;
        this.is_bulk = read > buf.remaining();
        this.ahead = ahead.freeze();
        this.give(buf);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ReadAhead {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
