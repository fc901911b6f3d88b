//! Which resources a destination needs, whether they are all there, and what is published of them.
//!
//! ```text
//! Listener 10.96.0.10:80 ──▶ RouteConfiguration shop/api:80 ──▶ Cluster shop/api-v1:80 ──▶ ClusterLoadAssignment
//!                        └── (opaque) ────────────────────────▶ Cluster ...          └──▶ names to resolve
//! ```
//!
//! Each resource is subscribed to when the first destination needs it and unsubscribed when the last one does not.
//! Traffic is published when all that it names is held or known not to exist; until then what was published before
//! stays, and so do the clusters of it ("make before break"). No I/O: resources and time come in as arguments,
//! subscriptions, names to resolve and answers go out as lists.

mod clusters;
mod node;
mod own;
mod plan;
mod slots;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use weft_api::xds::ResourceKind;
use weft_api::xds::pb::envoy::service::discovery::v3::Resource as XdsResource;

pub(super) use clusters::NameChange;
pub(super) use slots::Change;

use super::delta::Key;
use super::directory::Answer;
use super::resources::{self, ListenerSpec, Resource, RouteSpec};
use super::state::{ResourceState, ResourceStatus};
use super::values::Inbound;
use clusters::Clusters;
use node::{Node, Shown};
use own::Own;
use plan::Plan;
use slots::{Slots, User};

/// All that is subscribed to, and what became of it.
#[derive(Debug)]
pub(super) struct Graph {
    slots: Slots,
    listeners: HashMap<Arc<str>, Arc<ListenerSpec>>,
    routes: HashMap<Arc<str>, Arc<RouteSpec>>,
    clusters: Clusters,
    nodes: HashMap<SocketAddr, Node>,
    answers: Vec<(SocketAddr, Answer)>,
    own: Own,
}

/// Whether a destination's traffic can be published.
enum Verdict {
    /// Something has not been answered yet.
    Waiting,
    /// Something that is needed is bad, and there is no good version of it.
    Blocked,
    /// The control plane says that there is no such destination.
    Unknown,
    Ready(Plan),
}

impl Graph {
    /// A graph with nothing but the subscription to this pod's own listener.
    pub(super) fn new(now: Instant) -> Self {
        let mut slots = Slots::default();
        let own = Own::new();
        own.needs.iter().for_each(|key| slots.add_user(key, User::Inbound, now));
        Self {
            slots,
            listeners: HashMap::new(),
            routes: HashMap::new(),
            clusters: Clusters::default(),
            nodes: HashMap::new(),
            answers: Vec::new(),
            own,
        }
    }

    /// Subscribes to what is needed for an address. Asking again for one that cannot be answered answers that again.
    pub(super) fn want(&mut self, dialled: SocketAddr, now: Instant) {
        let node = self.nodes.entry(dialled).or_default();
        if node.shown == Shown::Unavailable {
            self.answers.push((dialled, Answer::Unavailable));
            return;
        }
        self.refresh_destination(dialled, now);
    }

    /// Forgets an address and unsubscribes from what nobody else needs.
    pub(super) fn release(&mut self, dialled: SocketAddr) {
        let Some(node) = self.nodes.remove(&dialled) else { return };
        for key in &node.needs {
            self.stop_needing(key, User::Dialled(dialled));
        }
    }

    /// Takes over the resources of a response and the names of those that do not exist. The good ones of a partly bad
    /// response apply. Returns what is wrong with the bad ones, by name.
    pub(super) fn apply(
        &mut self,
        kind: ResourceKind,
        resources: &[XdsResource],
        removed: &[String],
        now: Instant,
    ) -> Vec<String> {
        let mut faults = Vec::new();
        let mut affected = BTreeSet::new();
        for resource in resources {
            let key = Key { kind, name: resource.name.as_str().into() };
            if self.slots.is_current(&key, &resource.version) {
                continue;
            }
            match resources::parse(kind, &resource.name, resource.resource.as_ref()) {
                Ok(value) => {
                    let known_before = self.slots.status(&key) == Some(ResourceStatus::Held);
                    self.slots.hold(&key, &resource.version, now);
                    // New endpoints of a cluster that has some are no news to the destinations.
                    if self.keep(&key.name, value) || !known_before {
                        affected.extend(self.slots.users(&key));
                    }
                }
                Err(fault) => {
                    let fault = format!("{:?} {}: {fault}", resource.name, resource.version);
                    self.slots.refuse(&key, &fault, now);
                    affected.extend(self.slots.users(&key));
                    faults.push(fault);
                }
            }
        }
        for name in removed {
            let key = Key { kind, name: name.as_str().into() };
            if self.slots.remove_value(&key, now) {
                self.drop_value(&key);
                affected.extend(self.slots.users(&key));
            }
        }
        for user in affected {
            self.refresh(user, now);
        }
        faults
    }

