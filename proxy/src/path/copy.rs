//! Bytes in both directions, once nothing is left to decide. A half-closed side stays half-closed; a side that breaks
//! resets the other, so that neither application mistakes a loss for an end.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio_util::io::poll_read_buf;

use super::mesh::{MAX_PAYLOAD, Tunnel};
use super::scratch;
use super::socket::reset_on_close;

/// What is read at once where much is ready, in bytes.
const BULK: usize = MAX_PAYLOAD as usize;
/// What comes at once is much from here on, in bytes: it is read where it stays. What is less is copied there, so that it holds
/// no more than it is.
const MUCH: usize = 32 * 1024;
/// After so many bytes between two sockets that are always ready it is the worker's other connections' turn. A tunnel's are bounded
/// by its windows.
const SHARE: usize = 1024 * 1024;
/// What is read of a stream that is no socket.
const READ: usize = 32 * 1024;

/// Between a socket and a mesh stream, `prefix` first. What waits to read holds no buffer.
///
/// # Errors
/// What broke; the other side was reset then.
pub(crate) async fn socket_and_tunnel(mut socket: TcpStream, prefix: Bytes, mut tunnel: Tunnel) -> io::Result<()> {
    let copied = {
        let (mut reader, mut writer) = socket.split();
        // Both directions borrow the tunnel in turns, each only while it is polled.
        let tunnel = RefCell::new(&mut tunnel);
        tokio::try_join!(into_tunnel(&mut reader, prefix, &tunnel), out_of_tunnel(&tunnel, &mut writer))
    };
    if copied.is_err() {
        reset_on_close(&socket);
    }
    copied.map(drop)
}

/// Between two sockets, `prefix` first. What waits to read holds no buffer.
///
/// # Errors
/// What broke; both sides were reset then.
pub(crate) async fn sockets(mut a: TcpStream, prefix: Bytes, mut b: TcpStream) -> io::Result<()> {
    let copied = {
        let ((mut from_a, mut to_a), (mut from_b, mut to_b)) = (a.split(), b.split());
        let there = async {
            to_b.write_all(&prefix).await?;
            drop(prefix);
            pass_on(&mut from_a, &mut to_b).await
        };
        tokio::try_join!(there, pass_on(&mut from_b, &mut to_a))
    };
    if copied.is_err() {
        reset_on_close(&a);
        reset_on_close(&b);
    }
    copied.map(drop)
}

/// Between two byte streams.
///
/// # Errors
/// What broke.
pub(crate) async fn streams<A, B>(mut a: A, mut b: B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    tokio::io::copy_bidirectional_with_sizes(&mut a, &mut b, READ, READ).await.map(drop)
}

async fn into_tunnel(reader: &mut ReadHalf<'_>, prefix: Bytes, tunnel: &RefCell<&mut Tunnel>) -> io::Result<()> {
    let mut read = prefix;
    let mut is_bulk = false;
    loop {
        while !read.is_empty() {
            let granted = poll_fn(|cx| tunnel.borrow_mut().poll_capacity(cx, read.len())).await?;
            let chunk = read.split_to(granted.min(read.len()));
            tunnel.borrow_mut().send(chunk)?;
        }
        read = poll_fn(|cx| poll_chunk(reader, is_bulk, cx)).await?;
        if read.is_empty() {
            return tunnel.borrow_mut().finish();
        }
        is_bulk = read.len() >= MUCH;
    }
}

async fn out_of_tunnel(tunnel: &RefCell<&mut Tunnel>, writer: &mut WriteHalf<'_>) -> io::Result<()> {
    while let Some(chunk) = poll_fn(|cx| tunnel.borrow_mut().poll_chunk(cx)).await? {
        writer.write_all(&chunk).await?;
        tunnel.borrow_mut().release(chunk.len());
    }
    writer.shutdown().await
}

/// What there is to be read; empty at the end.
fn poll_chunk(reader: &mut ReadHalf<'_>, is_bulk: bool, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
    if !is_bulk {
        return scratch::with(|scratch| {
            let mut read = ReadBuf::new(scratch.get_mut(..BULK).unwrap_or_default());
            ready!(Pin::new(reader).poll_read(cx, &mut read))?;
            Poll::Ready(Ok(Bytes::copy_from_slice(read.filled())))
        });
    }
    ready!(reader.as_ref().poll_read_ready(cx))?;
    let mut buffer = BytesMut::with_capacity(BULK);
    let read = ready!(poll_read_buf(Pin::new(reader), cx, &mut buffer))?;
    Poll::Ready(Ok(if read < MUCH { Bytes::copy_from_slice(&buffer) } else { buffer.freeze() }))
}

/// From one socket to another.
async fn pass_on(from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>) -> io::Result<()> {
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

/// Passes on what there is, by the worker's own buffer. Returns how much that is, and what could not be written; `None`: the end.
fn poll_pass_on(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Option<(usize, Bytes)>>> {
    scratch::with(|scratch| {
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
