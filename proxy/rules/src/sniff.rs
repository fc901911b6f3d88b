//! What protocol a connection speaks, from its first bytes.

#[cfg(test)]
mod tests;

/// More bytes than this are never needed for an answer.
pub const MAX_LOOKAHEAD: usize = METHOD_MAX + 1 + TARGET_MAX;

/// The client's connection preface (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest method that is taken for HTTP/1; the longest registered one has 17 bytes.
const METHOD_MAX: usize = 32;
/// How much of a request target is looked at: `https://`.
const TARGET_MAX: usize = 8;
/// The longest TLS record (RFC 8446, 5.1).
const TLS_RECORD_MAX: u16 = 1 << 14;
/// A record header and the type of the first handshake message.
const TLS_HELLO_LEN: usize = 6;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniffed {
    /// An HTTP/1 request line (RFC 9112, 3).
    Http1,
    /// HTTP/2 with prior knowledge: the whole preface.
    Http2,
    /// A TLS ClientHello.
    Tls,
    /// Something else.
    Opaque,
    /// What is there could become more than one of the above.
    NeedMore,
}

/// Looks at the first bytes that a client sent.
///
/// The answer depends on the bytes alone and not on how they arrived: for a prefix of `first_bytes` it is either the
/// same or [`Sniffed::NeedMore`], and with [`MAX_LOOKAHEAD`] bytes it is never `NeedMore`. HTTP/1 is told from other text
/// protocols by its method, which is upper case, and by the start of its request target: `SET key`, `EHLO host`,
/// `OPTIONS rtsp://` and `CONNECT {` are opaque.
pub fn sniff(first_bytes: &[u8]) -> Sniffed {
    match http2(first_bytes) {
        Found::Yes => return Sniffed::Http2,
        Found::Perhaps => return Sniffed::NeedMore,
        Found::No => {}
    }
    match tls(first_bytes) {
        Found::Yes => return Sniffed::Tls,
        Found::Perhaps => return Sniffed::NeedMore,
        Found::No => {}
    }
    match http1(first_bytes) {
        Found::Yes => Sniffed::Http1,
        Found::Perhaps => Sniffed::NeedMore,
        Found::No => Sniffed::Opaque,
    }
}

/// Whether bytes are of one protocol; `Perhaps` when they are a proper prefix of what would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Yes,
    No,
    Perhaps,
}

fn http2(bytes: &[u8]) -> Found {
    starts_with(bytes, HTTP2_PREFACE)
}

/// `0x16 0x03 0x00-0x04`, a possible length, and a ClientHello (RFC 8446, 4 and 5.1).
fn tls(bytes: &[u8]) -> Found {
    let possible = match *bytes {
        [] => true,
        [kind] => kind == 0x16,
        [kind, major] => kind == 0x16 && major == 3,
        [kind, major, minor] => kind == 0x16 && major == 3 && minor <= 4,
        [kind, major, minor, high] => kind == 0x16 && major == 3 && minor <= 4 && high <= (TLS_RECORD_MAX >> 8) as u8,
        [kind, major, minor, high, low, ref rest @ ..] => {
            let length = u16::from_be_bytes([high, low]);
            kind == 0x16
                && major == 3
                && minor <= 4
                && (1..=TLS_RECORD_MAX).contains(&length)
                && rest.first().is_none_or(|message| *message == 1)
        }
    };
    match possible {
        false => Found::No,
        true if bytes.len() < TLS_HELLO_LEN => Found::Perhaps,
        true => Found::Yes,
    }
}

/// `METHOD SP` and the start of a request target (RFC 9112, 3.2).
fn http1(bytes: &[u8]) -> Found {
    let method_len = bytes.iter().take_while(|byte| is_method_byte(**byte)).count();
    let (Some(method), Some(rest)) = (bytes.get(..method_len), bytes.get(method_len..)) else {
        return Found::No;
    };
    if method_len > METHOD_MAX {
        return Found::No;
    }
    match rest.split_first() {
        None => Found::Perhaps,
        Some((b' ', target)) if method_len > 0 => request_target(method, target),
        Some(_) => Found::No,
    }
}

fn request_target(method: &[u8], target: &[u8]) -> Found {
    match target.first() {
        None => Found::Perhaps,
        // origin-form
        Some(b'/') => Found::Yes,
        // authority-form, a host name or an IPv6 address
        Some(byte) if method == b"CONNECT" => {
            if byte.is_ascii_alphanumeric() || *byte == b'[' {
                Found::Yes
            } else {
                Found::No
            }
        }
        // asterisk-form; RTSP has it too
        Some(b'*') => starts_with(target, b"* HTTP/"),
        // absolute-form
        Some(_) => match starts_with_scheme(target, b"http://") {
            Found::No => starts_with_scheme(target, b"https://"),
            found => found,
        },
    }
}

/// A byte of a token (RFC 9110, 5.6.2) that is not lower case: every method in use is upper case, and text protocols
/// with commands in lower case, as memcached's `get /key`, are thereby left alone.
fn is_method_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn starts_with(bytes: &[u8], expected: &[u8]) -> Found {
    compare(bytes, expected, <[u8]>::eq)
}

/// A scheme is compared without case (RFC 3986, 3.1).
fn starts_with_scheme(bytes: &[u8], expected: &[u8]) -> Found {
    compare(bytes, expected, <[u8]>::eq_ignore_ascii_case)
}

fn compare(bytes: &[u8], expected: &[u8], equal: impl Fn(&[u8], &[u8]) -> bool) -> Found {
    let common = bytes.len().min(expected.len());
    match (bytes.get(..common), expected.get(..common)) {
        (Some(have), Some(want)) if equal(have, want) => {
            if common == expected.len() {
                Found::Yes
            } else {
                Found::Perhaps
            }
        }
        _ => Found::No,
    }
}
