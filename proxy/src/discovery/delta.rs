//! The client's side of the incremental ADS protocol, without I/O: what is to be sent next.
//!
//! One stream carries all kinds. The first request of the stream has the node; the first request of each kind names all
//! that is subscribed to, and the versions that are held. After that only changes are sent. A request with a nonce is
//! the ACK, or with `error_detail` the NACK, of a response.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use weft_api::xds::ResourceKind;
use weft_api::xds::pb::envoy::config::core::v3::Node;
use weft_api::xds::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use weft_api::xds::pb::google::protobuf::{Struct, Value, value::Kind};
use weft_api::xds::pb::google::rpc;

/// `google.rpc.Code.INVALID_ARGUMENT`
const INVALID_ARGUMENT: i32 = 3;
/// An error detail longer than this is cut.
const ERROR_DETAIL_BYTES: usize = 4096;

/// A resource by kind and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: ResourceKind,
    pub(super) name: Arc<str>,
}

impl Key {
    pub(super) fn new(kind: ResourceKind, name: &Arc<str>) -> Self {
        Self { kind, name: name.clone() }
    }
}

/// What is still to be sent on the stream.
#[derive(Debug)]
pub(super) struct Delta {
    node_id: String,
    certificate_expires: SystemTime,
    /// Whether the node must be sent: at the start of the stream, and when the certificate was renewed.
    node_due: bool,
    open: bool,
    kinds: BTreeMap<ResourceKind, Pending>,
    acknowledgements: VecDeque<DeltaDiscoveryRequest>,
}

#[derive(Debug, Default)]
struct Pending {
    /// Whether the stream's first request of this kind has been sent.
    started: bool,
    subscribe: BTreeSet<Arc<str>>,
    unsubscribe: BTreeSet<Arc<str>>,
    versions: HashMap<String, String>,
}

impl Delta {
    pub(super) fn new(node_id: String, certificate_expires: SystemTime) -> Self {
        Self {
            node_id,
            certificate_expires,
            node_due: false,
            open: false,
            kinds: BTreeMap::new(),
            acknowledgements: VecDeque::new(),
        }
    }

    /// A new stream begins: all is subscribed to anew, with the versions that are held.
    pub(super) fn open(&mut self, wanted: impl IntoIterator<Item = (Key, Option<String>)>) {
        self.open = true;
        self.node_due = true;
        self.acknowledgements.clear();
        self.kinds.clear();
        for (key, version) in wanted {
            let pending = self.kinds.entry(key.kind).or_default();
            if let Some(version) = version {
                pending.versions.insert(key.name.as_ref().to_owned(), version);
            }
            pending.subscribe.insert(key.name);
        }
    }

    /// The stream has ended; what happens until the next one is told to [`Delta::open`].
    pub(super) fn close(&mut self) {
        self.open = false;
    }

    /// A name that was unsubscribed before is asked for again: the server must send it again, since we have dropped it.
    pub(super) fn subscribe(&mut self, key: Key) {
        let pending = self.kinds.entry(key.kind).or_default();
        pending.unsubscribe.remove(&key.name);
        pending.subscribe.insert(key.name);
    }

    pub(super) fn unsubscribe(&mut self, key: Key) {
        let pending = self.kinds.entry(key.kind).or_default();
        pending.subscribe.remove(&key.name);
        pending.unsubscribe.insert(key.name);
    }

    /// Answers a response: ACK, or NACK with what was wrong.
    pub(super) fn acknowledge(&mut self, type_url: String, nonce: String, error: Option<String>) {
        let error_detail = error.map(|mut message| {
            message.truncate(message.floor_char_boundary(ERROR_DETAIL_BYTES));
            rpc::Status { code: INVALID_ARGUMENT, message, details: Vec::new() }
        });
        let request =
            DeltaDiscoveryRequest { type_url, response_nonce: nonce, error_detail, ..DeltaDiscoveryRequest::default() };
        self.acknowledgements.push_back(request);
    }

    /// The node's metadata has changed: it is told with a request of its own.
    pub(super) fn certificate_renewed(&mut self, expires: SystemTime) {
        self.certificate_expires = expires;
        self.node_due = true;
    }

    /// Whether [`Delta::next_request`] has something.
    pub(super) fn is_pending(&self) -> bool {
        let due =
            |pending: &Pending| !pending.subscribe.is_empty() || pending.started && !pending.unsubscribe.is_empty();
        self.open
            && (!self.acknowledgements.is_empty()
                || self.kinds.values().any(due)
                || self.node_due && self.kinds.values().any(|pending| pending.started))
    }

    /// What to send now, if anything.
    pub(super) fn next_request(&mut self) -> Option<DeltaDiscoveryRequest> {
        if !self.open {
            return None;
        }
        let mut request = self.acknowledgements.pop_front().or_else(|| self.changes()).or_else(|| self.node_alone())?;
        if std::mem::take(&mut self.node_due) {
            request.node = Some(self.node());
        }
        Some(request)
    }

    fn changes(&mut self) -> Option<DeltaDiscoveryRequest> {
        for (kind, pending) in &mut self.kinds {
            if !pending.started {
                // The server never knew these, and a first request that subscribes to nothing means 'everything'.
                pending.unsubscribe.clear();
            }
            if pending.subscribe.is_empty() && pending.unsubscribe.is_empty() {
                continue;
            }
            pending.started = true;
            return Some(DeltaDiscoveryRequest {
                type_url: kind.type_url().to_owned(),
                resource_names_subscribe: names(&mut pending.subscribe),
                resource_names_unsubscribe: names(&mut pending.unsubscribe),
                initial_resource_versions: std::mem::take(&mut pending.versions),
                ..DeltaDiscoveryRequest::default()
            });
        }
        None
    }

    fn node_alone(&self) -> Option<DeltaDiscoveryRequest> {
        if !self.node_due {
            return None;
        }
        let (kind, _) = self.kinds.iter().find(|(_, pending)| pending.started)?;
        Some(DeltaDiscoveryRequest { type_url: kind.type_url().to_owned(), ..DeltaDiscoveryRequest::default() })
    }

    fn node(&self) -> Node {
        let expires = self.certificate_expires.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let fields = [
            ("version", Kind::StringValue(env!("CARGO_PKG_VERSION").to_owned())),
            ("certificate_expires", Kind::NumberValue(expires.as_secs_f64().floor())),
        ];
        let fields = fields.map(|(key, kind)| (key.to_owned(), Value { kind: Some(kind) })).into();
        Node {
            id: self.node_id.clone(),
            metadata: Some(Struct { fields }),
            user_agent_name: "weft-proxy".to_owned(),
            ..Node::default()
        }
    }
}

fn names(set: &mut BTreeSet<Arc<str>>) -> Vec<String> {
    std::mem::take(set).into_iter().map(|name| name.as_ref().to_owned()).collect()
}

#[cfg(test)]
mod tests;
