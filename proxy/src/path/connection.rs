//! A connection for bytes to an application: its socket, or a stream of the mesh.
//!
//! Sockets are read by tokio's own `poll_read`: it takes a buffer that was filled in part for all that there is, where `try_read`
//! asks the kernel once more. Only TCP's urgent data ends a read early, too: what follows it may wait for the next packet. It is
//! not for new protocols (RFC 6093), and its mark is not passed on.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

use super::mesh::Tunnel;
use super::scratch;
use super::socket::reset_on_close;

/// What is read of a socket at once where it is not known how much will come, in bytes.
const READ: usize = 16 * 1024;
/// Pieces that are no longer than this together go into one DATA frame of the mesh.
const JOINED: usize = 8 * 1024;
/// What comes by the mesh is copied if it is no longer than this: what is kept of it would keep all that came with it.
const COPIED: usize = 2 * 1024;

/// An opened connection.
pub(crate) enum Connection {
    /// To or from somebody in this pod, or outside of the mesh.
    Socket(TcpStream),
    /// To or from a peer's sidecar.
    Tunnel(Tunnel),
}

impl Connection {
    /// Appends what has come to `unread`; false: the end.
    ///
    /// # Errors
    /// The connection's own; `ConnectionReset` where the peer broke off.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, unread: &mut Bytes) -> Poll<io::Result<bool>> {
        match self {
            Self::Socket(socket) => scratch::with(READ, |scratch| {
                let mut read = ReadBuf::new(scratch);
                ready!(Pin::new(socket).poll_read(cx, &mut read))?;
                append(unread, read.filled());
                Poll::Ready(Ok(!read.filled().is_empty()))
            }),
            Self::Tunnel(tunnel) => Poll::Ready(match ready!(tunnel.poll_chunk(cx))? {
                Some(chunk) => {
                    tunnel.release(chunk.len());
                    if unread.is_empty() && chunk.len() > COPIED {
                        *unread = chunk;
                    } else {
                        append(unread, &chunk);
                    }
                    Ok(true)
                }
                None => Ok(false),
            }),
        }
    }

    /// Bytes as they come, at most `limit` of them where they come by a socket; empty: the end. What comes by the mesh is
    /// not copied, and may be more.
    ///
    /// # Errors
    /// As [`poll_fill`](Self::poll_fill)'s.
    pub(super) fn poll_bytes(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<Bytes>> {
        match self {
            Self::Socket(socket) => {
                ready!(socket.poll_read_ready(cx))?;
                let mut buffer = BytesMut::with_capacity(limit);
                ready!(poll_read_buf(Pin::new(socket), cx, &mut bytes::BufMut::limit(&mut buffer, limit)))?;
                Poll::Ready(Ok(scratch::fitted(buffer)))
            }
            Self::Tunnel(tunnel) => {
                let chunk = ready!(tunnel.poll_chunk(cx))?.unwrap_or_default();
                tunnel.release(chunk.len());
                Poll::Ready(Ok(chunk))
            }
        }
    }

    /// Writes all pieces, in order; those that are written are empty then. To be called again until it is ready.
    ///
    /// # Errors
    /// The connection's own.
    pub(super) fn poll_write_pieces<const N: usize>(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &mut [Bytes; N],
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Socket(socket) => loop {
                if pieces.iter().all(Bytes::is_empty) {
                    return Poll::Ready(Ok(()));
                }
                ready!(socket.poll_write_ready(cx))?;
                let written = match pieces.iter().filter(|piece| !piece.is_empty()).count() {
                    1 => socket.try_write(pieces.iter().find(|piece| !piece.is_empty()).map_or(&[], |piece| piece)),
                    _ => socket.try_write_vectored(&std::array::from_fn::<_, N, _>(|index| {
                        IoSlice::new(pieces.get(index).map_or(&[], |piece| piece))
                    })),
                };
                match written {
                    Ok(written) => advance(pieces, written),
                    Err(error) if is_transient(&error) => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            },
            Self::Tunnel(tunnel) => {
                join(pieces);
                for piece in pieces {
                    while !piece.is_empty() {
                        let granted = ready!(tunnel.poll_capacity(cx, piece.len()))?;
                        tunnel.send(piece.split_to(granted.min(piece.len())))?;
                    }
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Ends our direction.
    ///
    /// # Errors
    /// Where the connection is gone already.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Socket(socket) => socket2::SockRef::from(&*socket).shutdown(std::net::Shutdown::Write),
            Self::Tunnel(tunnel) => tunnel.finish(),
        }
    }

    /// Breaks it off: the other side sees that something was lost, and so do our own readers.
    pub(super) fn break_off(&mut self) {
        match self {
            Self::Socket(socket) => {
                reset_on_close(socket);
                // It is gone already where this fails.
                let _ = socket2::SockRef::from(&*socket).shutdown(std::net::Shutdown::Both);
            }
            Self::Tunnel(tunnel) => tunnel.reset(),
        }
    }
}

pub(super) fn append(unread: &mut Bytes, data: &[u8]) {
    if unread.is_empty() {
        *unread = Bytes::copy_from_slice(data);
    } else if !data.is_empty() {
        let mut joined = BytesMut::with_capacity(unread.len() + data.len());
        joined.extend_from_slice(unread);
        joined.extend_from_slice(data);
        *unread = joined.freeze();
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn advance(pieces: &mut [Bytes], mut written: usize) {
    for piece in pieces {
        let here = written.min(piece.len());
        piece.advance(here);
        written -= here;
    }
}

/// Puts short pieces together: each frame has a header of its own, and costs more than copying them.
fn join(pieces: &mut [Bytes]) {
    let total: usize = pieces.iter().map(Bytes::len).sum();
    if total > JOINED || pieces.iter().filter(|piece| !piece.is_empty()).count() < 2 {
        return;
    }
    let mut joined = BytesMut::with_capacity(total);
    for piece in pieces.iter_mut() {
        joined.extend_from_slice(&std::mem::take(piece));
    }
    if let Some(first) = pieces.first_mut() {
        *first = joined.freeze();
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Socket(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tunnel(tunnel) => Pin::new(tunnel).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Socket(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tunnel(tunnel) => Pin::new(tunnel).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Socket(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Tunnel(tunnel) => Pin::new(tunnel).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Socket(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tunnel(tunnel) => Pin::new(tunnel).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Socket(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tunnel(tunnel) => Pin::new(tunnel).poll_shutdown(cx),
        }
    }
}
