//! The current mesh, its resources, and who is interested in which.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tonic::Status;
use weft_api::names::INBOUND_LISTENER;
use weft_api::xds::ResourceKind;
use weft_certs::spiffe::SpiffeId;

use self::index::Index;
use super::MAX_SUBSCRIPTIONS;
use super::resources::{self, NodeRef, Resource, Variants};
use super::subscriber::Subscriber;
use super::subscriptions::{LimitError, Names, Outgoing};
use crate::mesh::{Changes, Mesh, ObjectName};
use crate::metrics::Metrics;

mod index;

/// Who asks where the answer is the same for all.
const NOBODY: NodeRef = NodeRef { namespace: String::new(), pod: String::new() };

/// Publishes the mesh to the streams that are interested in what changed.
pub struct Publisher {
    mesh: watch::Sender<Arc<Mesh>>,
    cache: RwLock<Cache>,
    index: RwLock<Index>,
    progress: Progress,
    metrics: Arc<Metrics>,
}

/// The resources of one mesh that somebody asked for, serialized once for all. A resource that does not exist and one that
/// is different for each pod are not kept, so that no client can make this grow.
struct Cache {
    mesh: Arc<Mesh>,
    resources: HashMap<Key, Arc<Resource>, foldhash::fast::RandomState>,
}

/// A resource, and the namespace or node that it is for where it is another one for that.
type Key = (ResourceKind, Arc<str>, Option<Arc<str>>);

/// The Services with a split whose proxies took or lost a step since somebody looked.
#[derive(Default)]
struct Progress {
    services: Mutex<BTreeSet<ObjectName>>,
    made: Notify,
}

/// By the number of the stream, what may be different for it.
type Marks = HashMap<u64, Vec<(ResourceKind, Arc<str>)>>;

/// How many of the streams that subscribe to a Service's routes acknowledged the current ones. Listeners are routes too: they
/// say where connections go that are not HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteHolders {
    /// Streams that subscribe to at least one of the Service's Listeners and RouteConfigurations.
    pub all: u32,
    /// Of these, the ones that acknowledged the current version of each that they subscribe to.
    pub current: u32,
}

impl Publisher {
    /// A publisher without streams.
    pub fn new(mesh: Mesh, metrics: Arc<Metrics>) -> Self {
        let mesh = Arc::new(mesh);
        Self {
            cache: RwLock::new(Cache { mesh: Arc::clone(&mesh), resources: HashMap::default() }),
            mesh: watch::Sender::new(mesh),
            index: RwLock::default(),
            progress: Progress::default(),
            metrics,
        }
    }

    /// The mesh as it is.
    pub fn mesh(&self) -> Arc<Mesh> {
        Arc::clone(&self.mesh.borrow())
    }

