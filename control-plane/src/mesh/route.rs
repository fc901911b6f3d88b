//! HTTPRoutes, as far as Weft reads them.

use std::sync::Arc;
use std::time::Duration;

use super::ObjectName;

/// An HTTPRoute that has Services as parents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRoute {
    /// Namespace and name.
    pub name: ObjectName,
    /// When it was created, seconds since the epoch; [`i64::MAX`]: unknown. The older of two equal rules wins.
    pub created: i64,
    /// The Services that it is for, all in its own namespace.
    pub parents: Vec<ParentRef>,
    /// The rules, in the manifest's order.
    pub rules: Vec<RouteRule>,
}

/// A Service that an HTTPRoute is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentRef {
    /// The Service.
    pub service: ObjectName,
    /// This port alone; `None`: all ports.
    pub port: Option<u16>,
    /// The port of this name alone; `None`: all ports.
    pub section: Option<Arc<str>>,
}

/// A rule of an HTTPRoute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRule {
    /// The rule's name, else its place among the rules, from 0.
    pub name: Arc<str>,
    /// A request that fulfils one of these has this rule; at least one.
    pub matches: Vec<RouteMatch>,
    /// What becomes of it.
    pub action: RouteAction,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteAction {
    /// It goes to one of the backends, by weight. A backend that does not exist answers 500.
    Forward {
        /// At least one has a weight.
        backends: Vec<Backend>,
        /// Of the whole request; zero: none.
        timeout: Duration,
    },
    /// The rule asks for what Weft cannot do, or the Gateway API forbids: 500.
    Refuse,
}

/// A Service that a rule sends requests to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The Service.
    pub service: ObjectName,
    /// The Service's port.
    pub port: u16,
    /// From 0 to 1,000,000.
    pub weight: u32,
}

/// The conditions that a request has to fulfil, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteMatch {
    /// The path.
    pub path: PathMatch,
    /// The method; `None`: any.
    pub method: Option<Arc<str>>,
    /// Header names in lower case, each once.
    pub headers: Vec<(Arc<str>, TextMatch)>,
    /// Query parameter names, each once.
    pub query: Vec<(Arc<str>, TextMatch)>,
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// The path and nothing else.
    Exact(Arc<str>),
    /// Whole segments: `/a` has `/a` and `/a/b`, not `/ab`. No `/` at the end, but for `/` itself, which has all paths.
    Prefix(Arc<str>),
    /// A regular expression that has the whole path.
    Regex(Arc<str>),
}

/// A condition on a header or a query parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextMatch {
    /// The value and nothing else.
    Exact(Arc<str>),
    /// A regular expression that has the whole value.
    Regex(Arc<str>),
}
