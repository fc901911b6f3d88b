//! What the proxy would decide about a request, and why.
//!
//! [`explain`] feeds the resources that a pod is sent to the very code that decides at run time: the same parser, the
//! same joining of resources, the same rules. It opens no connection and resolves no name, so load, health and chance
//! are left out: shares are told in place of a pick.

mod backends;
mod connect;
mod http;
mod settings;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use weft_api::xds::ResourceKind;
use weft_api::xds::pb::google::protobuf::Any;

use crate::discovery::{Answer, Destination, Protocol, Snapshot, Traffic};

pub(crate) use settings::policy as cluster_settings;

/// A resource as a pod is sent it: its kind, its name, its content.
pub type Resource = (ResourceKind, String, Any);

/// What would be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The address that the application dials, as listeners are named: `10.96.0.10:80`.
    pub dialled: String,
    /// The method.
    pub method: String,
    /// The path, with the query.
    pub path: String,
    /// The headers, `host` among them.
    pub headers: Vec<(String, String)>,
    /// What the first bytes are.
    pub speaks: Speaks,
    /// The server name of a TLS connection.
    pub server_name: Option<String>,
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaks {
    /// HTTP/1.x or HTTP/2.
    #[default]
    Http,
    /// TLS.
    Tls,
    /// Anything else, or nothing for a while.
    Opaque,
}

impl Request {
    /// `GET /` over HTTP.
    pub fn new(dialled: impl Into<String>) -> Self {
        Self {
            dialled: dialled.into(),
            method: "GET".to_owned(),
            path: "/".to_owned(),
            headers: Vec::new(),
            speaks: Speaks::Http,
            server_name: None,
        }
    }
}

/// What the proxy would decide, step by step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// What was asked.
    pub request: Asked,
    /// Resources that the proxy would refuse. An earlier version would stay in force; here there is none.
    pub refused: Vec<Refused>,
    /// How the protocol is decided; `None`: the address is not known.
    pub protocol: Option<ProtocolStep>,
    /// The rules in the order in which they are tried, up to and with the one that matches.
    pub rules: Vec<RuleStep>,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// The request as it was understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The address that is dialled.
    pub dialled: String,
    /// The method.
    pub method: String,
    /// The path, with the query.
    pub path: String,
}

/// A resource that the proxy would refuse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Its kind, such as `RouteConfiguration`.
    pub resource_kind: String,
    /// Its name.
    pub name: String,
    /// The field that is wrong, and why.
    pub reason: String,
}

/// How the protocol is decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProtocolStep {
    /// The listener's name.
    pub listener: String,
    /// The Service's port, `NAMESPACE/SERVICE:PORT`.
    pub service: String,
    /// `http`, `opaque` or `undeclared`.
    pub declared: String,
    /// `http`, `tls` or `opaque`.
    pub taken_as: String,
    /// Why it is taken so.
    pub because: String,
    /// The route configuration of HTTP; of a consumer's own routes it ends with `@` and the consumer's namespace.
    pub route_configuration: Option<String>,
}

/// A rule that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleStep {
    /// Its place among all rules, from 1.
    pub position: usize,
    /// Its name.
    pub rule: String,
    /// What says so, such as `HTTPRoute shop/api rules[2]`; empty if not told.
    pub manifest: String,
    /// All of its conditions.
    pub conditions: String,
    /// The first condition that does not hold; `None`: it matches.
    pub failed: Option<String>,
}

/// What becomes of a request or a connection.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// Nobody has described the address: `WEFT_UNKNOWN_DESTINATION` decides.
    Unknown {
        /// In words.
        detail: String,
    },
    /// Something that is needed is bad.
    Unusable {
        /// In words.
        detail: String,
    },
    /// No rule matches.
    NoRule {
        /// 404.
        status: u16,
    },
    /// The proxy answers by itself.
    Answer {
        /// The status.
        status: u16,
        /// The rule's name.
        rule: String,
        /// What says so.
        manifest: String,
        /// In words.
        detail: String,
    },
    /// The client is sent elsewhere.
    Redirect {
        /// The status.
        status: u16,
        /// The value of `location`.
        location: String,
        /// The rule's name.
        rule: String,
        /// What says so.
        manifest: String,
        /// What is done to the answer.
        filters: Vec<Setting>,
    },
    /// The request is forwarded.
    Forward(Box<Forward>),
    /// The connection is carried as bytes.
    Connect {
        /// Why there.
        because: String,
        /// Where to, by weight.
        backends: Vec<Backend>,
    },
    /// The connection is reset.
    Refuse {
        /// In words.
        detail: String,
    },
}

/// How a request is forwarded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forward {
    /// The rule's name.
    pub rule: String,
    /// What says so.
    pub manifest: String,
    /// The path as the backend sees it, with the query.
    pub path: String,
    /// The host that takes the place of the request's.
    pub host: Option<String>,
    /// What is done to requests and answers, whichever backend it is.
    pub filters: Vec<Setting>,
    /// How long it may take.
    pub timeouts: Vec<Setting>,
    /// When it is tried again; hedging and sessions, too.
    pub retry: Vec<Setting>,
    /// Who gets a copy.
    pub mirrors: Vec<MirrorStep>,
    /// Where to, by weight.
    pub backends: Vec<Backend>,
}

/// One thing that is set, named as in the manifests: `retry.attempts`, `timeouts.request`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The field.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Someone who gets a copy of requests.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MirrorStep {
    /// The cluster.
    pub cluster: String,
    /// How many requests are copied, in percent.
    pub share_percent: f64,
    /// Whether there is such a cluster.
    pub exists: bool,
}

