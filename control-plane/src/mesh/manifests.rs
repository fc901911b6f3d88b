//! What a registry read: parsed, checked and compact, one value for each object.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::digest;

use super::{FaultInjection, Locality, Protocol, ReferenceGrant, Route, RouteKey, Table, TrafficPolicy};

/// The namespace and name of an object. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// The namespace, an RFC 1123 label.
    pub namespace: Arc<str>,
    /// The name within the namespace.
    pub name: Arc<str>,
}

impl ObjectName {
    /// The name of an object in a namespace.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Everything that a registry knows at one moment, cheap to clone. An object that did not change keeps its `Arc` from one
/// state to the next, which is how changes are found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifests {
    /// `v1` Service.
    pub services: Table<ObjectName, Service>,
    /// `discovery.k8s.io/v1` EndpointSlice.
    pub endpoint_slices: Table<ObjectName, EndpointSlice>,
    /// `v1` Pod.
    pub pods: Table<ObjectName, Pod>,
    /// `v1` ServiceAccount.
    pub service_accounts: Table<ObjectName, ServiceAccount>,
    /// `v1` Secret of type `kubernetes.io/service-account-token`.
    pub join_tokens: Table<ObjectName, JoinToken>,
    /// The Gateway API's HTTPRoute, GRPCRoute, TLSRoute and TCPRoute with Services as parents.
    pub routes: Table<RouteKey, Route>,
    /// The Gateway API's ReferenceGrant.
    pub reference_grants: Table<ObjectName, ReferenceGrant>,
    /// `weft.dev/v1alpha1` TrafficPolicy.
    pub traffic_policies: Table<ObjectName, TrafficPolicy>,
    /// `weft.dev/v1alpha1` FaultInjection.
    pub fault_injections: Table<ObjectName, FaultInjection>,
    /// `v1` Namespace.
    pub namespaces: Namespaces,
    /// `v1` Node.
    pub nodes: Table<Arc<str>, Node>,
}

/// Namespaces, by name.
pub type Namespaces = Table<Arc<str>, Namespace>;

/// A namespace, as far as it concerns the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its labels that start with `weft.dev/`, whole.
    pub labels: BTreeMap<String, String>,
    /// Its annotations that start with `weft.dev/`, whole: what its pods have where they don't say otherwise.
    pub annotations: BTreeMap<String, String>,
    /// Whether it is on its way out: nothing can be made in it any more.
    pub terminating: bool,
}

/// A machine that pods run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its zone, from the label `topology.kubernetes.io/zone`; empty: unknown.
    pub zone: Arc<str>,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub name: ObjectName,
    /// The cluster IPs, of both families where the Service has both. Empty: headless, or an ExternalName.
    pub addresses: Vec<IpAddr>,
    /// The TCP ports.
    pub ports: Vec<ServicePort>,
    /// The DNS name that a Service of type ExternalName stands for.
    pub external_name: Option<Arc<str>>,
    /// Which nodes and zones its endpoints are taken from, as `trafficDistribution` says.
    pub locality: Locality,
    /// Whether a client has the endpoints on its own node and no others (`internalTrafficPolicy: Local`).
    pub node_local: bool,
}

impl Service {
    /// The port with this number.
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.number == number)
    }
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The name, by which EndpointSlices refer to the port; empty where it has none.
    pub name: Arc<str>,
    /// The number that clients dial, never 0.
    pub number: u16,
    /// What the Service declares that the port speaks.
    pub protocol: Protocol,
}

/// Some of a Service's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Namespace and name of the slice.
    pub name: ObjectName,
    /// The Service, from the label `kubernetes.io/service-name`.
    pub service: ObjectName,
    /// The target ports: the name of the Service's port, and the number that the endpoints listen on.
    pub ports: Vec<(Arc<str>, u16)>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

impl EndpointSlice {
    /// The number that the endpoints listen on for the Service's port of this name.
    pub fn target_port(&self, name: &str) -> Option<u16> {
        self.ports.iter().find(|(port, _)| port.as_ref() == name).map(|&(_, number)| number)
    }
}

/// An endpoint of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The zone; empty: unknown.
    pub zone: Arc<str>,
    /// The node that it is on; empty: unknown.
    pub node: Arc<str>,
    /// Whether it takes requests.
    pub state: EndpointState,
}

/// Whether an endpoint takes requests, from the conditions of its EndpointSlice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// It takes requests.
    Ready,
    /// It is terminating and still serves: new requests go elsewhere while there is an elsewhere.
    Draining,
    /// It takes none (yet, or any more).
    NotReady,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub name: ObjectName,
    /// The ServiceAccount, in the pod's own namespace.
    pub service_account: Arc<str>,
    /// The pod's addresses; empty where it has none of its own (none yet, host network, or it ended).
    pub addresses: Vec<IpAddr>,
    /// The workload that it belongs to, for telemetry.
    pub workload: Arc<str>,
    /// Whether it has a sidecar.
    pub injected: bool,
    /// The annotation `weft.dev/mtls`.
    pub mtls: Option<Mtls>,
    /// The TCP ports that its containers declare, ordered, each number once.
    pub ports: Vec<PodPort>,
    /// The zone, from the label `topology.kubernetes.io/zone`; empty: unknown.
    pub zone: Arc<str>,
    /// The node that it runs on; empty: none yet, or unknown.
    pub node: Arc<str>,
    /// What tells it from another pod of its name, before or after it; empty: unknown.
    pub uid: Arc<str>,
    /// When it was created, seconds since the epoch; 0: unknown. Of two pods with one address the younger has it.
    pub created: i64,
}

/// A port that a container declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodPort {
    /// The number, never 0.
    pub number: u16,
    /// What the port's name declares.
    pub protocol: Protocol,
}

/// What a pod does with plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mtls {
    /// Mutual TLS alone is let in.
    Strict,
    /// Plaintext is let in too.
    Permissive,
}

impl Mtls {
    /// The annotation's values.
    pub const ALLOWED: [&str; 2] = ["strict", "permissive"];

    /// As the annotation `weft.dev/mtls` and the xDS metadata have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Permissive => "permissive",
        }
    }
}

impl std::str::FromStr for Mtls {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "strict" => Ok(Self::Strict),
            "permissive" => Ok(Self::Permissive),
            _ => Err(format!("{text:?} is not one of {}", Self::ALLOWED.join(", "))),
        }
    }
}

/// A ServiceAccount: that it exists is all there is to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Namespace and name.
    pub name: ObjectName,
}

/// A token that lets a workload have its first certificate. The token itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinToken {
    /// Namespace and name of the Secret.
    pub name: ObjectName,
    /// The ServiceAccount that the token is bound to.
    pub service_account: ObjectName,
    /// Which token.
    pub digest: TokenDigest,
}

/// SHA-256 of a join token: enough to recognize it, useless to whoever reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The digest of a token.
    pub fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }
}
