//! The header of a message: read from bytes, written to bytes.

use std::mem::MaybeUninit;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use http::{Extensions, Method, Request, Response, StatusCode, Uri, Version, response};
use hyper::ext::ReasonPhrase;

use super::framing::Framing;
use super::{MAX_FIELDS, MAX_HEAD};

/// What bytes are.
pub(super) enum Parsed<T> {
    /// A whole header, which is taken from the bytes.
    Whole(T),
    /// The beginning of one.
    Partial,
    /// Not an ordinary one. Nothing was taken.
    Other,
}

/// How the names of a message's header were written. HTTP does not care; some who speak it do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// All in lower case.
    Lower,
    /// Each word with a capital: `Content-Type`.
    Title,
    /// Otherwise: the names as they were, in their order.
    Own(Arc<[Bytes]>),
}

/// A message's header, and what follows it.
pub(super) struct Head<T> {
    pub(super) message: T,
    pub(super) framing: Framing,
    /// Whether the connection goes on after this message.
    pub(super) keep_alive: bool,
}

/// Takes a request's header from what was read.
///
/// Ordinary is a request of HTTP/1.1 in origin form (RFC 9112, 3.2.1) whose body has one `content-length`, or one
/// `transfer-encoding` that is `chunked`, or neither; with `\r\n` at each line's end; that wants neither another protocol nor
/// an answer before its body.
pub(super) fn request(unread: &mut Bytes) -> Parsed<Head<Request<()>>> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let bytes = std::mem::take(unread);
    let outcome = match parsed.parse_with_uninit_headers(&bytes, &mut fields) {
        Ok(httparse::Status::Complete(length)) => take_request(&bytes, length, &parsed, unread),
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => Some(Parsed::Partial),
        Ok(httparse::Status::Partial) | Err(_) => None,
    };
    let outcome = outcome.unwrap_or(Parsed::Other);
    if !matches!(outcome, Parsed::Whole(_)) {
        *unread = bytes;
    }
    outcome
}

fn take_request(
    bytes: &Bytes,
    length: usize,
    parsed: &httparse::Request<'_, '_>,
    unread: &mut Bytes,
) -> Option<Parsed<Head<Request<()>>>> {
    let path = parsed.path.filter(|path| path.starts_with('/'))?;
    let method = Method::from_bytes(parsed.method?.as_bytes()).ok().filter(|method| *method != Method::CONNECT)?;
    if parsed.version != Some(1) || length > MAX_HEAD {
        return None;
    }
    let taken = Taken::new(bytes, length)?;
    let mut message = Request::new(());
    *message.method_mut() = method;
    *message.uri_mut() = Uri::from_maybe_shared(taken.part(path.as_bytes())).ok()?;
    let fields = taken.fields(parsed.headers)?;
    let framing = match (fields.chunked, fields.length) {
        (true, None) => Framing::chunked(),
        (false, length) => Framing::length(length.unwrap_or(0)),
        (true, Some(_)) => return None,
    };
    if fields.is_extraordinary || fields.other_coding {
        return None;
    }
    let keep_alive = !fields.close;
    message.extensions_mut().insert(fields.spelling);
    *message.headers_mut() = fields.headers;
    *unread = taken.rest;
    Some(Parsed::Whole(Head { message, framing, keep_alive }))
}

/// Takes the header of an answer from what was read; `method` is that of its request. [`Parsed::Other`] is what can't be
/// an answer. One with a status of 1xx is no more than a header.
pub(super) fn response(unread: &mut Bytes, method: &Method) -> Parsed<Head<Response<()>>> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let bytes = std::mem::take(unread);
    let config = httparse::ParserConfig::default();
    let outcome = match config.parse_response_with_uninit_headers(&mut parsed, &bytes, &mut fields) {
        Ok(httparse::Status::Complete(length)) => take_response(&bytes, length, &parsed, method, unread),
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => Some(Parsed::Partial),
        Ok(httparse::Status::Partial) | Err(_) => None,
    };
    let outcome = outcome.unwrap_or(Parsed::Other);
    if !matches!(outcome, Parsed::Whole(_)) {
        *unread = bytes;
    }
    outcome
}