    /// The mesh as it is, and as it changes.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Mesh>> {
        self.mesh.subscribe()
    }

    /// Makes a mesh the current one. Streams that are interested in what differs are woken, all others don't notice.
    pub fn publish(&self, mesh: Mesh) {
        let mesh = Arc::new(mesh);
        let changes = mesh.changed(&self.mesh());
        // Requests wait, so that each stream is either marked here or looks up the new mesh.
        let index = self.index.write();
        let marks = self.exchange(&mesh, &changes, &index);
        let now = Instant::now();
        for (stream, names) in &marks {
            if let Some(subscriber) = index.stream(*stream) {
                subscriber.mark(&mesh, names, now);
            }
        }
        self.mesh.send_replace(Arc::clone(&mesh));
        drop(index);
        self.progress.step(&mesh, changes.resources());
    }

    /// Makes the new mesh that of the cache. Returns what became different for whom.
    fn exchange(&self, mesh: &Arc<Mesh>, changes: &Changes, index: &Index) -> Marks {
        let mut marks = Marks::new();
        let (mut fresh, mut gone) = (Vec::new(), Vec::new());
        let old = self.mesh();
        for (kind, name) in changes.resources() {
            let name = Arc::<str>::from(name);
            let (before, after) = (Variants::of(&old, kind, &name), Variants::of(mesh, kind, &name));
            gone.extend(before.all().map(|variant| (kind, Arc::clone(&name), variant)));
            if !index.is_wanted(kind, &name) {
                continue;
            }
            let mut versions = BTreeMap::<_, Option<Arc<Resource>>>::new();
            for stream in index.interested(kind, &name) {
                let Some(subscriber) = index.stream(stream).filter(|stream| after.knows(mesh, &stream.node)) else {
                    continue;
                };
                let variant = after.of_client(mesh, &subscriber.node);
                let new = versions
                    .entry(variant)
                    .or_insert_with(|| resources::resource(mesh, kind, &name, &subscriber.node).map(Arc::new));
                let known = (kind, Arc::clone(&name), before.of_client(&old, &subscriber.node));
                let known = self.cache.read().resources.get(&known).map(|old| old.version.clone());
                if known.is_none() || known != new.as_ref().map(|new| new.version.clone()) {
                    marks.entry(stream).or_default().push((kind, Arc::clone(&name)));
                }
            }
            let versions = versions.into_iter().filter_map(|(variant, new)| Some((variant, new?)));
            fresh.extend(versions.map(|(variant, new)| ((kind, Arc::clone(&name), variant), new)));
        }
        self.mark_inbound(mesh, changes, index, &mut marks);
        self.mark_moved(mesh, changes, index, &mut marks);
        let mut cache = self.cache.write();
        cache.mesh = Arc::clone(mesh);
        for key in &gone {
            cache.resources.remove(key);
        }
        cache.resources.extend(fresh);
        marks
    }

    /// Marks the streams of the pods whose own listener became different. A pod that is gone keeps what it has: its proxy
    /// may still be draining.
    fn mark_inbound(&self, mesh: &Arc<Mesh>, changes: &Changes, index: &Index, marks: &mut Marks) {
        let old = self.mesh();
        let inbound: Arc<str> = INBOUND_LISTENER.into();
        let kind = ResourceKind::Listener;
        for pod in changes.inbound() {
            let mut streams =
                index.streams_of(pod).filter(|stream| index.is_interested(kind, &inbound, *stream)).peekable();
            if streams.peek().is_none() || mesh.pod(&pod.namespace, &pod.name).is_none() {
                continue;
            }
            let node = NodeRef { namespace: pod.namespace.to_string(), pod: pod.name.to_string() };
            let version = |mesh| resources::resource(mesh, kind, &inbound, &node).map(|resource| resource.version);
            if version(&old) != version(mesh) {
                streams.for_each(|stream| marks.entry(stream).or_default().push((kind, Arc::clone(&inbound))));
            }
        }
    }

    /// Marks the endpoints of the streams whose pod is known to be on another node: they may be others there. Here, too, a
    /// pod that is gone keeps what it has.
    fn mark_moved(&self, mesh: &Mesh, changes: &Changes, index: &Index, marks: &mut Marks) {
        let old = self.mesh();
        let kind = ResourceKind::ClusterLoadAssignment;
        for pod in changes.inbound() {
            let node_in = |mesh: &Mesh| mesh.pod(&pod.namespace, &pod.name).and_then(|pod| mesh.node_of(pod).cloned());
            let mut streams = index.streams_of(pod).peekable();
            let is_gone = mesh.pod(&pod.namespace, &pod.name).is_none();
            if streams.peek().is_none() || is_gone || node_in(&old) == node_in(mesh) {
                continue;
            }
            for stream in streams.filter_map(|stream| index.stream(stream)) {
                let held = stream.resources().into_iter().filter(|held| held.kind == kind);
                marks.entry(stream.id).or_default().extend(held.map(|held| (kind, held.name)));
            }
        }
    }

    /// The current state of a resource.
    pub fn resource(&self, kind: ResourceKind, name: &Arc<str>, node: &NodeRef) -> Option<Arc<Resource>> {
        self.look_up(&self.mesh(), kind, name, node)
    }

    /// How far the streams that hold a Service's routes are with the current mesh.
    pub fn route_holders(&self, service: &ObjectName) -> RouteHolders {
        let mesh = self.mesh();
        let Some(service) = mesh.service(&service.namespace, &service.name) else { return RouteHolders::default() };
        let index = self.index.read();
        let mut streams: HashMap<u64, bool> = HashMap::new();
        for (kind, name) in resources::routing(&mesh, service) {
            let variants = Variants::of(&mesh, kind, &name);
            let mut wanted = BTreeMap::<_, Option<Arc<str>>>::new();
            for stream in index.interested(kind, &name).filter_map(|stream| index.stream(stream)) {
                let Some(acked) = stream.acked(kind, &name) else { continue };
                let wanted = wanted.entry(variants.of_client(&mesh, &stream.node)).or_insert_with(|| {
                    self.look_up(&mesh, kind, &name, &stream.node).map(|routes| Arc::clone(&routes.version))
                });
                *streams.entry(stream.id).or_insert(true) &= acked == *wanted;
            }
        }
        let count = |streams: usize| u32::try_from(streams).unwrap_or(u32::MAX);
        let current = streams.values().filter(|current| **current).count();
        RouteHolders { all: count(streams.len()), current: count(current) }
    }

    /// A digest of a Service's current routes: the same on every replica that has them.
    pub fn route_digest(&self, service: &ObjectName) -> u64 {
        let mesh = self.mesh();
        let Some(service) = mesh.service(&service.namespace, &service.name) else { return 0 };
        let mut digest = std::hash::DefaultHasher::new();
        for (kind, name) in resources::routing(&mesh, service) {
            for variant in Variants::of(&mesh, kind, &name).all() {
                let node = NodeRef { namespace: variant.as_deref().unwrap_or_default().to_owned(), ..NOBODY };
                let routes = self.look_up(&mesh, kind, &name, &node);
                routes.map(|routes| routes.version.clone()).hash(&mut digest);
            }
        }
        digest.finish()
    }

    /// Waits until proxies of Services with a split took a step; returns these Services.
    pub async fn progress(&self) -> BTreeSet<ObjectName> {
        loop {
            self.progress.made.notified().await;
            let services = std::mem::take(&mut *self.progress.services.lock());
            if !services.is_empty() {
                return services;
            }
        }
    }

    /// All streams, in the order in which they came.
    pub fn subscribers(&self) -> Vec<Arc<Subscriber>> {
        self.index.read().streams()
    }

    /// # Errors
    /// `RESOURCE_EXHAUSTED` when there are too many streams, of this pod or in all.
    pub(super) fn connect(&self, node: NodeRef, identity: SpiffeId) -> Result<Arc<Subscriber>, Status> {
        let subscriber = self.index.write().connect(node, identity)?;
        self.metrics.proxies.inc();
        Ok(subscriber)
    }

    pub(super) fn disconnect(&self, subscriber: &Subscriber) {
        self.metrics.proxies.dec();
        self.index.write().disconnect(subscriber);
        let resources = subscriber.resources();
        self.progress.step(&self.mesh(), resources.iter().map(|held| (held.kind, held.name.as_ref())));
    }

    /// Follows a request's names.
    pub(super) fn request(
        &self,
        subscriber: &Subscriber,
        kind: ResourceKind,
        mut names: Names,
    ) -> Result<(), LimitError> {
        let mut index = self.index.write();
        // A stream with more of them than it may have ends below.
        names.subscribed_mut().iter_mut().take(MAX_SUBSCRIPTIONS).for_each(|name| index.share(kind, name));
        let mesh = self.mesh();
        let mut state = subscriber.state.lock();
        let known = || resources::names(&mesh, kind).collect();
        let interest = state.subscriptions.request(kind, names, known, Instant::now())?;
        state.mesh = state.subscriptions.dirty().then(|| Arc::clone(&mesh));
        drop(state);
        index.update(subscriber.id, kind, &interest);
        drop(index);
        let names = interest.added.iter().chain(&interest.dropped);
        self.progress.step(&mesh, names.map(|name| (kind, name.as_ref())));
        Ok(())
    }

    /// The next response for a stream, if it is behind.
    pub(super) fn next(&self, subscriber: &Subscriber, whole: bool) -> Option<Outgoing> {
        let mut state = subscriber.state.lock();
        if !state.subscriptions.pending() {
            return None;
        }
        let mesh = state.mesh.clone().unwrap_or_else(|| self.mesh());
        let look_up = |kind, name: &Arc<str>| self.look_up(&mesh, kind, name, &subscriber.node);
        let outgoing = state.subscriptions.next(whole, look_up);
        if !state.subscriptions.dirty() {
            state.mesh = None;
        }
        drop(state);
        if let Some(outgoing) = &outgoing {
            self.metrics.pushed(outgoing.kind);
        }
        outgoing
    }

    /// Takes in an ACK, or with an error a NACK.
    pub(super) fn answer(&self, subscriber: &Subscriber, kind: ResourceKind, nonce: &str, error: Option<&str>) {
        let mut state = subscriber.state.lock();
        let Some(answered) = state.subscriptions.answer(kind, nonce, error, Instant::now()) else {
            tracing::debug!(node = %subscriber, kind = kind.name(), nonce, "an answer to no response in flight");
            return;
        };
        drop(state);
        for (name, version) in &answered.refused {
            let error = error.unwrap_or_default();
            self.metrics.refused(kind);
            tracing::warn!(node = %subscriber, kind = kind.name(), %name, %version, ?error, "a proxy refused a resource");
        }
        self.progress.step(&self.mesh(), answered.acked.iter().map(|name| (kind, name.as_ref())));
    }

    fn look_up(&self, mesh: &Arc<Mesh>, kind: ResourceKind, name: &Arc<str>, node: &NodeRef) -> Option<Arc<Resource>> {
        if kind == ResourceKind::Listener && name.as_ref() == INBOUND_LISTENER {
            return resources::resource(mesh, kind, name, node).map(Arc::new);
        }
        let key = (kind, Arc::clone(name), Variants::of(mesh, kind, name).of_client(mesh, node));
        {
            let cache = self.cache.read();
            if let Some(resource) = cache.resources.get(&key).filter(|_| Arc::ptr_eq(&cache.mesh, mesh)) {
                return Some(Arc::clone(resource));
            }
        }
        let resource = resources::resource(mesh, kind, name, node).map(Arc::new)?;
        let mut cache = self.cache.write();
        if Arc::ptr_eq(&cache.mesh, mesh) {
            cache.resources.insert(key, Arc::clone(&resource));
        }
        Some(resource)
    }
}

impl Progress {
    fn step<'a>(&self, mesh: &Mesh, resources: impl Iterator<Item = (ResourceKind, &'a str)>) {
        if mesh.split_services().next().is_none() {
            return;
        }
        let mut services: Vec<_> = resources.filter_map(|(kind, name)| resources::routed(mesh, kind, name)).collect();
        services.retain(|service| mesh.split_of(service).is_some());
        if !services.is_empty() {
            self.services.lock().extend(services);
            self.made.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
