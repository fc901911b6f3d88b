//! Which rule a request falls under.
//!
//! Follows the matches of Gateway API's HTTPRoute and of `envoy.config.route.v3.RouteMatch`, as far as
//! `docs/reference/xds.md` goes. Path and query are compared as they are forwarded: nothing is decoded, merged or
//! normalized, so that a rule never sees another path than the application does.

mod pattern;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

pub use pattern::{Pattern, PatternError};

use crate::fault::FaultPolicy;
use crate::header_edits::HeaderEdits;
use crate::retry::RetryPolicy;
use crate::rewrite::{Redirect, Rewrite};
use crate::session::SessionPolicy;
use crate::share::Share;
use crate::timeouts::Timeouts;
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
    /// What of the configuration it came from, as `HTTPRoute shop/api rules[2]`; empty if not told.
    pub manifest: Arc<str>,
    /// Which requests it is for.
    pub matcher: Match,
    /// What is done to its requests and answers, whatever becomes of them.
    pub filters: Filters,
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

/// What is done to the requests and answers of a rule. The default does nothing.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    /// Edits of the request's headers.
    pub request_headers: HeaderEdits,
    /// Edits of the answer's headers.
    pub response_headers: HeaderEdits,
    /// Faults that are injected.
    pub fault: Option<FaultPolicy>,
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Action<B> {
    /// It goes to one of the backends.
    Forward(Box<Forward<B>>),
    /// It is answered with another address.
    Redirect(Redirect),
    /// It is answered at once, with an empty body.
    Respond(StatusCode),
}

/// How a request is forwarded.
#[derive(Debug, Clone)]
pub struct Forward<B> {
    /// Where to, by weight.
    pub backends: Weighted<Backend<B>>,
    /// What becomes of its host and path.
    pub rewrite: Rewrite,
    /// Who gets a copy.
    pub mirrors: Vec<Mirror<B>>,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// When it is tried again.
    pub retry: Arc<RetryPolicy>,
    /// Whether the next attempt begins beside the one whose time per try is over, instead of in its place.
    pub hedge: bool,
    /// Where a client keeps its endpoint, if it stays with one.
    pub session: Option<SessionPolicy>,
}

/// One of the places that a rule forwards to.
#[derive(Debug, Clone)]
pub struct Backend<B> {
    /// The cluster, or its name.
    pub target: B,
    /// Edits of the headers of its requests, after those of the rule.
    pub request_headers: HeaderEdits,
    /// Edits of the headers of its answers, before those of the rule.
    pub response_headers: HeaderEdits,
    /// Takes the place of `host` or `:authority`, before the rule's own.
    pub host: Option<HeaderValue>,
}

/// Someone who gets a copy of requests, and whose answers nobody waits for.
#[derive(Debug, Clone)]
pub struct Mirror<B> {
    /// The cluster, or its name.
    pub target: B,
    /// How many requests are copied.
    pub share: Share,
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

impl<B> Rule<B> {
    /// The same rule over other targets.
    pub fn map<U>(&self, to: impl FnMut(&B) -> U) -> Rule<U> {
        let action = match &self.action {
            Action::Forward(forward) => Action::Forward(Box::new(forward.map(to))),
            Action::Redirect(redirect) => Action::Redirect(redirect.clone()),
            Action::Respond(status) => Action::Respond(*status),
        };
        Rule {
            name: Arc::clone(&self.name),
            manifest: Arc::clone(&self.manifest),
            matcher: self.matcher.clone(),
            filters: self.filters.clone(),
            action,
        }
    }
}

impl<B> Forward<B> {
    /// To these backends, and nothing else.
    pub fn to(backends: Weighted<Backend<B>>) -> Self {
        Self {
            backends,
            rewrite: Rewrite::default(),
            mirrors: Vec::new(),
            timeouts: Timeouts::default(),
            retry: Arc::default(),
            hedge: false,
            session: None,
        }
    }

    /// The same over other targets: first the backends', then the mirrors', each in order.
    pub fn map<U>(&self, mut to: impl FnMut(&B) -> U) -> Forward<U> {
        Forward {
            backends: self.backends.map(|backend| backend.map(&mut to)),
            rewrite: self.rewrite.clone(),
            mirrors: self
                .mirrors
                .iter()
                .map(|mirror| Mirror { target: to(&mirror.target), share: mirror.share })
                .collect(),
            timeouts: self.timeouts,
            retry: Arc::clone(&self.retry),
            hedge: self.hedge,
            session: self.session.clone(),
        }
    }

    /// All targets: first the backends', then the mirrors', each in order.
    pub fn targets(&self) -> impl Iterator<Item = &B> {
        let backends = self.backends.iter().map(|(backend, _)| &backend.target);
        backends.chain(self.mirrors.iter().map(|mirror| &mirror.target))
    }
}

impl<B> Backend<B> {
    /// A target whose requests and answers are left as they are.
    pub fn plain(target: B) -> Self {
        Self { target, request_headers: HeaderEdits::default(), response_headers: HeaderEdits::default(), host: None }
    }

    /// The same with another target.
    pub fn map<U>(&self, mut to: impl FnMut(&B) -> U) -> Backend<U> {
        Backend {
            target: to(&self.target),
            request_headers: self.request_headers.clone(),
            response_headers: self.response_headers.clone(),
            host: self.host.clone(),
        }
    }
}

impl Match {
    /// The condition that every request meets.
    pub fn any() -> Self {
        Self { path: PathMatch::Any, method: None, headers: Vec::new(), query: Vec::new(), grpc: false }
    }

    /// Whether a request meets all conditions.
    pub fn matches(&self, request: &RequestHead<'_>) -> bool {
        self.method.as_ref().is_none_or(|method| method == request.method)
            && self.path.matches(request.path)
            && (!self.grpc || is_grpc(request.headers))
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
