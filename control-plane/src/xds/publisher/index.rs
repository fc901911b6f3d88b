//! Which streams there are, and which are interested in a name.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use tonic::Status;
use weft_api::xds::ResourceKind;
use weft_certs::spiffe::SpiffeId;

use super::super::per_kind::PerKind;
use super::super::resources::NodeRef;
use super::super::subscriber::Subscriber;
use super::super::subscriptions::Interest;
use super::super::{MAX_STREAMS, MAX_STREAMS_A_POD};
use crate::mesh::ObjectName;

/// Streams by their number, and the numbers by what they subscribe to.
#[derive(Default)]
pub(super) struct Index {
    last: u64,
    streams: BTreeMap<u64, Arc<Subscriber>>,
    pods: HashMap<ObjectName, HashSet<u64>>,
    kinds: PerKind<Names>,
}

#[derive(Default)]
struct Names {
    named: HashMap<Arc<str>, HashSet<u64>>,
    wildcard: HashSet<u64>,
}

impl Index {
    pub(super) fn connect(&mut self, node: NodeRef, identity: SpiffeId) -> Result<Arc<Subscriber>, Status> {
        if self.streams.len() >= MAX_STREAMS {
            return Err(Status::resource_exhausted(format!("{MAX_STREAMS} streams are open; retry with backoff")));
        }
        let pod = ObjectName::new(node.namespace.as_str(), node.pod.as_str());
        let of_pod = self.pods.entry(pod.clone()).or_default();
        if of_pod.len() >= MAX_STREAMS_A_POD {
            return Err(Status::resource_exhausted(format!("pod {pod} has {MAX_STREAMS_A_POD} streams open already")));
        }
        self.last += 1;
        of_pod.insert(self.last);
        let subscriber = Arc::new(Subscriber::new(self.last, node, identity));
        self.streams.insert(self.last, Arc::clone(&subscriber));
        Ok(subscriber)
    }

    pub(super) fn disconnect(&mut self, subscriber: &Subscriber) {
        let id = subscriber.id;
        self.streams.remove(&id);
        remove(&mut self.pods, &subscriber.pod(), id);
        let state = subscriber.state.lock();
        for (kind, name, _) in state.subscriptions.entries() {
            remove(&mut self.kinds.get_mut(kind).named, name, id);
        }
        for kind in state.subscriptions.wildcards() {
            self.kinds.get_mut(kind).wildcard.remove(&id);
        }
    }

    pub(super) fn update(&mut self, id: u64, kind: ResourceKind, interest: &Interest) {
        let names = self.kinds.get_mut(kind);
        for name in &interest.dropped {
            remove(&mut names.named, name, id);
        }
        for name in &interest.added {
            names.named.entry(Arc::clone(name)).or_default().insert(id);
        }
        match interest.wildcard {
            Some(true) => names.wildcard.insert(id),
            Some(false) => names.wildcard.remove(&id),
            None => false,
        };
    }

    /// Puts the copy of a name that other streams have in its place, so that thousands of streams keep it once.
    pub(super) fn share(&self, kind: ResourceKind, name: &mut Arc<str>) {
        if let Some((known, _)) = self.kinds.get(kind).named.get_key_value(name) {
            name.clone_from(known);
        }
    }

    pub(super) fn stream(&self, id: u64) -> Option<&Arc<Subscriber>> {
        self.streams.get(&id)
    }

    pub(super) fn streams(&self) -> Vec<Arc<Subscriber>> {
        self.streams.values().cloned().collect()
    }

    pub(super) fn streams_of(&self, pod: &ObjectName) -> impl Iterator<Item = u64> {
        self.pods.get(pod).into_iter().flatten().copied()
    }

    pub(super) fn is_wanted(&self, kind: ResourceKind, name: &str) -> bool {
        let names = self.kinds.get(kind);
        !names.wildcard.is_empty() || names.named.contains_key(name)
    }

    pub(super) fn is_interested(&self, kind: ResourceKind, name: &str, id: u64) -> bool {
        let names = self.kinds.get(kind);
        names.wildcard.contains(&id) || names.named.get(name).is_some_and(|ids| ids.contains(&id))
    }

    /// The streams that subscribe to a name, each once.
    pub(super) fn interested(&self, kind: ResourceKind, name: &str) -> impl Iterator<Item = u64> {
        let names = self.kinds.get(kind);
        let named = names.named.get(name).into_iter().flatten().copied();
        named.filter(|id| !names.wildcard.contains(id)).chain(names.wildcard.iter().copied())
    }
}

fn remove<K: std::hash::Hash + Eq>(map: &mut HashMap<K, HashSet<u64>>, key: &K, id: u64) {
    if let Some(ids) = map.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}
