//! What applies to connections that come to this pod.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Place, Protocol, RateLimits};

/// What applies to connections that come to this pod.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    ports: HashMap<u16, PortPolicy>,
    others: PortPolicy,
    /// Where the pod is.
    pub(crate) place: Place,
}

impl Inbound {
    /// The policies of declared ports, and of all others.
    pub(crate) fn new(ports: HashMap<u16, PortPolicy>, others: PortPolicy, place: Place) -> Self {
        Self { ports, others, place }
    }

    /// Whether the control plane has described this port by itself.
    pub(crate) fn declares(&self, port: u16) -> bool {
        self.ports.contains_key(&port)
    }

    /// What applies to a port of the application.
    pub(crate) fn port(&self, port: u16) -> &PortPolicy {
        self.ports.get(&port).unwrap_or(&self.others)
    }
}

/// What applies to one port of the application. Cheap to clone.
///
/// Before the control plane has spoken nothing is declared and everything is strict.
#[derive(Clone, Debug)]
pub(crate) struct PortPolicy {
    /// What the port speaks.
    pub(crate) protocol: Protocol,
    /// Whether peers must authenticate.
    pub(crate) mtls: Mtls,
    /// What limits the rate of requests.
    pub(crate) limits: Arc<RateLimits>,
}

impl Default for PortPolicy {
    fn default() -> Self {
        Self { protocol: Protocol::Detect, mtls: Mtls::Strict, limits: Arc::default() }
    }
}

/// Whether peers must authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mtls {
    /// Only mutual TLS.
    Strict,
    /// Mutual TLS, and plaintext from whoever is not in the mesh.
    Permissive,
}
