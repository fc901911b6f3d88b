//! The immutable values that the path of a connection works with.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use weft_certs::spiffe::SpiffeId;
use weft_rules::route::Routes;
use weft_rules::weighted::Weighted;

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
    /// Where opaque connections go; `None` when the protocol is HTTP.
    pub(crate) opaque: Option<Weighted<Arc<Cluster>>>,
    /// `NAMESPACE/SERVICE:PORT`, or the listener's name where it is no Service's; for telemetry.
    pub(crate) service: Arc<str>,
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

/// A set of endpoints with one name.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Unique in the process: another configuration of the same name is another cluster.
    pub(crate) id: u64,
    /// `NAMESPACE/SERVICE:PORT`, or `IP:PORT` of a pod.
    pub(crate) name: Arc<str>,
    /// How long the connection to an endpoint may take to be established.
    pub(crate) connect_timeout: Duration,
    /// False: a route names it, and there is none. Not the same as a cluster without endpoints.
    pub(crate) exists: bool,
    endpoints: Arc<ArcSwap<Endpoints>>,
}

impl Cluster {
    /// A cluster with a fresh id.
    pub(crate) fn new(name: Arc<str>, connect_timeout: Duration, endpoints: Endpoints) -> Self {
        Self::sharing(name, connect_timeout, Arc::new(ArcSwap::from_pointee(endpoints)))
    }

    /// A cluster with a fresh id whose endpoints are swapped by another hand.
    pub(super) fn sharing(name: Arc<str>, connect_timeout: Duration, endpoints: Arc<ArcSwap<Endpoints>>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), name, connect_timeout, exists: true, endpoints }
    }

    /// A cluster that does not exist.
    pub(super) fn missing(name: Arc<str>) -> Self {
        Self { exists: false, ..Self::new(name, Duration::ZERO, Endpoints::default()) }
    }

    /// Its endpoints now. Swapped as a whole when they change; empty when the cluster does not exist.
    pub(crate) fn endpoints(&self) -> Guard<Arc<Endpoints>> {
        self.endpoints.load()
    }
}

/// The endpoints of a cluster.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Endpoints {
    /// All of them, draining ones too, in the order of the control plane. An endpoint that did not change is the same
    /// `Arc` as before.
    pub(crate) all: Vec<Arc<Endpoint>>,
}

/// One endpoint: a pod's port, or an address outside the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    /// Where the application listens.
    pub(crate) address: SocketAddr,
    /// How its sidecar is reached, if it has one. Without one the endpoint gets plaintext.
    pub(crate) mesh: Option<MeshEndpoint>,
    /// The workload's name, for telemetry; empty if not told.
    pub(crate) workload: Arc<str>,
    /// The pod's name, for telemetry; empty if not told.
    pub(crate) pod: Arc<str>,
    /// The zone; empty if not told.
    pub(crate) zone: Arc<str>,
    /// Whether it gets nothing new while other endpoints are there.
    pub(crate) draining: bool,
}

/// The sidecar of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MeshEndpoint {
    /// The pod's address and its mesh port, 15008 unless told.
    pub(crate) address: SocketAddr,
    /// Whom the sidecar must prove to be.
    pub(crate) identity: SpiffeId,
}

/// What applies to connections that come to this pod.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Inbound {
    ports: HashMap<u16, PortPolicy>,
    others: PortPolicy,
}

impl Inbound {
    /// The policies of declared ports, and of all others.
    pub(crate) fn new(ports: HashMap<u16, PortPolicy>, others: PortPolicy) -> Self {
        Self { ports, others }
    }

    /// Whether the control plane has described this port by itself.
    pub(crate) fn declares(&self, port: u16) -> bool {
        self.ports.contains_key(&port)
    }

    /// What applies to a port of the application.
    pub(crate) fn port(&self, port: u16) -> PortPolicy {
        self.ports.get(&port).copied().unwrap_or(self.others)
    }
}

/// Before the control plane has spoken nothing is declared and everything is strict.
impl Default for Inbound {
    fn default() -> Self {
        Self::new(HashMap::new(), PortPolicy { protocol: Protocol::Detect, mtls: Mtls::Strict })
    }
}

/// What applies to one port of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortPolicy {
    /// What the port speaks.
    pub(crate) protocol: Protocol,
    /// Whether peers must authenticate.
    pub(crate) mtls: Mtls,
}

/// Whether peers must authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mtls {
    /// Only mutual TLS.
    Strict,
    /// Mutual TLS, and plaintext from whoever is not in the mesh.
    Permissive,
}
