//! The Gateway API's routes, as far as Weft reads them: HTTPRoute, GRPCRoute, TLSRoute and TCPRoute in one form.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{ObjectName, ServicePort};

/// The kinds of routes, the most specific first: of several kinds on one port the first alone counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteKind {
    /// `GRPCRoute`: requests that are gRPC.
    Grpc,
    /// `HTTPRoute`: requests.
    Http,
    /// `TLSRoute`: connections that begin with a ClientHello, by the name in it.
    Tls,
    /// `TCPRoute`: connections.
    Tcp,
}

impl RouteKind {
    /// The kind as a manifest has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "GRPCRoute",
            Self::Http => "HTTPRoute",
            Self::Tls => "TLSRoute",
            Self::Tcp => "TCPRoute",
        }
    }

    /// Whether it is about requests, not about connections.
    pub fn has_requests(self) -> bool {
        matches!(self, Self::Grpc | Self::Http)
    }
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A route by its kind and name: routes of two kinds may have one name.
pub type RouteKey = (RouteKind, ObjectName);

/// A route that has Services as parents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its kind.
    pub kind: RouteKind,
    /// Namespace and name.
    pub name: ObjectName,
    /// When it was created, seconds since the epoch; [`i64::MAX`]: unknown. The older of two equal rules wins.
    pub created: i64,
    /// The Services that it is for. Of another namespace than the route's own: for the clients of the route's namespace
    /// alone (a consumer route).
    pub parents: Vec<ParentRef>,
    /// What it says, in the manifest's order.
    pub rules: Rules,
}

impl Route {
    /// The rules for requests; none where the route is about connections.
    pub fn requests(&self) -> &[RouteRule] {
        match &self.rules {
            Rules::Requests(rules) => rules,
            Rules::Connections { .. } => &[],
        }
    }

    /// The namespace whose clients alone the route is for, as far as this Service is concerned; `None`: all that have no
    /// routes of their own.
    pub fn consumer(&self, service: &ObjectName) -> Option<&Arc<str>> {
        (self.name.namespace != service.namespace).then_some(&self.name.namespace)
    }

    /// Each Service that it sends to or mirrors to, with the fields that name it.
    pub fn references(&self) -> Vec<Reference<'_>> {
        let mut found = Vec::new();
        match &self.rules {
            Rules::Requests(rules) => {
                for (rule, action) in rules.iter().map(|rule| &rule.action).enumerate() {
                    let RouteAction::Forward(forward) = action else { continue };
                    found.extend(backends(rule, &forward.backends));
                    found.extend(forward.mirrors.iter().map(|mirror| Reference {
                        rule,
                        place: Place::Mirror(mirror.filter),
                        service: &mirror.service,
                        port: mirror.port,
                    }));
                }
            }
            Rules::Connections { backends: to, .. } => found.extend(backends(0, to.as_deref().unwrap_or_default())),
        }
        found
    }

    /// The FaultInjections that its rules name, with the rule's and the filter's place.
    pub fn faults(&self) -> impl Iterator<Item = (usize, &FaultRef)> {
        let rules = self.requests().iter().enumerate();
        rules.filter_map(|(rule, written)| Some((rule, written.filters.fault.as_ref()?)))
    }
}

fn backends(rule: usize, backends: &[Backend]) -> impl Iterator<Item = Reference<'_>> {
    backends.iter().enumerate().map(move |(place, to)| Reference {
        rule,
        place: Place::Backend(place),
        service: &to.service,
        port: to.port,
    })
}

/// A Service that a route names, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The place of the rule, from 0.
    pub rule: usize,
    /// Where in the rule.
    pub place: Place,
    /// The Service.
    pub service: &'a ObjectName,
    /// Its port.
    pub port: u16,
}

/// Where a rule names a Service; places are from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `backendRefs[]`
    Backend(usize),
    /// `filters[]`, of type RequestMirror
    Mirror(usize),
}

/// A Service that a route is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentRef {
    /// The place among the manifest's parents, from 0.
    pub place: usize,
    /// The Service.
    pub service: ObjectName,
    /// This port alone; `None`: all ports.
    pub port: Option<u16>,
    /// The port of this name alone; `None`: all ports.
    pub section: Option<Arc<str>>,
}

impl ParentRef {
    /// Whether it means a port of the Service that it names.
    pub fn means(&self, port: &ServicePort) -> bool {
        self.port.is_none_or(|number| number == port.number)
            && self.section.as_ref().is_none_or(|name| *name == port.name)
    }
}

/// The rules of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Of an HTTPRoute or GRPCRoute.
    Requests(Vec<RouteRule>),
    /// The one rule of a TLSRoute or TCPRoute.
    Connections {
        /// TLSRoute: names that a ClientHello may ask for, `*.` at the front for all below. Empty: any.
        hostnames: Vec<Arc<str>>,
        /// Where they go, at least one with a weight; `None`: they are reset, since the rule asks for what Weft cannot do.
        backends: Option<Vec<Backend>>,
    },
}

