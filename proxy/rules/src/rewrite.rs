//! What a route makes of a request's host and path, and where it redirects to.

use std::borrow::Cow;

use http::uri::Scheme;
use http::{HeaderValue, StatusCode};
use regex::Regex;

/// Changes to a request before it is forwarded. The default changes nothing.
#[derive(Debug, Clone, Default)]
pub struct Rewrite {
    /// Takes the place of `host` or `:authority`.
    pub host: Option<HeaderValue>,
    /// What becomes of the path; the query stays.
    pub path: Option<PathRewrite>,
}

/// A new path. The query is never touched.
#[derive(Debug, Clone)]
pub enum PathRewrite {
    /// Takes the place of the part of the path that the rule's prefix matched, as Gateway API's `ReplacePrefixMatch`
    /// tells; of the whole path where the rule matches an exact path. Begins with `/` or is empty.
    Prefix(String),
    /// The whole path, as Gateway API's `ReplaceFullPath` tells. Begins with `/`.
    Full(String),
    /// Takes the place of each match of a regular expression.
    Regex(RegexRewrite),
}

/// A replacement by a regular expression (`envoy.type.matcher.v3.RegexMatchAndSubstitute`).
#[derive(Debug, Clone)]
pub struct RegexRewrite {
    pattern: Regex,
    /// In the syntax of the `regex` crate: `${1}` is the first group.
    substitution: String,
}

impl RegexRewrite {
    /// The path with each match replaced.
    pub fn apply<'a>(&self, path: &'a str) -> Cow<'a, str> {
        self.pattern.replace_all(path, &self.substitution)
    }
}

/// An answer that sends the client elsewhere.
#[derive(Debug, Clone)]
pub struct Redirect {
    /// The scheme, if it changes.
    pub scheme: Option<Scheme>,
    /// The host without a port, if it changes.
    pub host: Option<String>,
    /// The port, if it is told.
    pub port: Option<u16>,
    /// The path, if it changes.
    pub path: Option<RedirectPath>,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// The path that a client is sent to. The query goes along, unless the new path brings its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedirectPath {
    /// The whole path. Begins with `/`.
    Full(String),
    /// Takes the place of what the rule's prefix matched, as [`PathRewrite::Prefix`] does.
    Prefix(String),
}

impl Default for Redirect {
    /// 302 (Gateway API's default) to where the request came for.
    fn default() -> Self {
        Self { scheme: None, host: None, port: None, path: None, status: StatusCode::FOUND }
    }
}
