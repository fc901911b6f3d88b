//! Which xDS resources may differ between two snapshots of the mesh.
//!
//! An object that did not change keeps its `Arc`, so that comparing pointers finds what did. From there:
//!
//! ```text
//! Service ────────> its listeners, routes, clusters, endpoints; routes that send to it; the ports of its pods
//! EndpointSlice ──> its Service's endpoints; the pods that it lists: how they are dialled, their inbound listener
//! Pod ────────────> endpoints at its addresses; how it is dialled; its inbound listener
//! Node ───────────> the inbound listeners of its pods: their zone
//! route ──────────> its Services' listeners and routes
//! split ──────────> its Service's listeners and routes
//! TrafficPolicy ──> its Services' clusters and routes; with a locality, their endpoints; with rate limits, the inbound listeners of their pods
//! ReferenceGrant, FaultInjection ──> what the routes that refer to them touch
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weft_api::names::ServicePort as ServicePortName;
use weft_api::xds::ResourceKind;

use super::{Difference, EndpointSlice, Mesh, ObjectName, Pod, Route, TrafficPolicy};

/// Which xDS resources may differ between two snapshots. Nothing else does; what is named here need not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    resources: BTreeSet<(ResourceKind, String)>,
    inbound: BTreeSet<ObjectName>,
}

impl Changes {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.inbound.is_empty()
    }

    /// The resources that are the same for every proxy, ordered by kind and name.
    pub fn resources(&self) -> impl Iterator<Item = (ResourceKind, &str)> {
        self.resources.iter().map(|(kind, name)| (*kind, name.as_str()))
    }

    /// Whether a resource that is the same for every proxy may differ.
    pub fn contains(&self, kind: ResourceKind, name: &str) -> bool {
        self.resources.contains(&(kind, name.to_owned()))
    }

    /// The pods whose listener `inbound` may differ, ordered by namespace and name.
    pub fn inbound(&self) -> impl Iterator<Item = &ObjectName> {
        self.inbound.iter()
    }

    /// Whether the listener `inbound` of a pod may differ.
    pub fn contains_inbound(&self, namespace: &str, pod: &str) -> bool {
        self.inbound.contains(&ObjectName::new(namespace, pod))
    }
}

pub(super) fn between(old: &Mesh, new: &Mesh) -> Changes {
    let mut finder = Finder { old, new, changes: Changes::default() };
    if old.options == new.options {
        finder.compare();
    } else {
        finder.everything();
    }
    finder.changes
}

struct Finder<'a> {
    old: &'a Mesh,
    new: &'a Mesh,
    changes: Changes,
}

