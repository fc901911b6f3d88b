//! One stream of a proxy, as the rest of the control plane sees it.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;
use weft_api::xds::ResourceKind;
use weft_api::xds::pb::envoy::config::core::v3::Node;
use weft_api::xds::pb::google::protobuf::value::Kind as Value;
use weft_certs::spiffe::SpiffeId;

use super::resources::NodeRef;
use super::subscriptions::Subscriptions;
use crate::mesh::{Mesh, ObjectName};

/// The longest version of a proxy that is kept, in characters.
const MAX_VERSION_CHARS: usize = 64;

/// One stream of a proxy.
#[derive(Debug)]
pub struct Subscriber {
    pub(super) id: u64,
    pub(super) node: NodeRef,
    identity: SpiffeId,
    connected: Instant,
    pub(super) state: Mutex<State>,
    pub(super) wake: Notify,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) subscriptions: Subscriptions,
    /// The mesh that what is dirty is looked up in, so that what goes together is sent together.
    pub(super) mesh: Option<Arc<Mesh>>,
    reported: Reported,
}

/// What a proxy reports of itself in its node's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// Its version; empty: it didn't say.
    pub version: String,
    /// When its certificate ends, seconds since the epoch; 0: it didn't say.
    pub certificate_expires: u64,
}

/// One resource that a stream subscribes to.
#[derive(Clone, Debug)]
pub struct HeldResource {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its name.
    pub name: Arc<str>,
    /// The version that the client acknowledged last, and when; `None`: none, or that it doesn't exist.
    pub acked: Option<(Arc<str>, Instant)>,
    /// The version that the client refused, and why.
    pub refused: Option<(Arc<str>, Arc<str>)>,
    /// Since when the client may be behind.
    pub behind_since: Option<Instant>,
}

impl Subscriber {
    pub(super) fn new(id: u64, node: NodeRef, identity: SpiffeId) -> Self {
        let (state, wake) = (Mutex::default(), Notify::new());
        Self { id, node, identity, connected: Instant::now(), state, wake }
    }

    /// The pod.
    pub fn node(&self) -> &NodeRef {
        &self.node
    }

    /// The SPIFFE id that the stream authenticated with.
    pub fn identity(&self) -> &SpiffeId {
        &self.identity
    }

    /// When the stream began.
    pub fn connected(&self) -> Instant {
        self.connected
    }

    /// What the proxy reports of itself.
    pub fn reported(&self) -> Reported {
        self.state.lock().reported.clone()
    }

    /// All subscriptions, by kind and name.
    pub fn resources(&self) -> Vec<HeldResource> {
        let state = self.state.lock();
        let held = |(kind, name, entry): (_, &Arc<str>, &super::subscriptions::Entry)| HeldResource {
            kind,
            name: Arc::clone(name),
            acked: entry.acked.clone().zip(entry.acked_at),
            refused: entry.refused.as_deref().cloned(),
            behind_since: entry.behind_since,
        };
        state.subscriptions.entries().map(held).collect()
    }

    /// The version of a resource that the client acknowledged last; `None`: it does not subscribe to it.
    pub(super) fn acked(&self, kind: ResourceKind, name: &str) -> Option<Option<Arc<str>>> {
        self.state.lock().subscriptions.entry(kind, name).map(|entry| entry.acked.clone())
    }

    /// Marks what may have changed, and lets the session look at it. The lock is taken once, so that the session sees
    /// all of a change or nothing.
    pub(super) fn mark(&self, mesh: &Arc<Mesh>, names: &[(ResourceKind, Arc<str>)], now: Instant) {
        let mut state = self.state.lock();
        for (kind, name) in names {
            state.subscriptions.mark(*kind, name, now);
        }
        state.mesh = state.subscriptions.dirty().then(|| Arc::clone(mesh));
        drop(state);
        self.wake.notify_one();
    }

    /// Takes over what a node says of itself.
    pub(super) fn report(&self, node: &Node) {
        let field = |name: &str| node.metadata.as_ref()?.fields.get(name)?.kind.as_ref();
        let mut state = self.state.lock();
        if let Some(Value::StringValue(version)) = field("version") {
            let kept: String = version.chars().take(MAX_VERSION_CHARS).collect();
            state.reported.version = kept.escape_debug().to_string();
        }
        if let Some(Value::NumberValue(seconds)) = field("certificate_expires") {
            // Saturates: a time before the epoch or beyond any calendar is the client's own mistake.
            state.reported.certificate_expires = *seconds as u64;
        }
    }

    /// Namespace and name of the pod.
    pub(super) fn pod(&self) -> ObjectName {
        ObjectName::new(self.node.namespace.as_str(), self.node.pod.as_str())
    }
}

/// The xDS node id, `POD.NAMESPACE`.
impl fmt::Display for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node.pod, self.node.namespace)
    }
}
