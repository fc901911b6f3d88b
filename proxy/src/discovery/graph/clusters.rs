//! The clusters that are named, with their endpoints, and the names that have to be resolved for them.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::discovery::resources::{ClusterSpec, Discovery, HostPort};
use crate::discovery::values::{Cluster, ClusterCounters, Endpoint, EndpointHealth, Endpoints, Place};

/// A name that is to be resolved from now on, or no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::discovery) enum NameChange {
    Start(Arc<str>),
    Stop(Arc<str>),
}

/// Clusters by name.
#[derive(Debug, Default)]
pub(super) struct Clusters {
    held: HashMap<Arc<str>, Held>,
    hosts: HashMap<Arc<str>, Host>,
    changes: Vec<NameChange>,
}

#[derive(Debug)]
struct Held {
    /// `None`: it does not exist.
    spec: Option<ClusterSpec>,
    cluster: Arc<Cluster>,
    /// The endpoints of `cluster`, to be swapped.
    endpoints: Arc<ArcSwap<Endpoints>>,
}

/// A name outside the mesh.
#[derive(Debug, Default)]
struct Host {
    /// The clusters that need it.
    users: BTreeSet<Arc<str>>,
    /// Whether there was an answer, or a failure.
    tried: bool,
    /// The last good answer.
    addresses: Vec<IpAddr>,
}

impl Clusters {
    pub(super) fn cluster(&self, name: &Arc<str>) -> Option<Arc<Cluster>> {
        self.held.get(name).map(|held| held.cluster.clone())
    }

    /// Whether the endpoints come as a ClusterLoadAssignment.
    pub(super) fn uses_eds(&self, name: &Arc<str>) -> bool {
        self.spec(name).is_some_and(|spec| spec.discovery == Discovery::Eds)
    }

    /// Whether each of the cluster's names has been resolved, or could not be.
    pub(super) fn names_were_tried(&self, name: &Arc<str>) -> bool {
        let hosts = self.spec(name).map(hosts).unwrap_or_default();
        hosts.iter().all(|host| self.hosts.get(host.host.as_ref()).is_some_and(|host| host.tried))
    }

    /// Sets what a cluster is; `None`: it does not exist. Returns whether this makes another cluster of it.
    pub(super) fn set(&mut self, name: &Arc<str>, spec: Option<ClusterSpec>) -> bool {
        if self.held.get(name).is_some_and(|held| held.spec == spec) {
            return false;
        }
        let before = self.held.remove(name);
        let hosts_before = before.as_ref().and_then(|held| held.spec.clone());
        let held = Held::new(name, spec, before);
        self.update_hosts(name, hosts_before.as_ref(), held.spec.as_ref());
        self.held.insert(name.clone(), held);
        self.resolve_endpoints(name);
        true
    }

    pub(super) fn remove(&mut self, name: &Arc<str>) {
        if let Some(held) = self.held.remove(name) {
            self.update_hosts(name, held.spec.as_ref(), None);
        }
    }

    /// Swaps the endpoints. Those that did not change are the same `Arc`s as before.
    pub(super) fn set_endpoints(&mut self, name: &Arc<str>, endpoints: Endpoints) {
        if let Some(held) = self.held.get(name) {
            held.swap(endpoints);
        }
    }

    /// Takes over what a name resolves to. Returns the clusters that need it.
    pub(super) fn resolved(&mut self, name: &Arc<str>, addresses: Option<&[IpAddr]>) -> Vec<Arc<str>> {
        let Some(host) = self.hosts.get_mut(name) else { return Vec::new() };
        host.tried = true;
        if let Some(addresses) = addresses {
            host.addresses = addresses.to_vec();
        }
        let users: Vec<_> = host.users.iter().cloned().collect();
        for cluster in &users {
            self.resolve_endpoints(cluster);
        }
        users
    }

    pub(super) fn take_changes(&mut self) -> Vec<NameChange> {
        std::mem::take(&mut self.changes)
    }

    fn spec(&self, name: &Arc<str>) -> Option<&ClusterSpec> {
        self.held.get(name)?.spec.as_ref()
    }