    /// Takes over what a name resolves to; `None`: it could not be resolved, and what was known stays.
    pub(super) fn resolved(&mut self, host: &Arc<str>, addresses: Option<&[IpAddr]>, now: Instant) {
        let mut affected = BTreeSet::new();
        for cluster in self.clusters.resolved(host, addresses) {
            affected.extend(self.slots.users(&Key::new(ResourceKind::Cluster, &cluster)));
        }
        for user in affected {
            self.refresh(user, now);
        }
    }

    /// The addresses whose answer has changed, since this was last asked.
    pub(super) fn take_answers(&mut self) -> Vec<(SocketAddr, Answer)> {
        std::mem::take(&mut self.answers)
    }

    /// The subscriptions that have changed, in order, since this was last asked.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        self.slots.take_changes()
    }

    /// The names that are to be resolved, or no more, since this was last asked.
    pub(super) fn take_name_changes(&mut self) -> Vec<NameChange> {
        self.clusters.take_changes()
    }

    /// This pod's own policies, if they have changed since this was last asked.
    pub(super) fn take_inbound(&mut self) -> Option<Arc<Inbound>> {
        self.own.take()
    }

    /// The route configuration of an address, as its listener says.
    pub(super) fn route_configuration(&self, dialled: SocketAddr) -> Option<Arc<str>> {
        self.listeners.get(&listener_key(dialled).name)?.routes.clone()
    }

    /// All that is subscribed to, with the version that is held.
    pub(super) fn subscriptions(&self) -> impl Iterator<Item = (Key, Option<String>)> {
        self.slots.subscriptions()
    }

    /// The state of each resource, sorted by kind and name.
    pub(super) fn state(&self, now: Instant) -> Vec<ResourceState> {
        let mut states = self.slots.state(now);
        let clusters = states.iter_mut().filter(|state| state.kind == ResourceKind::Cluster);
        for state in clusters.filter(|state| state.status == ResourceStatus::Held) {
            state.policy = self.clusters.cluster(&state.name.as_str().into()).map(|cluster| cluster.policy.clone());
        }
        states
    }

    /// Keeps a checked value. Returns whether destinations have to be looked at again.
    fn keep(&mut self, name: &Arc<str>, value: Resource) -> bool {
        match value {
            Resource::Listener(spec) => {
                let unchanged = self.listeners.get(name).is_some_and(|held| **held == spec);
                if !unchanged {
                    self.listeners.insert(name.clone(), Arc::new(spec));
                }
                !unchanged
            }
            Resource::Inbound(spec) => {
                self.own.set(spec);
                true
            }
            Resource::Routes(spec) => {
                self.routes.insert(name.clone(), Arc::new(spec));
                true
            }
            Resource::Cluster(spec) => self.clusters.set(name, Some(spec)),
            Resource::Endpoints(endpoints) => {
                self.clusters.set_endpoints(name, endpoints);
                false
            }
        }
    }

    /// Drops the value of a resource that does not exist. This pod's own policies stay: a pod that is being deleted
    /// still serves what is in flight.
    fn drop_value(&mut self, key: &Key) {
        match key.kind {
            ResourceKind::Listener => drop(self.listeners.remove(&key.name)),
            ResourceKind::RouteConfiguration => drop(self.routes.remove(&key.name)),
            ResourceKind::Cluster => drop(self.clusters.set(&key.name, None)),
            ResourceKind::ClusterLoadAssignment => self.clusters.set_endpoints(&key.name, Default::default()),
        }
    }

    fn refresh(&mut self, user: User, now: Instant) {
        match user {
            User::Inbound => self.refresh_own(now),
            User::Dialled(dialled) => self.refresh_destination(dialled, now),
        }
    }

    fn refresh_own(&mut self, now: Instant) {
        let services = self.own.services();
        let mut needs = self.cluster_needs(&services);
        needs.insert(Own::listener());
        let before = std::mem::replace(&mut self.own.needs, needs.clone());
        self.change_needs(User::Inbound, &before, &needs, now);
        let cluster = |name: Arc<str>| {
            let cluster = match self.cluster_status(&name) {
                ResourceStatus::Held | ResourceStatus::DoesNotExist => self.clusters.cluster(&name),
                ResourceStatus::Requested | ResourceStatus::Refused => None,
            };
            (name, cluster)
        };
        let services = services.into_iter().map(cluster).collect();
        self.own.publish(services);
    }

    fn refresh_destination(&mut self, dialled: SocketAddr, now: Instant) {
        self.update_needs(dialled, now);
        let verdict = self.verdict(dialled);
        let Some(node) = self.nodes.get_mut(&dialled) else { return };
        match verdict {
            Verdict::Waiting => {
                if node.shown == Shown::Unavailable {
                    node.shown = Shown::Nothing;
                }
                return;
            }
            Verdict::Blocked => {
                if node.shown == Shown::Nothing {
                    node.shown = Shown::Unavailable;
                    self.answers.push((dialled, Answer::Unavailable));
                }
                return;
            }
            Verdict::Unknown => {
                if node.shown != Shown::Unknown {
                    node.retire();
                    self.answers.push((dialled, Answer::Unknown));
                }
            }
            Verdict::Ready(plan) => {
                if let Some(destination) = node.publish(plan) {
                    self.answers.push((dialled, Answer::Known(destination)));
                }
            }
        }
        // What only the earlier traffic needed is needed no more.
        self.update_needs(dialled, now);
    }

    fn update_needs(&mut self, dialled: SocketAddr, now: Instant) {
        let needs = self.needs(dialled);
        let Some(node) = self.nodes.get_mut(&dialled) else { return };
        let before = std::mem::replace(&mut node.needs, needs.clone());
        self.change_needs(User::Dialled(dialled), &before, &needs, now);
    }

    fn change_needs(&mut self, user: User, before: &BTreeSet<Key>, needs: &BTreeSet<Key>, now: Instant) {
        for key in needs.difference(before) {
            self.slots.add_user(key, user, now);
        }
        for key in before.difference(needs) {
            self.stop_needing(key, user);
        }
    }

    fn stop_needing(&mut self, key: &Key, user: User) {
        if !self.slots.remove_user(key, user) {
            return;
        }
        match key.kind {
            ResourceKind::Cluster => self.clusters.remove(&key.name),
            // Its endpoints belong to the cluster.
            ResourceKind::ClusterLoadAssignment => {}
            ResourceKind::Listener | ResourceKind::RouteConfiguration => self.drop_value(key),
        }
    }

    /// What an address needs, as far as is known yet: of what is to be published, and of what is published.
    fn needs(&self, dialled: SocketAddr) -> BTreeSet<Key> {
        let Some(node) = self.nodes.get(&dialled) else { return BTreeSet::new() };
        let listener = listener_key(dialled);
        let mut needs = BTreeSet::new();
        let mut clusters: BTreeSet<Arc<str>> = node.published.iter().flat_map(Plan::cluster_names).cloned().collect();
        if let Some(spec) = self.listeners.get(&listener.name) {
            clusters.extend(spec.clusters().cloned());
            if let Some(name) = &spec.routes {
                needs.insert(Key::new(ResourceKind::RouteConfiguration, name));
                clusters.extend(self.routes.get(name).iter().flat_map(|routes| routes.clusters()).cloned());
            }
        }
        needs.extend(self.cluster_needs(&clusters));
        needs.insert(listener);
        needs
    }

    /// The resources of these clusters, as far as is known yet.
    fn cluster_needs(&self, clusters: &BTreeSet<Arc<str>>) -> BTreeSet<Key> {
        let mut needs = BTreeSet::new();
        for name in clusters {
            needs.insert(Key::new(ResourceKind::Cluster, name));
            if self.clusters.uses_eds(name) {
                needs.insert(Key::new(ResourceKind::ClusterLoadAssignment, name));
            }
        }
        needs
    }

    fn verdict(&self, dialled: SocketAddr) -> Verdict {
        let listener = listener_key(dialled);
        match self.status(&listener) {
            ResourceStatus::Requested => return Verdict::Waiting,
            ResourceStatus::Refused => return Verdict::Blocked,
            ResourceStatus::DoesNotExist => return Verdict::Unknown,
            ResourceStatus::Held => {}
        }
        let Some(spec) = self.listeners.get(&listener.name) else { return Verdict::Waiting };
        let routes = spec.routes.as_ref().and_then(|name| self.routes.get(name));
        if let Some(name) = &spec.routes {
            match self.status(&Key::new(ResourceKind::RouteConfiguration, name)) {
                ResourceStatus::Requested => return Verdict::Waiting,
                ResourceStatus::Refused => return Verdict::Blocked,
                ResourceStatus::DoesNotExist | ResourceStatus::Held => {}
            }
        }
        let mut plan = Plan::new(spec.clone(), routes.cloned());
        let mut waiting = false;
        for name in plan.wanted_clusters() {
            match self.cluster_status(&name) {
                ResourceStatus::Refused => return Verdict::Blocked,
                ResourceStatus::Requested => waiting = true,
                ResourceStatus::DoesNotExist | ResourceStatus::Held => match self.clusters.cluster(&name) {
                    Some(cluster) => plan.add_cluster(cluster),
                    None => waiting = true,
                },
            }
        }
        if waiting { Verdict::Waiting } else { Verdict::Ready(plan) }
    }

    /// The status of a cluster with its endpoints.
    fn cluster_status(&self, name: &Arc<str>) -> ResourceStatus {
        let status = self.status(&Key::new(ResourceKind::Cluster, name));
        if status != ResourceStatus::Held {
            return status;
        }
        if self.clusters.uses_eds(name) {
            return self.status(&Key::new(ResourceKind::ClusterLoadAssignment, name));
        }
        if self.clusters.names_were_tried(name) { ResourceStatus::Held } else { ResourceStatus::Requested }
    }

    fn status(&self, key: &Key) -> ResourceStatus {
        self.slots.status(key).unwrap_or(ResourceStatus::Requested)
    }
}

fn listener_key(dialled: SocketAddr) -> Key {
    Key { kind: ResourceKind::Listener, name: dialled.to_string().into() }
}

#[cfg(test)]
mod tests;
