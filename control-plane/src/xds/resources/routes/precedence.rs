//! Which of several rules a request has: the Gateway API's order.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::mesh::{PathMatch, Route, RouteMatch, RouteRule};

/// One alternative of one rule of one route.
pub(super) struct Entry<'a> {
    pub(super) route: &'a Route,
    pub(super) rule: &'a RouteRule,
    pub(super) condition: &'a RouteMatch,
    /// The places of the rule in the route, and of the alternative in the rule.
    pub(super) place: (usize, usize),
}

/// All alternatives of routes of one kind, the first that a request fulfils being its own.
pub(super) fn ordered<'a>(routes: &[&'a Arc<Route>]) -> Vec<Entry<'a>> {
    let mut entries: Vec<_> = routes.iter().flat_map(|route| entries_of(route)).collect();
    entries.sort_by_key(Entry::precedence);
    entries
}

fn entries_of(route: &Route) -> impl Iterator<Item = Entry<'_>> {
    route.requests().iter().enumerate().flat_map(move |(rule_place, rule)| {
        rule.matches.iter().enumerate().map(move |(place, condition)| Entry {
            route,
            rule,
            condition,
            place: (rule_place, place),
        })
    })
}

impl<'a> Entry<'a> {
    /// HTTPRoute: an exact path, the longest prefix, a method, more headers, more query parameters. It leaves regular
    /// expressions to us: they come after exact paths. GRPCRoute: exact names before regular expressions, the longer
    /// service, the longer method, more headers. Then for both the older route, its name, the place in it.
    fn precedence(&self) -> impl Ord + use<'a> {
        let condition = self.condition;
        let (kind, length, method) = match condition.grpc {
            // A method's names count by themselves: in the path they could not be told apart.
            Some(grpc) => (u8::from(!grpc.exact || grpc.service + grpc.method == 0), grpc.service, grpc.method),
            None => {
                let (kind, length) = match &condition.path {
                    PathMatch::Exact(path) => (0, path.len()),
                    PathMatch::Regex(pattern) => (1, pattern.len()),
                    PathMatch::Prefix(path) => (2, path.len()),
                };
                (kind, length, usize::from(condition.method.is_some()))
            }
        };
        (
            kind,
            (Reverse(length), Reverse(method)),
            (Reverse(condition.headers.len()), Reverse(condition.query.len())),
            self.route.created,
            &self.route.name,
            self.place,
        )
    }
}