/// A rule of an HTTPRoute or GRPCRoute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRule {
    /// The rule's name, else its place among the rules, from 0.
    pub name: Arc<str>,
    /// A request that fulfils one of these has this rule; at least one.
    pub matches: Vec<RouteMatch>,
    /// What is done to the request and the answer on the way.
    pub filters: RouteFilters,
    /// What becomes of it.
    pub action: RouteAction,
}

/// What a rule does to requests and answers, wherever they go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteFilters {
    /// Changes to the headers of requests.
    pub request_headers: HeaderEdits,
    /// Changes to the headers of answers.
    pub response_headers: HeaderEdits,
    /// The FaultInjection that the rule names.
    pub fault: Option<FaultRef>,
}

/// A FaultInjection that a rule names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRef {
    /// The place of the filter in the rule, from 0.
    pub filter: usize,
    /// The FaultInjection, in the route's own namespace.
    pub name: ObjectName,
}

/// Changes to headers. Names are in lower case, each once in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// These have this value alone afterwards.
    pub set: Vec<(Arc<str>, Arc<str>)>,
    /// These have this value in addition.
    pub add: Vec<(Arc<str>, Arc<str>)>,
    /// These are gone.
    pub remove: Vec<Arc<str>>,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteAction {
    /// It goes to one of the backends.
    Forward(Box<Forward>),
    /// It is answered with another place to go to.
    Redirect(Redirect),
    /// The rule asks for what Weft cannot do, or the Gateway API forbids: 500.
    Refuse,
}

/// How a request is forwarded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forward {
    /// By weight; at least one has a weight. A backend that does not exist answers 500.
    pub backends: Vec<Backend>,
    /// The host that it is for afterwards.
    pub host: Option<Arc<str>>,
    /// The path that it is for afterwards.
    pub path: Option<PathEdit>,
    /// Who gets a copy.
    pub mirrors: Vec<Mirror>,
    /// How long it may take, as the rule says.
    pub timeouts: RuleTimeouts,
    /// When it is repeated, as the rule says.
    pub retry: Option<RuleRetry>,
    /// What keeps a client at one endpoint.
    pub session: Option<Session>,
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
    /// Changes to the headers of requests that go there.
    pub request_headers: HeaderEdits,
    /// Changes to the headers of its answers.
    pub response_headers: HeaderEdits,
    /// The host that a request that goes there is for.
    pub host: Option<Arc<str>>,
}

impl Backend {
    /// A Service's port with a weight, and nothing changed on the way.
    pub fn new(service: ObjectName, port: u16, weight: u32) -> Self {
        let (request_headers, response_headers) = Default::default();
        Self { service, port, weight, request_headers, response_headers, host: None }
    }

    /// Whether something is changed on the way there.
    pub fn has_filters(&self) -> bool {
        let untouched = HeaderEdits::default();
        self.request_headers != untouched || self.response_headers != untouched || self.host.is_some()
    }
}

/// Another path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathEdit {
    /// This path in place of the whole.
    Full(Arc<str>),
    /// This in place of the prefix that matched.
    Prefix(Arc<str>),
}

/// A Service that gets a copy of requests. What it answers is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The place of the filter in the rule, from 0.
    pub filter: usize,
    /// The Service.
    pub service: ObjectName,
    /// The Service's port.
    pub port: u16,
    /// Of a million requests, how many.
    pub per_million: u32,
}

/// Where a client is sent instead. What is not told stays as the request has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<Arc<str>>,
    /// The host.
    pub host: Option<Arc<str>>,
    /// The port.
    pub port: Option<u16>,
    /// The path.
    pub path: Option<PathEdit>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// How long a request may take, as a rule says. Zero: as long as it likes; `None`: the rule doesn't say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleTimeouts {
    /// From the request to the end of the answer, all attempts included.
    pub request: Option<Duration>,
    /// One attempt.
    pub attempt: Option<Duration>,
}

/// When a request is repeated, as a rule says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleRetry {
    /// Further attempts.
    pub attempts: Option<u32>,
    /// The statuses of answers that lead to one, from 400 to 599.
    pub codes: Vec<u16>,
    /// The shortest wait before one.
    pub backoff: Option<Duration>,
}

/// What keeps a client at one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Session {
    /// A cookie that the proxy sets.
    Cookie {
        /// Its name.
        name: Arc<str>,
        /// How long it lives; `None`: as long as the client's session.
        ttl: Option<Duration>,
    },
    /// A header that the proxy sets and the client repeats.
    Header {
        /// Its name, in lower case.
        name: Arc<str>,
    },
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
    /// The conditions of a GRPCRoute as they are written, which is what they are ordered by; `None`: an HTTPRoute's.
    pub grpc: Option<GrpcMethod>,
}

impl RouteMatch {
    /// Every request.
    pub fn all() -> Self {
        let path = PathMatch::Prefix("/".into());
        Self { path, method: None, headers: Vec::new(), query: Vec::new(), grpc: None }
    }
}

/// How closely a GRPCRoute says which method it is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrpcMethod {
    /// Whether the names are matched as they are; else by a regular expression.
    pub exact: bool,
    /// The bytes of the service's name or pattern; 0: any.
    pub service: usize,
    /// The bytes of the method's name or pattern; 0: any.
    pub method: usize,
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
