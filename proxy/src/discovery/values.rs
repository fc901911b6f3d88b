//! The immutable values that the path of a connection works with.

mod cluster;
mod endpoint;
mod inbound;
mod rate_limit;
mod server_name;

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use weft_rules::route::Routes;
use weft_rules::weighted::Weighted;

pub(crate) use cluster::{BudgetPolicy, Cluster, ClusterCounters, ClusterPolicy};
pub(crate) use endpoint::{Endpoint, EndpointHealth, Endpoints, MeshEndpoint, Place};
pub(crate) use inbound::{Inbound, Mtls, PortPolicy};
pub(crate) use rate_limit::{GlobalRule, LocalRule, RateLimits};
pub(crate) use server_name::ServerNameMatch;

/// Something that the application dials: an address of a Service's port, or of a pod.
///
/// Whoever holds one keeps its subscription alive, so that a long connection sees every change; don't keep it longer
/// than the connection. When the control plane says that there is no such destination any more, connections that are
/// open keep its last traffic, and new ones get the answer `Unknown`.
#[derive(Debug)]
pub(crate) struct Destination {
    traffic: ArcSwap<Traffic>,
}

impl Destination {
    /// A destination with its first traffic.
    pub(super) fn new(traffic: Arc<Traffic>) -> Self {
        Self { traffic: ArcSwap::new(traffic) }
    }

    /// Where its traffic goes now. Swapped as a whole when the configuration changes.
    pub(crate) fn traffic(&self) -> Guard<Arc<Traffic>> {
        self.traffic.load()
    }

    pub(super) fn publish(&self, traffic: Arc<Traffic>) {
        self.traffic.store(traffic);
    }
}

/// Where a destination's traffic goes. All clusters that it names have their endpoints, or are known not to exist.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// What the destination speaks.
    pub(crate) protocol: Protocol,
    /// The routes of HTTP requests, first match wins. Empty when the protocol is opaque, and when the control plane
    /// says that the route configuration does not exist.
    pub(crate) routes: Routes<Arc<Cluster>>,
    /// Where TLS connections go by their server name, unless the protocol is declared to be HTTP; the most specific name
    /// first. Mostly empty.
    pub(crate) tls: Vec<(ServerNameMatch, Weighted<Arc<Cluster>>)>,
    /// Where opaque connections go; `None` when the protocol is HTTP.
    pub(crate) opaque: Option<Weighted<Arc<Cluster>>>,
    /// `NAMESPACE/SERVICE:PORT`, or the listener's name where it is no Service's; for telemetry.
    pub(crate) service: Arc<str>,
}

impl Traffic {
    /// Where a TLS connection goes, `None` being a connection without a server name. First by its name, then as any
    /// other connection of bytes.
    pub(crate) fn for_server_name(&self, name: Option<&str>) -> Option<&Weighted<Arc<Cluster>>> {
        let named = name.and_then(|name| self.tls.iter().find(|(wanted, _)| wanted.matches(name)));
        named.map(|(_, clusters)| clusters).or(self.opaque.as_ref())
    }
}

/// What a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    /// Declared: HTTP/1.x or HTTP/2. Anything else is refused.
    Http,
    /// Declared: bytes that are not looked at.
    Opaque,
    /// Not declared: the first bytes decide.
    Detect,
}
