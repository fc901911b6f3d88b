//! Bytes in both directions, once nothing is left to decide. A half-closed side stays half-closed; a side that breaks
//! resets the other, so that neither application mistakes a loss for an end.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures::future::LocalBoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio_util::io::poll_read_buf;

use super::connection::Connection;
use super::mesh::{MAX_PAYLOAD, Tunnel};
use super::scratch;
use super::socket::PassedOn;

/// What is read at once where much is ready, in bytes.
const BULK: usize = MAX_PAYLOAD as usize;
/// A read of so many bytes tells that more is to come: the next one goes to a buffer of its own, which is passed on as it is.
/// Shorter ones go through the worker's buffer and are copied.
const MUCH: usize = 32 * 1024;
/// After so many bytes between two sockets that are always ready it is the worker's other connections' turn. A tunnel's are bounded
/// by its windows.
const SHARE: usize = 1024 * 1024;
/// What is read of a stream that is no socket.
const READ: usize = 32 * 1024;

/// Between two connections of which some bytes were read before. What waits to read holds no buffer. Boxed, so that what leads
/// here is not as large for connections that go another way.
///
/// # Errors
/// What broke; both sides were reset then, as they are where this is dropped before it is through.
pub(crate) fn connections(
    a: Connection,
    from_a: Bytes,
    b: Connection,
    from_b: Bytes,
) -> LocalBoxFuture<'static, io::Result<()>> {
    match (a, b) {
        (Connection::Socket(a), Connection::Socket(b)) => Box::pin(sockets(a, from_a, b, from_b)),
        (Connection::Socket(a), Connection::Tunnel(b)) => Box::pin(socket_and_tunnel(a, from_a, b, from_b)),
        (Connection::Tunnel(a), Connection::Socket(b)) => Box::pin(socket_and_tunnel(b, from_b, a, from_a)),
        (Connection::Tunnel(_), Connection::Tunnel(_)) => {
            Box::pin(std::future::ready(Err(io::Error::other("neither side is in this pod"))))
        }
    }
}

/// Between a socket and another byte stream, which has to tell an end from a loss by itself, as TLS does.
///
/// # Errors
/// What broke; the socket was reset then, as it is where this is dropped before it is through.
pub(crate) async fn socket_and_stream<S>(socket: TcpStream, from_socket: Bytes, mut stream: S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut socket = PassedOn::new(socket);
    stream.write_all(&from_socket).await?;
    drop(from_socket);
    // TLS may hold it back, and what follows flushes no more than its own.
    stream.flush().await?;
    tokio::io::copy_bidirectional_with_sizes(&mut stream, socket.socket(), READ, READ).await?;
    socket.ended();
    Ok(())
}

// What these take is moved into the future once, where an `async fn` would hold it a second time for its own use.

fn socket_and_tunnel(
    socket: TcpStream,
    from_socket: Bytes,
    mut tunnel: Tunnel,
    from_tunnel: Bytes,
) -> impl Future<Output = io::Result<()>> {
    let mut socket = PassedOn::new(socket);
    async move {
        let (mut reader, mut writer) = socket.socket().split();
        // Both directions borrow the tunnel in turns, each only while it is polled.
        let tunnel = RefCell::new(&mut tunnel);
        let (into, out) = (&mut reader, &mut writer);
        tokio::try_join!(into_tunnel(into, from_socket, &tunnel), out_of_tunnel(&tunnel, from_tunnel, out))?;
        socket.ended();
        Ok(())
    }
}

fn sockets(a: TcpStream, from_a: Bytes, b: TcpStream, from_b: Bytes) -> impl Future<Output = io::Result<()>> {
    let (mut a, mut b) = (PassedOn::new(a), PassedOn::new(b));
    async move {
        let ((mut read_a, mut write_a), (mut read_b, mut write_b)) = (a.socket().split(), b.socket().split());
        tokio::try_join!(pass_on(&mut read_a, from_a, &mut write_b), pass_on(&mut read_b, from_b, &mut write_a))?;
        a.ended();
        b.ended();
        Ok(())
    }
}

/// `read` goes first.
async fn into_tunnel(reader: &mut ReadHalf<'_>, mut read: Bytes, tunnel: &RefCell<&mut Tunnel>) -> io::Result<()> {
    let mut is_bulk = false;
    loop {
        while !read.is_empty() {
            let granted = poll_fn(|cx| tunnel.borrow_mut().poll_capacity(cx, read.len())).await?;
            let chunk = read.split_to(granted.min(read.len()));
            tunnel.borrow_mut().send(chunk)?;
        }
        read = poll_fn(|cx| poll_socket(reader, is_bulk, cx)).await?;
        if read.is_empty() {
            return tunnel.borrow_mut().finish();
        }
        is_bulk = read.len() >= MUCH;
    }
}

/// `first` goes first.
async fn out_of_tunnel(tunnel: &RefCell<&mut Tunnel>, first: Bytes, writer: &mut WriteHalf<'_>) -> io::Result<()> {
    writer.write_all(&first).await?;
    drop(first);
    while let Some(chunk) = poll_fn(|cx| tunnel.borrow_mut().poll_chunk(cx)).await? {
        writer.write_all(&chunk).await?;
        tunnel.borrow_mut().release(chunk.len());
    }
    writer.shutdown().await
}

/// What a socket has to be read; empty at the end. `is_bulk`: [`MUCH`] came the last time.
fn poll_socket(reader: &mut ReadHalf<'_>, is_bulk: bool, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
    if !is_bulk {
        return scratch::with(BULK, |scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(reader).poll_read(cx, &mut read))?;
            Poll::Ready(Ok(Bytes::copy_from_slice(read.filled())))
        });
    }
    // What waits to read holds no buffer.
    ready!(reader.as_ref().poll_read_ready(cx))?;
    let mut buffer = BytesMut::with_capacity(BULK);
    ready!(poll_read_buf(Pin::new(reader), cx, &mut buffer))?;
    Poll::Ready(Ok(scratch::fitted(buffer)))
}

/// From one socket to another, `first` before the rest.
async fn pass_on(from: &mut ReadHalf<'_>, first: Bytes, to: &mut WriteHalf<'_>) -> io::Result<()> {
    to.write_all(&first).await?;
    drop(first);
    let mut passed = 0;
    while let Some((read, left)) = poll_fn(|cx| poll_pass_on(from, to, cx)).await? {
        to.write_all(&left).await?;
        passed += read;
        if passed >= SHARE {
            passed = 0;
            tokio::task::yield_now().await;
        }
    }
    to.shutdown().await
}

/// Reads once, and writes once what the other socket takes. Returns how much was read, and a copy of what could not be written;
/// `None`: the end.
fn poll_pass_on(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Option<(usize, Bytes)>>> {
    // Nothing is read for a socket that takes nothing: it would have to be held.
    ready!(to.as_ref().poll_write_ready(cx))?;
    scratch::with(scratch::BYTES, |scratch| {
        let mut read = ReadBuf::new(scratch);
        ready!(Pin::new(from).poll_read(cx, &mut read))?;
        if read.filled().is_empty() {
            return Poll::Ready(Ok(None));
        }
        let written = match Pin::new(to).poll_write(cx, read.filled()) {
            Poll::Pending => 0,
            Poll::Ready(written) => written?,
        };
        let left = read.filled().get(written..).unwrap_or_default();
        Poll::Ready(Ok(Some((read.filled().len(), Bytes::copy_from_slice(left)))))
    })
}

#[cfg(test)]
mod tests;
