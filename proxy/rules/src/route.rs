//! Which rule a request falls under.
//!
//! Follows the matches of Gateway API's HTTPRoute and of `envoy.config.route.v3.RouteMatch`, as far as
//! `docs/reference/xds.md` goes. Path and query are compared as they are forwarded: nothing is decoded, merged or
//! normalized, so that a rule never sees another path than the application does.

mod conditions;
mod pattern;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

pub use conditions::{HeaderMatch, Match, Mismatch, PathMatch, QueryMatch, RequestHead, TextMatch, is_grpc};
pub(crate) use pattern::compile;
pub use pattern::{Pattern, PatternError};

use crate::fault::FaultPolicy;
use crate::header_edits::HeaderEdits;
use crate::redirect::Redirect;
use crate::retry::RetryPolicy;
use crate::rewrite::Rewrite;
use crate::session::SessionPolicy;
use crate::share::Share;
use crate::timeouts::Timeouts;
use crate::weighted::Weighted;

/// Rules in order; the first that matches wins.
#[derive(Debug, Clone)]
pub struct Routes<B> {
    rules: Vec<Rule<B>>,
}

/// A rule that was tried for a request.
#[derive(Debug, Clone, Copy)]
pub struct Tried<'a, B> {
    /// The rule.
    pub rule: &'a Rule<B>,
    /// Why it is not for the request; `None`: it is.
    pub mismatch: Option<Mismatch<'a>>,
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
        self.explain(request).find(|tried| tried.mismatch.is_none()).map(|tried| tried.rule)
    }

    /// The rules in the order in which they are tried for a request, each with the first of its conditions that does
    /// not hold. Ends with the rule that [`find`](Self::find) finds, if there is one.
    pub fn explain<'a>(&'a self, request: &RequestHead<'_>) -> impl Iterator<Item = Tried<'a, B>> {
        let mut found = false;
        self.rules.iter().map_while(move |rule| {
            let mismatch = (!found).then(|| rule.matcher.first_mismatch(request))?;
            found = mismatch.is_none();
            Some(Tried { rule, mismatch })
        })
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
