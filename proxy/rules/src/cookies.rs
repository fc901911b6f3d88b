//! Cookies that the mesh reads and sets (RFC 6265).

use std::time::Duration;

use http::HeaderMap;
use http::HeaderValue;
use http::header::COOKIE;

/// Whether a text can be a cookie's name: a token.
pub fn is_name(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token)
}

/// Whether a text can be the path that a cookie is for: printable and without `;`; empty for that of the request.
pub fn is_path(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b';')
}

/// The value of a request's first cookie of that name.
pub(crate) fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(|pair| value_of(pair.trim_ascii(), name)).next()
}

fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// A value of `set-cookie`; `None` if it would be malformed. `ttl` is in whole seconds; `None` or zero: as long as the
/// browser runs.
pub(crate) fn set(name: &str, value: &str, path: &str, ttl: Option<Duration>) -> Option<HeaderValue> {
    if !is_name(name) || !is_path(path) {
        return None;
    }
    let mut text = [name, "=", value].concat();
    if let Some(seconds) = ttl.map(|ttl| ttl.as_secs()).filter(|seconds| *seconds > 0) {
        text.extend(["; Max-Age=", &seconds.to_string()]);
    }
    if !path.is_empty() {
        text.extend(["; Path=", path]);
    }
    text.push_str("; HttpOnly");
    HeaderValue::try_from(text).ok()
}
