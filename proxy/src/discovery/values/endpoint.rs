//! The endpoints of a cluster.

use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use weft_certs::spiffe::SpiffeId;

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
    /// Where it is.
    pub(crate) place: Place,
    /// Whether it gets nothing new while other endpoints are there.
    pub(crate) draining: bool,
    /// What the active health checks say of it, where the cluster asks for them.
    pub(crate) health: EndpointHealth,
}

/// Where a pod is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// The zone; empty if not told.
    pub(crate) zone: Arc<str>,
    /// The node; empty if not told. Of an endpoint it is told where those on the own node come first.
    pub(crate) node: Arc<str>,
}

/// The sidecar of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MeshEndpoint {
    /// The pod's address and its mesh port, 15008 unless told.
    pub(crate) address: SocketAddr,
    /// Whom the sidecar must prove to be.
    pub(crate) identity: SpiffeId,
}

/// What active health checks say of an endpoint, for all workers. Healthy until a check says otherwise: readiness has
/// been checked before the endpoint came to be one.
///
/// It is no part of what the endpoint is: two endpoints that differ in it alone are equal, and have the same hash.
#[derive(Debug, Default)]
pub(crate) struct EndpointHealth {
    failed: AtomicBool,
}

impl EndpointHealth {
    /// Whether it may be used. To be asked only where the cluster has health checks: what an earlier configuration
    /// found out is not forgotten.
    pub(crate) fn is_healthy(&self) -> bool {
        !self.failed.load(Ordering::Relaxed)
    }

    /// Takes over the result of the checks.
    pub(crate) fn set_healthy(&self, healthy: bool) {
        self.failed.store(!healthy, Ordering::Relaxed);
    }
}

impl Clone for EndpointHealth {
    fn clone(&self) -> Self {
        Self { failed: AtomicBool::new(self.failed.load(Ordering::Relaxed)) }
    }
}

impl PartialEq for EndpointHealth {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for EndpointHealth {}

impl Hash for EndpointHealth {
    fn hash<H: Hasher>(&self, _state: &mut H) {}
}
