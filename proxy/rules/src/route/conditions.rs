//! The conditions of rules.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::Pattern;

/// What rules look at of a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// The method, with its case.
    pub method: &'a Method,
    /// The path as it is forwarded, without the query. `*` for `OPTIONS *`, empty for CONNECT.
    pub path: &'a str,
    /// What follows the first `?`, as it is forwarded.
    pub query: Option<&'a str>,
    /// The headers that the application sent.
    pub headers: &'a HeaderMap,
}

/// The conditions of a rule, all of which must hold.
#[derive(Debug, Clone)]
pub struct Match {
    /// The path.
    pub path: PathMatch,
    /// The method, if only one is meant.
    pub method: Option<Method>,
    /// Headers.
    pub headers: Vec<HeaderMatch>,
    /// Query parameters.
    pub query: Vec<QueryMatch>,
    /// Whether only gRPC is meant: `content-type` is `application/grpc`, or begins with that and `+` or `;`.
    pub grpc: bool,
}

/// A condition on the path.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// Every path.
    Any,
    /// Exactly this one.
    Exact(String),
    /// Every path that begins with this text. `/` is every path, also `*` and the empty one.
    Prefix(String),
    /// Every path whose segments begin with these: `/a` is for `/a`, `/a/` and `/a/b`, not for `/ab`. One `/` at the end
    /// changes nothing; `/` is every path, also `*` and the empty one.
    Segments(String),
    /// Every path that matches as a whole.
    Regex(Pattern),
}

/// A condition on a header.
#[derive(Debug, Clone)]
pub struct HeaderMatch {
    /// The header's name.
    pub name: HeaderName,
    /// Holds if one of the header's values, each taken by itself, matches.
    pub value: TextMatch,
}

/// A condition on a query parameter.
#[derive(Debug, Clone)]
pub struct QueryMatch {
    /// The parameter's name, compared with its case and without decoding.
    pub name: String,
    /// Holds if the first value of the parameter matches; `""` where there is no `=`.
    pub value: TextMatch,
}

/// A condition on a text.
#[derive(Debug, Clone)]
pub enum TextMatch {
    /// Exactly this one.
    Exact(String),
    /// Every text that matches as a whole. What is not UTF-8 never does.
    Regex(Pattern),
    /// Every text.
    Present,
}

/// The condition of a rule that a request does not meet. Displayed as what a request would have to be.
#[derive(Debug, Clone, Copy)]
pub enum Mismatch<'a> {
    /// Another method is meant.
    Method(&'a Method),
    /// Another path is meant.
    Path(&'a PathMatch),
    /// Only gRPC is meant.
    NotGrpc,
    /// A header is missing, or has another value.
    Header(&'a HeaderMatch),
    /// A query parameter is missing, or has another value.
    Query(&'a QueryMatch),
}

impl Match {
    /// The condition that every request meets.
    pub fn any() -> Self {
        Self { path: PathMatch::Any, method: None, headers: Vec::new(), query: Vec::new(), grpc: false }
    }

    /// Whether a request meets all conditions.
    pub fn matches(&self, request: &RequestHead<'_>) -> bool {
        self.first_mismatch(request).is_none()
    }

    /// The first condition that a request does not meet. The cheap ones are looked at first.
    pub fn first_mismatch(&self, request: &RequestHead<'_>) -> Option<Mismatch<'_>> {
        if let Some(method) = self.method.as_ref().filter(|method| *method != request.method) {
            return Some(Mismatch::Method(method));
        }
        if !self.path.matches(request.path) {
            return Some(Mismatch::Path(&self.path));
        }
        if self.grpc && !is_grpc(request.headers) {
            return Some(Mismatch::NotGrpc);
        }
        if let Some(header) = self.headers.iter().find(|header| !header.matches(request.headers)) {
            return Some(Mismatch::Header(header));
        }
        self.query.iter().find(|parameter| !parameter.matches(request.query)).map(Mismatch::Query)
    }
}

impl PathMatch {
    /// Whether a path meets the condition.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(expected) => path == expected,
            Self::Prefix(prefix) => prefix == "/" || path.starts_with(prefix.as_str()),
            Self::Segments(prefix) => {
                let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
                let rest = path.strip_prefix(prefix);
                prefix.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex(pattern) => pattern.matches(path),
        }
    }

    /// The condition as a path template for telemetry (`http.route`): the path or prefix, and nothing for a regular
    /// expression or for all paths.
    pub fn template(&self) -> Option<&str> {
        match self {
            Self::Exact(path) | Self::Prefix(path) | Self::Segments(path) => Some(path),
            Self::Any | Self::Regex(_) => None,
        }
    }
}

/// Whether a request is gRPC by its `content-type`, as Envoy tells it.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(http::header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = content_type.and_then(|content_type| content_type.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

impl HeaderMatch {
    /// Whether one of the header's values matches.
    pub fn matches(&self, headers: &HeaderMap) -> bool {
        headers.get_all(&self.name).iter().any(|value| self.value.matches(value.as_bytes()))
    }
}

impl QueryMatch {
    fn matches(&self, query: Option<&str>) -> bool {
        let mut parameters =
            query.unwrap_or_default().split('&').map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
        let first = parameters.find(|(name, _)| *name == self.name);
        first.is_some_and(|(_, value)| self.value.matches(value.as_bytes()))
    }
}

impl TextMatch {
    fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(expected) => text == expected.as_bytes(),
            Self::Regex(pattern) => std::str::from_utf8(text).is_ok_and(|text| pattern.matches(text)),
            Self::Present => true,
        }
    }
}

impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method(method) => write!(f, "the method is {method}"),
            Self::Path(path) => write!(f, "the path {path}"),
            Self::NotGrpc => f.write_str("the content-type is application/grpc"),
            Self::Header(header) => write!(f, "the header {} {}", header.name, header.value),
            Self::Query(parameter) => write!(f, "the query parameter {} {}", parameter.name, parameter.value),
        }
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("is any"),
            Self::Exact(path) => write!(f, "is {path}"),
            Self::Prefix(prefix) => write!(f, "begins with {prefix}"),
            Self::Segments(prefix) => write!(f, "is {prefix} or below it"),
            Self::Regex(pattern) => write!(f, "matches {pattern}"),
        }
    }
}

impl fmt::Display for TextMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => write!(f, "is {text:?}"),
            Self::Regex(pattern) => write!(f, "matches {pattern}"),
            Self::Present => f.write_str("is present"),
        }
    }
}
