//! Stage 3: what does this connection speak?

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use weft_rules::sniff::{Sniffed, sniff};

/// A client that is silent for so long may be waiting for the server to speak first.
const SILENCE: Duration = Duration::from_millis(100);
/// What is read ahead at most, in bytes; sniffing needs far less.
const READ_AHEAD: usize = 4096;

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detected {
    Http1,
    Http2,
    /// The application's own TLS, or that of a mesh client.
    Tls,
    Opaque,
    /// Not a byte yet: the server may speak first.
    Silent,
    /// The time to decide is over; what was read is passed on as it is.
    TimedOut,
    /// The client closed without a byte.
    Closed,
}

/// Reads until the protocol is clear; what was read stays in `read`, for who goes on.
///
/// # Errors
/// The connection's own.
pub(crate) async fn detect<I: AsyncRead + Unpin>(
    io: &mut I,
    read: &mut BytesMut,
    patience: Duration,
) -> io::Result<Detected> {
    let first = tokio::time::timeout(SILENCE, more(io, read)).await;
    match first {
        Err(_) => return Ok(Detected::Silent),
        Ok(Ok(0)) => return Ok(Detected::Closed),
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(error),
    }
    conclude(io, read, patience).await
}

/// Goes on from bytes that were read already.
///
/// # Errors
/// The connection's own.
pub(crate) async fn conclude<I: AsyncRead + Unpin>(
    io: &mut I,
    read: &mut BytesMut,
    patience: Duration,
) -> io::Result<Detected> {
    let decide = async {
        loop {
            match sniff(read) {
                Sniffed::Http1 => return Ok(Detected::Http1),
                Sniffed::Http2 => return Ok(Detected::Http2),
                Sniffed::Tls => return Ok(Detected::Tls),
                Sniffed::Opaque => return Ok(Detected::Opaque),
                Sniffed::NeedMore => {}
            }
            if more(io, read).await? == 0 {
                return Ok(if read.is_empty() { Detected::Closed } else { Detected::Opaque });
            }
        }
    };
    tokio::time::timeout(patience, decide).await.unwrap_or(Ok(Detected::TimedOut))
}

/// For a port that is declared HTTP: which version. What is no HTTP/2 is for the HTTP/1 server to take or to refuse.
///
/// # Errors
/// The connection's own.
pub(crate) async fn http_version<I: AsyncRead + Unpin>(io: &mut I, read: &mut BytesMut) -> io::Result<Detected> {
    loop {
        match sniff(read) {
            Sniffed::Http2 => return Ok(Detected::Http2),
            Sniffed::NeedMore => {}
            Sniffed::Http1 | Sniffed::Tls | Sniffed::Opaque => return Ok(Detected::Http1),
        }
        if more(io, read).await? == 0 {
            return Ok(if read.is_empty() { Detected::Closed } else { Detected::Http1 });
        }
    }
}

async fn more<I: AsyncRead + Unpin>(io: &mut I, read: &mut BytesMut) -> io::Result<usize> {
    if read.len() >= READ_AHEAD {
        return Err(io::Error::other("the protocol is still unclear after 4096 bytes"));
    }
    read.reserve(READ_AHEAD - read.len());
    io.read_buf(read).await
}
