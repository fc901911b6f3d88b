//! The current mesh, its resources, and who is interested in which.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tonic::Status;
use weft_api::names::{INBOUND_LISTENER, ServicePort};
use weft_api::xds::ResourceKind;
use weft_certs::spiffe::SpiffeId;

use self::index::Index;
use super::resources::{self, NodeRef, Resource};
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

/// A resource, and the namespace that it is for where it is another one for that.
type Key = (ResourceKind, Arc<str>, Option<Arc<str>>);

/// The Services with a split whose proxies took or lost a step since somebody looked.
#[derive(Default)]
struct Progress {
    services: Mutex<BTreeSet<ObjectName>>,
    made: Notify,
}

/// By the number of the stream, what may be different for it.
type Marks = HashMap<u64, Vec<(ResourceKind, Arc<str>)>>;

/// How many of the streams that subscribe to a Service's routes acknowledged the current ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteHolders {
    /// Streams that subscribe to at least one of the Service's RouteConfigurations.
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
        let routes = changes.resources().filter(|(kind, _)| *kind == ResourceKind::RouteConfiguration);
        self.progress.step(&mesh, routes.map(|(_, name)| name));
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
                let Some(subscriber) = index.stream(stream) else { continue };
                let variant = after.variant(&subscriber.node.namespace);
                let new = versions.entry(variant).or_insert_with_key(|variant| {
                    let node = NodeRef { namespace: variant.as_deref().unwrap_or_default().to_owned(), ..NOBODY };
                    resources::resource(mesh, kind, &name, &node).map(Arc::new)
                });
                let known = (kind, Arc::clone(&name), before.variant(&subscriber.node.namespace));
                let known = self.cache.read().resources.get(&known).map(|old| old.version.clone());
                if known.is_none() || known != new.as_ref().map(|new| new.version.clone()) {
                    marks.entry(stream).or_default().push((kind, Arc::clone(&name)));
                }
            }
            let versions = versions.into_iter().filter_map(|(variant, new)| Some((variant, new?)));
            fresh.extend(versions.map(|(variant, new)| ((kind, Arc::clone(&name), variant), new)));
        }
        self.mark_inbound(mesh, changes, index, &mut marks);
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

    /// The current state of a resource.
    pub fn resource(&self, kind: ResourceKind, name: &Arc<str>, node: &NodeRef) -> Option<Arc<Resource>> {
        self.look_up(&self.mesh(), kind, name, node)
    }

    /// How far the streams that hold a Service's routes are with the current mesh.
    pub fn route_holders(&self, service: &ObjectName) -> RouteHolders {
        let mesh = self.mesh();
        let Some(service) = mesh.service(&service.namespace, &service.name) else { return RouteHolders::default() };
        let kind = ResourceKind::RouteConfiguration;
        let index = self.index.read();
        let mut streams: HashMap<u64, bool> = HashMap::new();
        for name in service.ports.iter().flat_map(|port| resources::route_names(&mesh, service, port)) {
            let name: Arc<str> = name.into();
            let wanted = self.look_up(&mesh, kind, &name, &NOBODY).map(|routes| Arc::clone(&routes.version));
            for stream in index.interested(kind, &name) {
                let Some(acked) = index.stream(stream).and_then(|stream| stream.acked(kind, &name)) else { continue };
                *streams.entry(stream).or_insert(true) &= acked == wanted;
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
        for name in service.ports.iter().flat_map(|port| resources::route_names(&mesh, service, port)) {
            let name: Arc<str> = name.into();
            let routes = self.look_up(&mesh, ResourceKind::RouteConfiguration, &name, &NOBODY);
            routes.map(|routes| routes.version.clone()).hash(&mut digest);
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
        let routes = resources.iter().filter(|held| held.kind == ResourceKind::RouteConfiguration);
        self.progress.step(&self.mesh(), routes.map(|held| held.name.as_ref()));
    }

    /// Follows a request's names.
    pub(super) fn request(&self, subscriber: &Subscriber, kind: ResourceKind, names: Names) -> Result<(), LimitError> {
        let mut index = self.index.write();
        let mesh = self.mesh();
        let mut state = subscriber.state.lock();
        let known = || resources::names(&mesh, kind).collect();
        let interest = state.subscriptions.request(kind, names, known, Instant::now())?;
        state.mesh = state.subscriptions.dirty().then(|| Arc::clone(&mesh));
        drop(state);
        index.update(subscriber.id, kind, &interest);
        drop(index);
        if kind == ResourceKind::RouteConfiguration {
            self.progress.step(&mesh, interest.added.iter().chain(&interest.dropped).map(AsRef::as_ref));
        }
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
        if kind == ResourceKind::RouteConfiguration {
            self.progress.step(&self.mesh(), answered.acked.iter().map(AsRef::as_ref));
        }
    }

    fn look_up(&self, mesh: &Arc<Mesh>, kind: ResourceKind, name: &Arc<str>, node: &NodeRef) -> Option<Arc<Resource>> {
        if kind == ResourceKind::Listener && name.as_ref() == INBOUND_LISTENER {
            return resources::resource(mesh, kind, name, node).map(Arc::new);
        }
        let key = (kind, Arc::clone(name), Variants::of(mesh, kind, name).variant(&node.namespace));
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

/// The namespaces for which a resource is another one than for all others.
struct Variants(BTreeSet<Arc<str>>);

impl Variants {
    fn of(mesh: &Mesh, kind: ResourceKind, name: &str) -> Self {
        Self(resources::consumers(mesh, kind, name))
    }

    /// The one for a namespace.
    fn variant(&self, namespace: &str) -> Option<Arc<str>> {
        self.0.get(namespace).cloned()
    }

    fn all(&self) -> impl Iterator<Item = Option<Arc<str>>> + '_ {
        self.0.iter().cloned().map(Some).chain([None])
    }
}

impl Progress {
    fn step<'a>(&self, mesh: &Mesh, route_configurations: impl Iterator<Item = &'a str>) {
        let mut services = Vec::new();
        for name in route_configurations {
            let name = resources::without_consumer(name);
            let Ok(ServicePort { namespace, service, .. }) = name.parse() else { continue };
            services.push(ObjectName::new(namespace, service));
        }
        services.retain(|service| mesh.split_of(service).is_some());
        if !services.is_empty() {
            self.services.lock().extend(services);
            self.made.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
