//! Bytes in both directions, once nothing is left to decide. A half-closed side stays half-closed; a side that breaks
//! resets the other, so that neither application mistakes a loss for an end.

use std::future::poll_fn;
use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::mesh::Tunnel;
use super::socket::reset_on_close;

/// The most that is read from a socket at once, in bytes. With the header of a DATA frame it fills two records of TLS.
const READ: usize = 32 * 1024 - 9;

/// Between a socket and a mesh stream, `prefix` first. A waiting direction holds no buffer.
///
/// # Errors
/// What broke; the other side was reset then.
pub(crate) async fn socket_and_tunnel(mut socket: TcpStream, prefix: Bytes, mut tunnel: Tunnel) -> io::Result<()> {
    let copied = {
        let (mut reader, mut writer) = socket.split();
        both_ways(&mut reader, &mut writer, prefix, &mut tunnel).await
    };
    if copied.is_err() {
        reset_on_close(&socket);
    }
    copied
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

/// Between two sockets, `prefix` first.
///
/// # Errors
/// What broke; both sides were reset then.
pub(crate) async fn sockets(mut a: TcpStream, prefix: Bytes, mut b: TcpStream) -> io::Result<()> {
    let copied = async {
        b.write_all(&prefix).await?;
        drop(prefix);
        tokio::io::copy_bidirectional_with_sizes(&mut a, &mut b, READ, READ).await
    };
    let copied = copied.await;
    if copied.is_err() {
        reset_on_close(&a);
        reset_on_close(&b);
    }
    copied.map(drop)
}

async fn both_ways(
    reader: &mut ReadHalf<'_>,
    writer: &mut WriteHalf<'_>,
    prefix: Bytes,
    tunnel: &mut Tunnel,
) -> io::Result<()> {
    // Both directions borrow the tunnel in turns, each only while it is polled.
    let tunnel = std::cell::RefCell::new(tunnel);
    let send = async {
        send_all(prefix, &tunnel).await?;
        loop {
            let read = read_chunk(reader).await?;
            if read.is_empty() {
                return tunnel.borrow_mut().finish();
            }
            send_all(read, &tunnel).await?;
        }
    };
    let receive = async {
        while let Some(chunk) = poll_fn(|cx| tunnel.borrow_mut().poll_chunk(cx)).await? {
            writer.write_all(&chunk).await?;
            tunnel.borrow_mut().release(chunk.len());
        }
        writer.shutdown().await
    };
    tokio::try_join!(send, receive).map(drop)
}

/// Waits without a buffer, then reads what is there; empty at the end.
async fn read_chunk(reader: &mut ReadHalf<'_>) -> io::Result<Bytes> {
    loop {
        reader.readable().await?;
        let mut buffer = BytesMut::with_capacity(READ);
        match reader.try_read_buf(&mut buffer) {
            Ok(_) => return Ok(buffer.freeze()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn send_all(mut data: Bytes, tunnel: &std::cell::RefCell<&mut Tunnel>) -> io::Result<()> {
    while !data.is_empty() {
        let granted = poll_fn(|cx| tunnel.borrow_mut().poll_capacity(cx, data.len())).await?;
        let chunk = data.split_to(granted.min(data.len()));
        tunnel.borrow_mut().send(chunk)?;
    }
    Ok(())
}
