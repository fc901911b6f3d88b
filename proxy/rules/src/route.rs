//! Which rule a request falls under.
//!
//! Follows the matches of Gateway API's HTTPRoute and of `envoy.config.route.v3.RouteMatch`, as far as
//! `docs/reference/xds.md` goes. Path and query are compared as they are forwarded: nothing is decoded, merged or
//! normalized, so that a rule never sees another path than the application does.

mod pattern;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode};

pub use pattern::{Pattern, PatternError};

use crate::weighted::Weighted;

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

/// Rules in order; the first that matches wins.
#[derive(Debug, Clone)]
pub struct Routes<B> {
    rules: Vec<Rule<B>>,
}

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule<B> {
    /// Its name, for telemetry.
    pub name: Arc<str>,
    /// Which requests it is for.
    pub matcher: Match,
    /// What becomes of them.
    pub action: Action<B>,
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

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Action<B> {
    /// It goes to one of the backends.
    Forward {
        /// Where to, by weight.
        backends: Weighted<B>,
        /// How long the whole exchange may take; `None` for as long as it likes.
        timeout: Option<Duration>,
    },
    /// It is answered at once, with an empty body.
    Respond(StatusCode),
}

impl<B> Routes<B> {
    /// Takes rules in the order in which they are tried.
    pub fn new(rules: Vec<Rule<B>>) -> Self {
        Self { rules }
    }

    /// The first rule for a request.
    pub fn find(&self, request: &RequestHead<'_>) -> Option<&Rule<B>> {
        self.rules.iter().find(|rule| rule.matcher.matches(request))
    }

    /// All rules, in order.
    pub fn rules(&self) -> &[Rule<B>] {
        &self.rules
    }
}

impl Match {
    /// The condition that every request meets.
    pub fn any() -> Self {
        Self { path: PathMatch::Any, method: None, headers: Vec::new(), query: Vec::new() }
    }

    /// Whether a request meets all conditions.
    pub fn matches(&self, request: &RequestHead<'_>) -> bool {
        self.method.as_ref().is_none_or(|method| method == request.method)
            && self.path.matches(request.path)
            && self.headers.iter().all(|header| header.matches(request.headers))
            && self.query.iter().all(|parameter| parameter.matches(request.query))
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

impl HeaderMatch {
    fn matches(&self, headers: &HeaderMap) -> bool {
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