    fn update_hosts(&mut self, cluster: &Arc<str>, before: Option<&ClusterSpec>, after: Option<&ClusterSpec>) {
        let names = |spec: Option<&ClusterSpec>| -> BTreeSet<Arc<str>> {
            spec.map(hosts).unwrap_or_default().iter().map(|host| host.host.clone()).collect()
        };
        let (before, after) = (names(before), names(after));
        for name in after.difference(&before) {
            let host = self.hosts.entry(name.clone()).or_insert_with(|| {
                self.changes.push(NameChange::Start(name.clone()));
                Host::default()
            });
            host.users.insert(cluster.clone());
        }
        for name in before.difference(&after) {
            let Some(host) = self.hosts.get_mut(name) else { continue };
            host.users.remove(cluster);
            if host.users.is_empty() {
                self.hosts.remove(name);
                self.changes.push(NameChange::Stop(name.clone()));
            }
        }
    }

    /// The endpoints of a cluster of names, each address once, in order, so that nothing changes when the name server
    /// shuffles its answer.
    fn resolve_endpoints(&self, name: &Arc<str>) {
        let Some(held) = self.held.get(name) else { return };
        let hosts = held.spec.as_ref().map(hosts).unwrap_or_default();
        if hosts.is_empty() {
            return;
        }
        let mut seen = BTreeSet::new();
        let mut all = Vec::new();
        for HostPort { host, port } in hosts {
            let mut addresses = self.hosts.get(host).map(|host| host.addresses.clone()).unwrap_or_default();
            addresses.sort_unstable();
            for ip in addresses {
                let address = SocketAddr::new(ip, *port);
                if seen.insert(address) {
                    all.push(Arc::new(outside(address, host)));
                }
            }
        }
        held.swap(Endpoints { all });
    }
}

impl Held {
    /// A cluster that takes the place of an earlier one of the same name, with its endpoints if they are found in the
    /// same way.
    fn new(name: &Arc<str>, spec: Option<ClusterSpec>, before: Option<Self>) -> Self {
        let found_alike = |before: &Self| match (&before.spec, &spec) {
            (Some(before), Some(after)) => before.discovery == after.discovery,
            _ => false,
        };
        let Some(after) = &spec else {
            return match before {
                // Traffic that still names the one that does not exist any more must see that it has no endpoints.
                Some(before) => {
                    before.endpoints.store(Arc::default());
                    Self { spec, ..before }
                }
                None => Self { spec, cluster: Arc::new(Cluster::missing(name.clone())), endpoints: Arc::default() },
            };
        };
        let counters = match &before {
            Some(before) => before.cluster.counters.under(&after.policy.limits),
            None => ClusterCounters::new(&after.policy.limits),
        };
        let endpoints = before.filter(found_alike).map(|before| before.endpoints).unwrap_or_default();
        let cluster = Cluster::sharing(name.clone(), after.policy.clone(), Arc::new(counters), endpoints.clone());
        Self { spec, cluster: Arc::new(cluster), endpoints }
    }

    fn swap(&self, mut endpoints: Endpoints) {
        let before = self.endpoints.load();
        if **before == endpoints {
            return;
        }
        let known: HashMap<SocketAddr, &Arc<Endpoint>> =
            before.all.iter().map(|endpoint| (endpoint.address, endpoint)).collect();
        for endpoint in &mut endpoints.all {
            match known.get(&endpoint.address) {
                Some(same) if same == &endpoint => *endpoint = Arc::clone(same),
                // What was found out about its health still holds.
                Some(before) => endpoint.health.set_healthy(before.health.is_healthy()),
                None => {}
            }
        }
        self.endpoints.store(Arc::new(endpoints));
    }
}

fn hosts(spec: &ClusterSpec) -> &[HostPort] {
    match &spec.discovery {
        Discovery::Eds => &[],
        Discovery::Dns(hosts) => hosts,
    }
}

/// An endpoint outside the mesh.
fn outside(address: SocketAddr, host: &Arc<str>) -> Endpoint {
    Endpoint {
        address,
        mesh: None,
        workload: host.clone(),
        pod: "".into(),
        place: Place::default(),
        draining: false,
        health: EndpointHealth::default(),
    }
}