/// One of the places that a rule leads to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Backend {
    /// The cluster, `NAMESPACE/SERVICE:PORT`.
    pub cluster: String,
    /// Its weight.
    pub weight: u32,
    /// Its share of the requests, in percent.
    pub share_percent: f64,
    /// Whether there is such a cluster; if not, its share is answered 500, and connections are reset.
    pub exists: bool,
    /// What its policy comes from; empty: it is the default.
    pub manifest: String,
    /// What is done to its requests and answers alone.
    pub filters: Vec<Setting>,
    /// Its policy.
    pub policy: Vec<Setting>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointStep>,
}

/// An endpoint of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointStep {
    /// Where the application listens.
    pub address: String,
    /// The pod; empty if not told.
    pub pod: String,
    /// The workload; empty if not told.
    pub workload: String,
    /// The zone; empty if not told.
    pub zone: String,
    /// The node; told where endpoints on the own node come first, else empty.
    pub node: String,
    /// Whom its sidecar must prove to be; `None`: it has none, and gets plaintext.
    pub identity: Option<String>,
    /// Whether it gets nothing new while other endpoints are there.
    pub draining: bool,
}

/// The resources that the decision needs and that are neither here nor told to be absent. Fetch them, and ask again,
/// until there are none: what is needed shows only by and by.
pub fn needed(
    resources: &[Resource],
    absent: &[(ResourceKind, String)],
    request: &Request,
) -> Vec<(ResourceKind, String)> {
    let Ok(dialled) = request.dialled.parse::<SocketAddr>() else { return Vec::new() };
    let mut needed = Snapshot::of(dialled, resources).absent;
    needed.retain(|key| !absent.contains(key));
    needed
}

/// What the proxy would decide about a request, given all that its pod is sent. What is not among the resources does
/// not exist. Never fails: what is wrong is part of the explanation.
pub fn explain(resources: &[Resource], request: &Request) -> Explanation {
    let asked = Asked { dialled: request.dialled.clone(), method: request.method.clone(), path: request.path.clone() };
    let mut explanation = Explanation {
        request: asked,
        refused: Vec::new(),
        protocol: None,
        rules: Vec::new(),
        outcome: Outcome::Unknown { detail: format!("{:?} is not an address and a port", request.dialled) },
    };
    let Ok(dialled) = request.dialled.parse::<SocketAddr>() else { return explanation };
    let snapshot = Snapshot::of(dialled, resources);
    explanation.refused = snapshot.refused.iter().map(refused).collect();
    match &snapshot.answer {
        Some(Answer::Known(destination)) => known(&mut explanation, request, dialled, &snapshot, destination),
        Some(Answer::Unknown) => {
            let detail = format!("no Service and no pod of the mesh has {dialled}; WEFT_UNKNOWN_DESTINATION decides");
            explanation.outcome = Outcome::Unknown { detail };
        }
        Some(Answer::Unavailable) | None => {
            let detail = "a resource that is needed was refused, and there is no good version of it".to_owned();
            explanation.outcome = Outcome::Unusable { detail };
        }
    }
    explanation
}

fn refused((kind, name, reason): &(ResourceKind, String, String)) -> Refused {
    Refused { resource_kind: kind.name().to_owned(), name: name.clone(), reason: reason.clone() }
}

fn known(
    explanation: &mut Explanation,
    request: &Request,
    dialled: SocketAddr,
    snapshot: &Snapshot,
    destination: &Arc<Destination>,
) {
    let traffic = destination.traffic();
    let (taken_as, because) = taken_as(&traffic, request.speaks);
    explanation.protocol = Some(ProtocolStep {
        listener: dialled.to_string(),
        service: traffic.service.to_string(),
        declared: declared(traffic.protocol).to_owned(),
        taken_as: name(taken_as).to_owned(),
        because: because.to_owned(),
        route_configuration: snapshot.route_configuration.as_ref().map(ToString::to_string),
    });
    (explanation.rules, explanation.outcome) = match (taken_as, request.speaks) {
        (Speaks::Http, Speaks::Http) => http::decide(&traffic, request, dialled.port()),
        (Speaks::Http, _) => {
            let detail = "the port is declared to be HTTP, and what is not HTTP is answered with 400".to_owned();
            (Vec::new(), Outcome::Refuse { detail })
        }
        (Speaks::Tls, _) => (Vec::new(), connect::decide(&traffic, request.server_name.as_deref())),
        (Speaks::Opaque, _) => (Vec::new(), connect::decide(&traffic, None)),
    };
}

fn declared(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http",
        Protocol::Opaque => "opaque",
        Protocol::Detect => "undeclared",
    }
}

fn name(speaks: Speaks) -> &'static str {
    match speaks {
        Speaks::Http => "http",
        Speaks::Tls => "tls",
        Speaks::Opaque => "opaque",
    }
}

/// As what a connection is taken, as in `outbound`.
fn taken_as(traffic: &Traffic, speaks: Speaks) -> (Speaks, &'static str) {
    let routes_tls = !traffic.tls.is_empty();
    match (traffic.protocol, speaks) {
        (Protocol::Http, _) => (Speaks::Http, "the port is declared to be HTTP"),
        (Protocol::Opaque, Speaks::Tls) if routes_tls => (Speaks::Tls, "TLSRoutes look at the server name"),
        (Protocol::Opaque, _) => (Speaks::Opaque, "the port is declared to be opaque, and nothing is looked at"),
        (Protocol::Detect, Speaks::Http) => (Speaks::Http, "the port is not declared, and the first bytes are HTTP"),
        (Protocol::Detect, Speaks::Tls) if routes_tls => (Speaks::Tls, "TLSRoutes look at the server name"),
        (Protocol::Detect, _) => (Speaks::Opaque, "the port is not declared, and the first bytes are not HTTP"),
    }
}
