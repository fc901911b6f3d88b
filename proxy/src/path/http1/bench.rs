//! The codec as the benchmarks in `proxy/benches` use it: they are a program of their own, and all else is private.

use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, response};
use tokio::net::TcpStream;

use super::framing::Framing;
use super::head::{self, Parsed};
use crate::path::connection::Connection;

/// Takes a request's header from what was read; `None`: it is not whole, or not ordinary.
pub fn read_request(unread: &mut Bytes) -> Option<Request<()>> {
    match head::request(unread) {
        Parsed::Whole(head) => Some(head.message),
        Parsed::Partial | Parsed::Other => None,
    }
}

/// Takes the header of an answer to a request with this method from what was read; `None`: it is not whole, or malformed.
pub fn read_response(unread: &mut Bytes, method: &Method) -> Option<Response<()>> {
    match head::response(unread, method) {
        Parsed::Whole(head) => Some(head.message),
        Parsed::Partial | Parsed::Other => None,
    }
}

/// Writes the header of a request whose body is in chunks, or has the length that a field of it tells.
pub fn write_request(request: &Request<()>, is_chunked: bool) -> BytesMut {
    head::write_request(request, &framing(is_chunked))
}

/// Likewise that of an answer.
pub fn write_response(parts: &response::Parts, is_chunked: bool) -> BytesMut {
    head::write_response(parts, &framing(is_chunked), None, false)
}

fn framing(is_chunked: bool) -> Framing {
    if is_chunked { Framing::chunked() } else { Framing::length(0) }
}

/// Puts the parts of a body into chunks, and says how many bytes these have around the data.
pub fn write_chunks(parts: &[Bytes]) -> Option<usize> {
    let mut framing = Framing::chunked();
    let mut around = 0;
    for (number, part) in (1..).zip(parts) {
        let [before, _, after] = framing.wrap(part.clone(), number == parts.len()).ok()?;
        around += before.len() + after.len();
    }
    framing.has_ended().then_some(around)
}

/// Reads bodies that are there already.
pub struct ChunkReader(Connection);

impl ChunkReader {
    /// From a connection, which is read only where something is missing.
    pub fn new(socket: TcpStream) -> Self {
        Self(Connection::Socket(socket))
    }

    /// Takes a chunked body from what was read, and says how many bytes of data it has; `None`: it is not whole, or malformed.
    pub fn read(&mut self, unread: &mut Bytes) -> Option<usize> {
        let (mut framing, mut length) = (Framing::chunked(), 0);
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match framing.poll_frame(&mut cx, &mut self.0, unread) {
                Poll::Ready(Ok(Some(frame))) => length += frame.data_ref().map_or(0, Bytes::len),
                Poll::Ready(Ok(None)) => return Some(length),
                Poll::Ready(Err(_)) | Poll::Pending => return None,
            }
        }
    }
}
