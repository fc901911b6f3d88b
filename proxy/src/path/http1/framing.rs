//! Where a message's body ends (RFC 9112, 6 and 7): its parts taken from bytes, and put between what they need around them.

use std::io::Write as _;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;

use super::MAX_FIELDS;
use crate::path::connection::Connection;

/// What is read of a body at once, in bytes.
const READ: usize = 32 * 1024;
/// The longest line with a chunk's size, extensions included.
const MAX_CHUNK_LINE: usize = 1024;
/// What the lines of all chunks of a message may have beside the sizes, in bytes: nobody needs extensions.
const MAX_EXTENSIONS: usize = 16 * 1024;
/// The longest trailer section, in bytes.
const MAX_TRAILERS: usize = 16 * 1024;

/// How a body is framed, and what is still to come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Framing(State);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked { at: ChunkedAt, extensions: usize },
    /// All until the connection ends.
    UntilClose,
    /// It has ended.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkedAt {
    Size,
    Data(u64),
    /// The line's end behind a chunk.
    End,
    Trailers,
}

/// Why a body can't be read or written on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FramingError {
    #[error("the connection broke: {0}")]
    Broken(#[from] std::io::Error),
    #[error("the connection ended within the body")]
    CutShort,
    #[error("the body's chunks are malformed: {0}")]
    Malformed(&'static str),
    #[error("the body is not as long as its content-length says")]
    WrongLength,
    #[error("the body belongs to a message before")]
    Stale,
}

impl Framing {
    pub(super) fn length(length: u64) -> Self {
        Self(if length == 0 { State::Ended } else { State::Length(length) })
    }

    pub(super) fn chunked() -> Self {
        Self(State::Chunked { at: ChunkedAt::Size, extensions: 0 })
    }

    pub(super) fn until_close() -> Self {
        Self(State::UntilClose)
    }

    pub(super) fn is_chunked(self) -> bool {
        matches!(self.0, State::Chunked { .. })
    }

    pub(super) fn is_until_close(self) -> bool {
        self.0 == State::UntilClose
    }

    pub(super) fn has_ended(self) -> bool {
        self.0 == State::Ended
    }

    /// How many bytes are to come, where that is known.
    pub(super) fn left(self) -> Option<u64> {
        match self.0 {
            State::Length(left) => Some(left),
            State::Ended => Some(0),
            State::Chunked { .. } | State::UntilClose => None,
        }
    }

    /// The next part of the body; none at its end.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        unread: &mut Bytes,
    ) -> Poll<Result<Option<Frame<Bytes>>, FramingError>> {
        loop {
            match self.0 {
                State::Ended => return Poll::Ready(Ok(None)),
                State::Length(left) => {
                    let part = ready!(poll_part(cx, connection, unread, left))?;
                    if part.is_empty() {
                        return Poll::Ready(Err(FramingError::CutShort));
                    }
                    *self = Self::length(left - part.len() as u64);
                    return Poll::Ready(Ok(Some(Frame::data(part))));
                }
                State::UntilClose => {
                    let part = ready!(poll_part(cx, connection, unread, u64::MAX))?;
                    if part.is_empty() {
                        self.0 = State::Ended;
                        return Poll::Ready(Ok(None));
                    }
                    return Poll::Ready(Ok(Some(Frame::data(part))));
                }
                State::Chunked { at: ChunkedAt::Data(left), extensions } => {
                    let part = ready!(poll_part(cx, connection, unread, left))?;
                    if part.is_empty() {
                        return Poll::Ready(Err(FramingError::CutShort));
                    }
                    let left = left - part.len() as u64;
                    let at = if left == 0 { ChunkedAt::End } else { ChunkedAt::Data(left) };
                    self.0 = State::Chunked { at, extensions };
                    self.take_ahead(unread)?;
                    return Poll::Ready(Ok(Some(Frame::data(part))));
                }
                State::Chunked { at, extensions } => match self.take_line(at, extensions, unread)? {
                    Taken::Trailers(trailers) => return Poll::Ready(Ok(Some(Frame::trailers(trailers)))),
                    Taken::Something => {}
                    Taken::Nothing => {
                        if !ready!(connection.poll_fill(cx, unread))? {
                            return Poll::Ready(Err(FramingError::CutShort));
                        }
                    }
                },
            }
        }
    }

    /// Goes on as far as what was read already allows, so that the end is known as early as it can be: who has the last
    /// part then knows that it is the last.
    fn take_ahead(&mut self, unread: &mut Bytes) -> Result<(), FramingError> {
        while let State::Chunked { at: at @ (ChunkedAt::End | ChunkedAt::Size), extensions } = self.0 {
            if !matches!(self.take_line(at, extensions, unread)?, Taken::Something) {
                break;
            }
        }
        // Without trailers the end is two bytes away.
        if let State::Chunked { at: ChunkedAt::Trailers, .. } = self.0
            && unread.starts_with(b"\r\n")
        {
            let _ = unread.split_to(2);
            self.0 = State::Ended;
        }
        Ok(())
    }

    /// Takes what stands between the data of chunks.
    fn take_line(&mut self, at: ChunkedAt, extensions: usize, unread: &mut Bytes) -> Result<Taken, FramingError> {
        match at {
            ChunkedAt::Data(_) => Ok(Taken::Nothing),
            ChunkedAt::End => {
                if unread.len() < 2 {
                    return Ok(Taken::Nothing);
                }
                if !unread.starts_with(b"\r\n") {
                    return Err(FramingError::Malformed("a chunk is longer than it says"));
                }
                let _ = unread.split_to(2);
                self.0 = State::Chunked { at: ChunkedAt::Size, extensions };
                Ok(Taken::Something)
            }
            ChunkedAt::Size => self.take_size(extensions, unread),
            ChunkedAt::Trailers => self.take_trailers(unread),
        }
    }

    fn take_size(&mut self, extensions: usize, unread: &mut Bytes) -> Result<Taken, FramingError> {
        let (length, size) = match httparse::parse_chunk_size(unread) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) if unread.len() < MAX_CHUNK_LINE => return Ok(Taken::Nothing),
            Ok(httparse::Status::Partial) => return Err(FramingError::Malformed("an endless chunk size")),
            Err(_) => return Err(FramingError::Malformed("a chunk size that is none")),
        };
        let line = unread.split_to(length);
        if !line.first().is_some_and(u8::is_ascii_hexdigit) {
            return Err(FramingError::Malformed("a chunk size without digits"));
        }
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let extensions = extensions + length.saturating_sub(digits + 2);
        if length > MAX_CHUNK_LINE || extensions > MAX_EXTENSIONS {
            return Err(FramingError::Malformed("too many chunk extensions"));
        }
        let at = if size == 0 { ChunkedAt::Trailers } else { ChunkedAt::Data(size) };
        self.0 = State::Chunked { at, extensions };
        Ok(Taken::Something)
    }

    fn take_trailers(&mut self, unread: &mut Bytes) -> Result<Taken, FramingError> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let (length, trailers) = match httparse::parse_headers(unread, &mut fields) {
            Ok(httparse::Status::Complete((length, fields))) => (length, trailers(fields)?),
            Ok(httparse::Status::Partial) if unread.len() < MAX_TRAILERS => return Ok(Taken::Nothing),
            Ok(httparse::Status::Partial) => return Err(FramingError::Malformed("endless trailers")),
            Err(_) => return Err(FramingError::Malformed("trailers that are none")),
        };
        let _ = unread.split_to(length);
        self.0 = State::Ended;
        Ok(if trailers.is_empty() { Taken::Something } else { Taken::Trailers(trailers) })
    }

    /// What stands before and behind a part of a body on the wire. A body with a length must not be longer than that.
    pub(super) fn wrap(&mut self, data: Bytes, last: bool) -> Result<[Bytes; 3], FramingError> {
        match self.0 {
            State::Chunked { .. } if data.is_empty() => {
                Ok([Bytes::new(), Bytes::new(), if last { self.end() } else { Bytes::new() }])
            }
            State::Chunked { .. } => {
                let mut size = BytesMut::with_capacity(18).writer();
                // Writing to memory does not fail.
                let _ = write!(size, "{:x}\r\n", data.len());
                let end = if last { Bytes::from_static(b"\r\n0\r\n\r\n") } else { Bytes::from_static(b"\r\n") };
                if last {
                    self.0 = State::Ended;
                }
                Ok([size.into_inner().freeze(), data, end])
            }
            State::Length(left) => {
                let left = left.checked_sub(data.len() as u64).ok_or(FramingError::WrongLength)?;
                *self = Self::length(left);
                Ok([Bytes::new(), data, Bytes::new()])
            }
            State::Ended if data.is_empty() => Ok([const { Bytes::new() }; 3]),
            State::Ended => Err(FramingError::WrongLength),
            State::UntilClose => Ok([Bytes::new(), data, Bytes::new()]),
        }
    }

    /// What stands at the end of a body; nothing where it stood behind its last part.
    pub(super) fn end(&mut self) -> Bytes {
        let end = if self.is_chunked() { Bytes::from_static(b"0\r\n\r\n") } else { Bytes::new() };
        if self.is_chunked() || self.is_until_close() {
            self.0 = State::Ended;
        }
        end
    }
}

/// What was found between the data of chunks.
enum Taken {
    Something,
    Trailers(HeaderMap),
    /// More has to come first.
    Nothing,
}

/// At most `limit` bytes; none at the connection's end.
fn poll_part(
    cx: &mut Context<'_>,
    connection: &mut Connection,
    unread: &mut Bytes,
    limit: u64,
) -> Poll<std::io::Result<Bytes>> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if unread.is_empty() {
        *unread = ready!(connection.poll_bytes(cx, limit.min(READ)))?;
    }
    Poll::Ready(Ok(unread.split_to(limit.min(unread.len()))))
}

fn trailers(fields: &[httparse::Header<'_>]) -> Result<HeaderMap, FramingError> {
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let (name, value) = (HeaderName::from_bytes(field.name.as_bytes()), HeaderValue::from_bytes(field.value));
        match (name, value) {
            (Ok(name), Ok(value)) => trailers.append(name, value),
            _ => return Err(FramingError::Malformed("a trailer that is no field")),
        };
    }
    Ok(trailers)
}