fn take_response(
    bytes: &Bytes,
    length: usize,
    parsed: &httparse::Response<'_, '_>,
    method: &Method,
    unread: &mut Bytes,
) -> Option<Parsed<Head<Response<()>>>> {
    let status = StatusCode::from_u16(parsed.code?).ok()?;
    if length > MAX_HEAD {
        return None;
    }
    let taken = Taken::of(bytes, length);
    let mut fields = taken.fields(parsed.headers)?;
    let mut keep_alive = parsed.version == Some(1) && !fields.close;
    let bodiless = status.is_informational() || !has_body(method, status);
    let framing = if bodiless {
        Framing::length(0)
    } else if fields.chunked {
        // RFC 9112, 6.3: the coding counts, and a connection that has both is not to be trusted any further.
        keep_alive &= fields.headers.remove(CONTENT_LENGTH).is_none();
        Framing::chunked()
    } else if fields.other_coding {
        Framing::until_close()
    } else {
        fields.length.map_or_else(Framing::until_close, Framing::length)
    };
    let mut message = Response::new(());
    *message.status_mut() = status;
    if parsed.version != Some(1) {
        *message.version_mut() = Version::HTTP_10;
    }
    if let Some(reason) =
        parsed.reason.filter(|reason| Some(*reason) != status.canonical_reason() && !reason.is_empty())
        && let Ok(reason) = ReasonPhrase::try_from(reason.as_bytes())
    {
        message.extensions_mut().insert(reason);
    }
    message.extensions_mut().insert(fields.spelling);
    *message.headers_mut() = fields.headers;
    *unread = taken.rest;
    keep_alive &= !framing.is_until_close();
    Some(Parsed::Whole(Head { message, framing, keep_alive }))
}

/// Whether an answer with this status, to a request with this method, has a body (RFC 9112, 6.3).
pub(super) fn has_body(method: &Method, status: StatusCode) -> bool {
    *method != Method::HEAD && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

/// The bytes of a header.
struct Taken<'a> {
    /// Where they were parsed.
    parsed: &'a [u8],
    /// The same, to be kept.
    head: Bytes,
    rest: Bytes,
}

/// The fields of a header, and what they say of the message.
struct Fields {
    headers: HeaderMap,
    spelling: Spelling,
    length: Option<u64>,
    chunked: bool,
    /// A coding of the transfer that is not `chunked` alone.
    other_coding: bool,
    close: bool,
    is_extraordinary: bool,
}

impl<'a> Taken<'a> {
    /// None: a line ends without `\r`.
    fn new(bytes: &'a Bytes, length: usize) -> Option<Self> {
        let taken = Self::of(bytes, length);
        let mut ends = memchr::memchr_iter(b'\n', &taken.head);
        ends.all(|at| at > 0 && taken.head.get(at - 1) == Some(&b'\r')).then_some(taken)
    }

    fn of(bytes: &'a Bytes, length: usize) -> Self {
        // What follows must not keep the header in memory, nor the other way around.
        let whole = length == bytes.len();
        let head = if whole { bytes.clone() } else { Bytes::copy_from_slice(bytes.get(..length).unwrap_or_default()) };
        let rest = if whole { Bytes::new() } else { bytes.slice(length..) };
        Self { parsed: bytes, head, rest }
    }

    /// A part of what was parsed.
    fn part(&self, part: &[u8]) -> Bytes {
        let begin = (part.as_ptr() as usize).saturating_sub(self.parsed.as_ptr() as usize);
        self.head.slice(begin.min(self.head.len())..(begin + part.len()).min(self.head.len()))
    }