impl Finder<'_> {
    fn compare(&mut self) {
        let (old, new) = (&self.old.manifests, &self.new.manifests);
        let services: Vec<_> = new.services.differences(&old.services).map(|found| found.key).collect();
        services.iter().for_each(|service| self.service(service));
        self.backends(&services);
        for found in new.endpoint_slices.differences(&old.endpoint_slices) {
            self.slice(found.old, found.new);
        }
        for found in new.pods.differences(&old.pods) {
            self.changes.inbound.insert(found.key.clone());
            both(&found).for_each(|pod| self.pod(pod));
        }
        let nodes: BTreeSet<_> = new.nodes.differences(&old.nodes).map(|found| found.key).collect();
        if !nodes.is_empty() {
            let pods = new.pods.values().filter(|pod| nodes.contains(&pod.node));
            self.changes.inbound.extend(pods.map(|pod| pod.name.clone()));
        }
        for found in new.routes.differences(&old.routes) {
            both(&found).for_each(|route| self.route(route));
        }
        for found in new.traffic_policies.differences(&old.traffic_policies) {
            both(&found).for_each(|policy| self.policy(policy));
        }
        for found in new.reference_grants.differences(&old.reference_grants) {
            let namespace = &found.key.namespace;
            self.routes_that(|route| {
                route.references().iter().any(|reference| reference.service.namespace == *namespace)
            });
        }
        let faults = new.fault_injections.differences(&old.fault_injections);
        let faults: BTreeSet<_> = faults.map(|found| found.key).collect();
        if !faults.is_empty() {
            self.routes_that(|route| route.faults().any(|(_, fault)| faults.contains(&fault.name)));
        }
        differing(&self.old.splits, &self.new.splits).iter().for_each(|service| self.routes_of(service));
    }

    fn everything(&mut self) {
        for mesh in [self.old, self.new] {
            mesh.manifests.services.keys().for_each(|service| self.service(service));
            mesh.manifests.pods.values().for_each(|pod| {
                self.changes.inbound.insert(pod.name.clone());
                self.pod(pod);
            });
        }
    }

    /// A Service that came, went or changed: all that has its name, and the pods that it has as endpoints.
    fn service(&mut self, service: &ObjectName) {
        self.routes_of(service);
        self.endpoints_of(service);
        self.ports_of(service, &[ResourceKind::Cluster]);
        for mesh in [self.old, self.new] {
            for slice in mesh.slices_of(service) {
                slice.endpoints.iter().for_each(|endpoint| self.dialled_pod(endpoint.address));
            }
        }
        // A cluster IP that goes over to another Service, or to a pod.
        let addresses: BTreeSet<IpAddr> = [self.old, self.new]
            .iter()
            .filter_map(|mesh| mesh.service_named(service))
            .flat_map(|service| service.addresses.iter().copied())
            .collect();
        for address in addresses {
            self.dialled_pod(address);
            let others: Vec<_> = [self.old, self.new].iter().filter_map(|mesh| mesh.service_at(address)).collect();
            others.into_iter().for_each(|other| self.routes_of(&other.name));
        }
    }

    /// A slice that came, went or changed: its Service's endpoints, and what is known of the pods that it lists by it.
    fn slice(&mut self, old: Option<&Arc<EndpointSlice>>, new: Option<&Arc<EndpointSlice>>) {
        [old, new].into_iter().flatten().for_each(|slice| self.endpoints_of(&slice.service));
        let listed = |slice: Option<&Arc<EndpointSlice>>| -> BTreeSet<(IpAddr, Arc<str>, Arc<str>)> {
            let endpoints = slice.into_iter().flat_map(|slice| &slice.endpoints);
            endpoints.map(|at| (at.address, Arc::clone(&at.zone), Arc::clone(&at.node))).collect()
        };
        let (before, after) = (listed(old), listed(new));
        let same = |(old, new): (&Arc<EndpointSlice>, &Arc<EndpointSlice>)| {
            (&old.service, &old.ports) == (&new.service, &new.ports)
        };
        let touched: Vec<IpAddr> = match old.zip(new).is_some_and(same) {
            true => before.symmetric_difference(&after).map(|(address, ..)| *address).collect(),
            false => before.iter().chain(&after).map(|(address, ..)| *address).collect(),
        };
        touched.into_iter().for_each(|address| self.dialled_pod(address));
    }

    /// The routes that send to a Service that came, went or changed.
    fn backends(&mut self, services: &[&ObjectName]) {
        if services.is_empty() {
            return;
        }
        let services: BTreeSet<_> = services.iter().copied().collect();
        self.routes_that(|route| route.references().iter().any(|reference| services.contains(reference.service)));
        for mesh in [self.old, self.new] {
            for (service, split) in &mesh.splits {
                let backend = |name: &str| ObjectName::new(service.namespace.clone(), name);
                if split.backends.iter().any(|to| services.contains(&backend(&to.service))) {
                    self.routes_of(service);
                }
            }
        }
    }

    /// All that the routes of which this is true touch.
    fn routes_that(&mut self, is_touched: impl Fn(&Route) -> bool) {
        for mesh in [self.old, self.new] {
            mesh.manifests.routes.values().filter(|route| is_touched(route)).for_each(|route| self.route(route));
        }
    }

    fn route(&mut self, route: &Route) {
        route.parents.iter().for_each(|parent| self.routes_of(&parent.service));
    }

    fn policy(&mut self, policy: &TrafficPolicy) {
        let limits = !policy.local_limits.is_empty() || policy.global_limit.is_some();
        for target in &policy.targets {
            self.ports_of(&target.service, &[ResourceKind::Cluster]);
            if policy.balance.locality.is_some() {
                self.endpoints_of(&target.service);
            }
            self.route_configurations_of(&target.service);
            if limits {
                self.inbound_of(&target.service);
            }
        }
    }

    /// The inbound listeners of the pods that a Service has as endpoints.
    fn inbound_of(&mut self, service: &ObjectName) {
        for mesh in [self.old, self.new] {
            for endpoint in mesh.slices_of(service).iter().flat_map(|slice| &slice.endpoints) {
                if let Some(pod) = mesh.pod_at(endpoint.address) {
                    self.changes.inbound.insert(pod.name.clone());
                }
            }
        }
    }

    /// The route configurations of a Service: the one that is for all, and those of single namespaces.
    fn route_configurations_of(&mut self, service: &ObjectName) {
        for mesh in [self.old, self.new] {
            let Some(service) = mesh.service_named(service) else { continue };
            for port in &service.ports {
                let name = port_name(&service.name, port.number);
                for consumer in mesh.consumers(service, port) {
                    self.add(ResourceKind::RouteConfiguration, consumer_routes(&name, &consumer));
                }
                self.add(ResourceKind::RouteConfiguration, name);
            }
        }
    }

    fn routes_of(&mut self, service: &ObjectName) {
        self.route_configurations_of(service);
        for mesh in [self.old, self.new] {
            let Some(service) = mesh.service_named(service) else { continue };
            for (address, port) in service.addresses.iter().flat_map(|ip| service.ports.iter().map(move |p| (*ip, p))) {
                self.add(ResourceKind::Listener, SocketAddr::new(address, port.number).to_string());
            }
        }
    }

    fn endpoints_of(&mut self, service: &ObjectName) {
        self.ports_of(service, &[ResourceKind::ClusterLoadAssignment]);
    }

    fn ports_of(&mut self, service: &ObjectName, kinds: &[ResourceKind]) {
        for mesh in [self.old, self.new] {
            for port in mesh.service_named(service).into_iter().flat_map(|service| &service.ports) {
                let name = port_name(service, port.number);
                kinds.iter().for_each(|&kind| self.add(kind, name.clone()));
            }
        }
    }

    /// A pod that came, went or changed: it may have taken an address from another, or given it back.
    fn pod(&mut self, pod: &Pod) {
        for &address in &pod.addresses {
            self.dialled_pod(address);
            for mesh in [self.old, self.new] {
                for slice in mesh.index.slices_by_address.of(&address) {
                    self.endpoints_of(&slice.service);
                }
            }
        }
    }

    /// All that has a pod's address as its name, and what the pod that has the address takes in.
    fn dialled_pod(&mut self, address: IpAddr) {
        for mesh in [self.old, self.new] {
            let Some(pod) = mesh.pod_at(address) else { continue };
            self.changes.inbound.insert(pod.name.clone());
            for port in mesh.pod_ports(pod).into_keys() {
                for address in &pod.addresses {
                    let name = SocketAddr::new(*address, port).to_string();
                    ResourceKind::ALL.into_iter().for_each(|kind| self.add(kind, name.clone()));
                }
            }
        }
    }

    fn add(&mut self, kind: ResourceKind, name: String) {
        self.changes.resources.insert((kind, name));
    }
}

/// The name of the routes that the clients of a namespace have for themselves.
pub(crate) fn consumer_routes(name: &str, namespace: &str) -> String {
    format!("{name}@{namespace}")
}

fn port_name(service: &ObjectName, port: u16) -> String {
    ServicePortName { namespace: service.namespace.to_string(), service: service.name.to_string(), port }.to_string()
}

/// A value in both its states, as far as it has them.
fn both<'a, K, T>(found: &Difference<'a, K, T>) -> impl Iterator<Item = &'a Arc<T>> + use<'a, K, T> {
    [found.old, found.new].into_iter().flatten()
}

/// The keys whose values are not one and the same.
fn differing<K: Ord + Clone, T>(old: &BTreeMap<K, Arc<T>>, new: &BTreeMap<K, Arc<T>>) -> Vec<K> {
    let same = |a: &BTreeMap<K, Arc<T>>, key: &K| a.get(key).map(Arc::as_ptr);
    let gone_or_changed = old.iter().filter(|(key, value)| same(new, key) != Some(Arc::as_ptr(value)));
    let come = new.iter().filter(|(key, _)| !old.contains_key(key));
    gone_or_changed.chain(come).map(|(key, _)| key.clone()).collect()
}

#[cfg(test)]
mod tests;