    /// None: something in them is no name, no value or no length.
    fn fields(&self, parsed: &[httparse::Header<'_>]) -> Option<Fields> {
        let mut fields = Fields {
            headers: HeaderMap::with_capacity(parsed.len() + 2),
            spelling: self.spelling(parsed),
            length: None,
            chunked: false,
            other_coding: false,
            close: false,
            is_extraordinary: false,
        };
        for field in parsed {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            let value = HeaderValue::from_maybe_shared(self.part(field.value)).ok()?;
            if fields.heed(&name, &value)? {
                fields.headers.append(name, value);
            }
        }
        Some(fields)
    }

    fn spelling(&self, parsed: &[httparse::Header<'_>]) -> Spelling {
        if parsed.iter().all(|field| is_lower(field.name)) {
            Spelling::Lower
        } else if parsed.iter().all(|field| is_title(field.name)) {
            Spelling::Title
        } else {
            Spelling::Own(parsed.iter().map(|field| self.part(field.name.as_bytes())).collect())
        }
    }
}

impl Fields {
    /// Notes what a field says of the message, and whether it says anything new. None: what can't be.
    fn heed(&mut self, name: &HeaderName, value: &HeaderValue) -> Option<bool> {
        if *name == CONTENT_LENGTH {
            let length = length(value.as_bytes())?;
            if let Some(before) = self.length.replace(length) {
                self.is_extraordinary = true;
                return (before == length).then_some(false);
            }
        } else if *name == TRANSFER_ENCODING {
            // A second one is a coding beside the first.
            self.other_coding |= self.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked");
            self.chunked = !self.other_coding;
        } else if *name == CONNECTION {
            let mut options = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            self.close |= options.any(|option| option.eq_ignore_ascii_case(b"close"));
        } else if *name == UPGRADE || *name == EXPECT {
            self.is_extraordinary = true;
        }
        Some(true)
    }
}

/// Digits and nothing else (RFC 9110, 8.6).
fn length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

fn is_lower(name: &str) -> bool {
    !name.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_title(name: &str) -> bool {
    let mut begins = true;
    name.bytes().all(|byte| {
        let fits = if begins { !byte.is_ascii_lowercase() } else { !byte.is_ascii_uppercase() };
        begins = byte == b'-';
        fits
    })
}

/// Writes a request's header. `framing` is that of the body that follows.
pub(super) fn write_request<B>(request: &Request<B>, framing: &Framing) -> BytesMut {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let mut head = buffer(target.len(), request.headers());
    head.put_slice(request.method().as_str().as_bytes());
    head.put_u8(b' ');
    head.put_slice(target.as_bytes());
    head.put_slice(b" HTTP/1.1\r\n");
    write_fields(&mut head, request.headers(), request.extensions(), |_| true);
    if framing.is_chunked() {
        write_field(&mut head, &TRANSFER_ENCODING, b"chunked", request.extensions().get());
    }
    head.put_slice(b"\r\n");
    head
}

/// Writes the header of an answer. `length` is written where the message has none of its own.
pub(super) fn write_response(parts: &response::Parts, framing: &Framing, length: Option<u64>, close: bool) -> BytesMut {
    let mut head = buffer(0, &parts.headers);
    head.put_slice(b"HTTP/1.1 ");
    head.put_slice(parts.status.as_str().as_bytes());
    head.put_u8(b' ');
    match parts.extensions.get::<ReasonPhrase>() {
        Some(reason) => head.put_slice(reason.as_bytes()),
        None => head.put_slice(parts.status.canonical_reason().unwrap_or("<none>").as_bytes()),
    }
    head.put_slice(b"\r\n");
    // RFC 9110, 8.6: there is no length where there can be no body.
    let may_have_length = parts.status != StatusCode::NO_CONTENT && !framing.is_chunked();
    write_fields(&mut head, &parts.headers, &parts.extensions, |name| may_have_length || *name != CONTENT_LENGTH);
    let spelling = parts.extensions.get();
    if framing.is_chunked() {
        write_field(&mut head, &TRANSFER_ENCODING, b"chunked", spelling);
    } else if let Some(length) = length.filter(|_| may_have_length) {
        write_field(&mut head, &CONTENT_LENGTH, itoa::Buffer::new().format(length).as_bytes(), spelling);
    }
    if close {
        write_field(&mut head, &CONNECTION, b"close", spelling);
    }
    head.put_slice(b"\r\n");
    head
}

/// Writes what follows the last chunk. What would change the message's framing or its target is no trailer (RFC 9110, 6.5.1).
pub(super) fn write_trailers(trailers: &HeaderMap) -> BytesMut {
    const NEVER: [HeaderName; 4] = [TRANSFER_ENCODING, CONTENT_LENGTH, http::header::HOST, CONNECTION];
    let mut text = BytesMut::with_capacity(128);
    text.put_slice(b"0\r\n");
    write_fields(&mut text, trailers, &Extensions::new(), |name| !NEVER.contains(name));
    text.put_slice(b"\r\n");
    text
}

/// Room for a header of usual size, so that it is allocated once.
fn buffer(target: usize, headers: &HeaderMap) -> BytesMut {
    let fields: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    BytesMut::with_capacity(64 + target + fields + 32)
}

fn write_fields(head: &mut BytesMut, headers: &HeaderMap, extensions: &Extensions, keep: impl Fn(&HeaderName) -> bool) {
    let spelling = extensions.get::<Spelling>();
    let mut next = 0;
    for (name, value) in headers.iter().filter(|(name, _)| keep(name)) {
        match spelling {
            Some(Spelling::Own(names)) => {
                let spelled = own_spelling(names, &mut next, name);
                put_field(head, spelled.unwrap_or(name.as_str().as_bytes()), value.as_bytes());
            }
            _ => write_field(head, name, value.as_bytes(), spelling),
        }
    }
}

/// Mostly the next one; where fields were removed, moved or added, another.
fn own_spelling<'a>(names: &'a [Bytes], next: &mut usize, name: &HeaderName) -> Option<&'a [u8]> {
    let is_it = |at: &usize| names.get(*at).is_some_and(|own| own.eq_ignore_ascii_case(name.as_str().as_bytes()));
    let at = (*next..names.len()).chain(0..*next).find(is_it)?;
    *next = at + 1;
    names.get(at).map(|own| &**own)
}

fn write_field(head: &mut BytesMut, name: &HeaderName, value: &[u8], spelling: Option<&Spelling>) {
    let begin = head.len();
    put_field(head, name.as_str().as_bytes(), value);
    if matches!(spelling, Some(Spelling::Title)) {
        let mut begins = true;
        for byte in head.iter_mut().skip(begin).take(name.as_str().len()) {
            if begins {
                byte.make_ascii_uppercase();
            }
            begins = *byte == b'-';
        }
    }
}

fn put_field(head: &mut BytesMut, name: &[u8], value: &[u8]) {
    head.put_slice(name);
    head.put_slice(b": ");
    head.put_slice(value);
    head.put_slice(b"\r\n");
}
