//! The model: Services, endpoints, pods, routes and splits, joined into an immutable snapshot.
//!
//! [`Manifests`] is what a registry read, object by object; a [`Split`] is what the traffic API wrote. [`Mesh::build`]
//! joins the two, without I/O: it indexes them by address and by Service, and every question about the mesh is then a
//! look-up. [`Mesh::changed`] tells which xDS resources may differ between two snapshots, so that a change costs only
//! those who subscribed to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use weft_certs::spiffe::{SpiffeId, TrustDomain};

mod attach;
mod changes;
mod conflicts;
mod fault_injection;
mod grant;
mod index;
mod lists;
mod manifests;
mod policy;
pub mod protocol;
mod route;
mod split;
mod table;

pub use changes::Changes;
pub use conflicts::{Conflict, Conflicts, FieldStep, Reason, Subject};
pub use fault_injection::{Abort, FaultInjection};
pub use grant::ReferenceGrant;
pub use manifests::{
    Endpoint, EndpointSlice, EndpointState, JoinToken, Manifests, Mtls, Namespace, Namespaces, Node, ObjectName, Pod,
    PodPort, Service, ServiceAccount, ServicePort, TokenDigest,
};
pub use policy::{
    Algorithm, Backoff, Balance, Connections, GlobalLimit, GrpcRetry, HashKey, HealthCheck, Hedge, LimitKey,
    LocalLimit, Locality, OutlierDetection, PolicyTarget, Probe, Requests, Retry, RetryBudget, RetryOn, SlowStart,
    SuccessRate, TrafficPolicy,
};
pub use protocol::Protocol;
pub use route::{
    Backend, FaultRef, Forward, GrpcMethod, HeaderEdits, Mirror, ParentRef, PathEdit, PathMatch, Place, Redirect,
    Reference, Route, RouteAction, RouteFilters, RouteKey, RouteKind, RouteMatch, RouteRule, RuleRetry, RuleTimeouts,
    Rules, Session, TextMatch,
};
pub use split::{Split, SplitBackend};
pub use table::{Difference, Table};

pub(crate) use attach::Attached;
pub(crate) use changes::consumer_routes;
use index::Index;

/// What holds for the whole mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshOptions {
    /// The trust domain of every identity in the mesh.
    pub trust_domain: TrustDomain,
    /// What a pod does with plaintext when its annotation `weft.dev/mtls` doesn't say.
    pub default_mtls: Mtls,
}

/// The mesh at one moment: immutable, shared by whoever asks.
#[derive(Debug)]
pub struct Mesh {
    manifests: Arc<Manifests>,
    splits: BTreeMap<ObjectName, Arc<Split>>,
    options: MeshOptions,
    index: Index,
}

impl Mesh {
    /// Joins what the registry read with what the traffic API wrote, by Service. The order in which objects came does not
    /// matter.
    pub fn build(manifests: &Arc<Manifests>, splits: &BTreeMap<ObjectName, Arc<Split>>, options: &MeshOptions) -> Self {
        let (none, index) = (Arc::default(), Index::default());
        let empty = Self { manifests: none, splits: BTreeMap::new(), options: options.clone(), index };
        empty.next(manifests, splits)
    }

    /// The same as [`build`](Self::build) makes, with the options of this mesh, at the cost of what differs from it.
    pub fn next(&self, manifests: &Arc<Manifests>, splits: &BTreeMap<ObjectName, Arc<Split>>) -> Self {
        let mut index = self.index.clone();
        index.follow(&self.manifests, manifests);
        Self { manifests: Arc::clone(manifests), splits: splits.clone(), options: self.options.clone(), index }
    }

    /// What may differ in what the proxies see, between an older snapshot and this one.
    pub fn changed(&self, old: &Self) -> Changes {
        changes::between(old, self)
    }

    /// The options that the mesh was built with.
    pub fn options(&self) -> &MeshOptions {
        &self.options
    }

    /// The Service of this name.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.service_named(&ObjectName::new(namespace, name))
    }

    /// All Services, ordered by namespace and name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.manifests.services.values().map(Arc::as_ref)
    }

    /// The routes, by name, that somebody wrote for this Service: what they say comes before any split. Those of other
    /// namespaces have their namespace in front.
    pub fn manual_routes(&self, namespace: &str, name: &str) -> Vec<String> {
        let shown = |route: &Arc<Route>| match *route.name.namespace == *namespace {
            true => route.name.name.to_string(),
            false => route.name.to_string(),
        };
        self.routes_for(&ObjectName::new(namespace, name)).iter().map(shown).collect()
    }

    /// The pod of this name.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.manifests.pods.get(&ObjectName::new(namespace, name)).map(Arc::as_ref)
    }

    /// The SPIFFE id of a pod's ServiceAccount.
    pub fn identity(&self, pod: &Pod) -> Option<SpiffeId> {
        SpiffeId::new(&self.options.trust_domain, &pod.name.namespace, &pod.service_account).ok()
    }

    /// The ServiceAccount that a join token is bound to. `None` where no Secret has the token, where its ServiceAccount
    /// does not exist, or where several ServiceAccounts have the same token.
    pub fn service_account_of_token(&self, token: &str) -> Option<&ObjectName> {
        let account = self.index.account_of_token(&TokenDigest::of(token))?;
        self.manifests.service_accounts.contains_key(account).then_some(account)
    }

    pub(crate) fn service_named(&self, name: &ObjectName) -> Option<&Service> {
        self.manifests.services.get(name).map(Arc::as_ref)
    }

    /// The Service that has this cluster IP.
    pub(crate) fn service_at(&self, address: IpAddr) -> Option<&Service> {
        self.index.services_by_address.first(&address).map(Arc::as_ref)
    }

    /// The pod that has this address.
    pub(crate) fn pod_at(&self, address: IpAddr) -> Option<&Pod> {
        self.index.pods_by_address.first(&address).map(Arc::as_ref)
    }

    /// All addresses of pods with the pod that has each, in order.
    pub(crate) fn pods_by_address(&self) -> impl Iterator<Item = (IpAddr, &Pod)> {
        self.index.pods_by_address.iter().filter_map(|(address, pods)| Some((*address, pods.first()?.as_ref())))
    }

    /// The slices of a Service, ordered by name.
    pub(crate) fn slices_of(&self, service: &ObjectName) -> &[Arc<EndpointSlice>] {
        self.index.slices_by_service.of(service)
    }

    /// The routes of a Service, of all kinds and namespaces, ordered by kind and name.
    pub(crate) fn routes_for(&self, service: &ObjectName) -> &[Arc<Route>] {
        self.index.routes_by_service.of(service)
    }

    /// The routes in force on a Service's port, for the clients of a namespace that has routes of its own for it, or with
    /// `None` for all others.
    pub(crate) fn attached(&self, service: &Service, port: &ServicePort, consumer: Option<&str>) -> Attached<'_> {
        self.index.attached(service, port, consumer)
    }

    /// The namespaces whose clients have routes of their own for a Service's port.
    pub(crate) fn consumers(&self, service: &Service, port: &ServicePort) -> BTreeSet<Arc<str>> {
        self.index.consumers(service, port)
    }

    /// The policy in force on a Service's port.
    pub(crate) fn policy(&self, service: &Service, port: &ServicePort) -> Option<&TrafficPolicy> {
        self.index.policy(&service.name, port).map(Arc::as_ref)
    }

    /// Whether a Service that a route names has the port, and the route may name it.
    pub(crate) fn resolves(&self, route: &Route, service: &ObjectName, port: u16) -> Resolution {
        let known = self.service_named(service).is_some_and(|service| service.port(port).is_some());
        match (self.index.permits(route, service), known) {
            (false, _) => Resolution::NotPermitted,
            (true, false) => Resolution::Unknown,
            (true, true) => Resolution::Found,
        }
    }

    /// The FaultInjection of this name.
    pub(crate) fn fault_injection(&self, name: &ObjectName) -> Option<&FaultInjection> {
        self.manifests.fault_injections.get(name).map(Arc::as_ref)
    }

    /// The split of a Service.
    pub(crate) fn split_of(&self, service: &ObjectName) -> Option<&Split> {
        self.splits.get(service).map(Arc::as_ref)
    }

    /// The Services that have a split.
    pub(crate) fn split_services(&self) -> impl Iterator<Item = &ObjectName> {
        self.splits.keys()
    }

    /// The ports on which a pod is known to listen, ordered: those of its containers, and those that EndpointSlices have
    /// for it. What a Service declares comes before a container port's name; Services that contradict each other leave
    /// the port undeclared.
    pub(crate) fn pod_ports(&self, pod: &Pod) -> BTreeMap<u16, Protocol> {
        let mut declared = BTreeMap::<u16, BTreeSet<Protocol>>::new();
        for (service, slice) in self.services_of(pod) {
            for port in &service.ports {
                if let Some(target) = slice.target_port(&port.name) {
                    declared.entry(target).or_default().insert(port.protocol);
                }
            }
        }
        let mut ports: BTreeMap<u16, Protocol> =
            declared.into_iter().map(|(port, protocols)| (port, Protocol::agreed(protocols))).collect();
        for port in &pod.ports {
            let known = ports.entry(port.number).or_insert(port.protocol);
            if *known == Protocol::Undeclared {
                *known = port.protocol;
            }
        }
        ports
    }

    /// The zone that a pod is in, as its label, its node or an EndpointSlice has it.
    pub(crate) fn zone_of(&self, pod: &Pod) -> Option<Arc<str>> {
        if !pod.zone.is_empty() {
            return Some(pod.zone.clone());
        }
        let node = self.manifests.nodes.get(&pod.node).filter(|node| !node.zone.is_empty());
        if let Some(node) = node {
            return Some(node.zone.clone());
        }
        self.endpoints_at(&pod.addresses).map(|endpoint| &endpoint.zone).find(|zone| !zone.is_empty()).cloned()
    }

    /// The node that a pod is on, as it says itself, or an EndpointSlice.
    pub(crate) fn node_of<'a>(&'a self, pod: &'a Pod) -> Option<&'a Arc<str>> {
        let of_slices = self.endpoints_at(&pod.addresses).map(|endpoint| &endpoint.node);
        [&pod.node].into_iter().chain(of_slices).find(|node| !node.is_empty())
    }

    /// The node that an endpoint is on, as its slice says, or its pod.
    pub(crate) fn node_of_endpoint<'a>(&'a self, endpoint: &'a Endpoint) -> Option<&'a Arc<str>> {
        let of_pod = self.pod_at(endpoint.address).map(|pod| &pod.node);
        [&endpoint.node].into_iter().chain(of_pod).find(|node| !node.is_empty())
    }

    fn endpoints_at<'a>(&'a self, addresses: &'a [IpAddr]) -> impl Iterator<Item = &'a Endpoint> {
        addresses.iter().flat_map(|at| {
            let slices = self.index.slices_by_address.of(at).iter();
            slices.flat_map(|slice| &slice.endpoints).filter(move |endpoint| endpoint.address == *at)
        })
    }

    /// The Services that a pod is an endpoint of, ready or not, at an address that is its own.
    pub(crate) fn services_of(&self, pod: &Pod) -> impl Iterator<Item = (&Service, &EndpointSlice)> {
        let own = pod.addresses.iter().filter(|&&at| self.pod_at(at).is_some_and(|owner| owner.name == pod.name));
        let slices = own.flat_map(|address| self.index.slices_by_address.of(address));
        slices.filter_map(|slice| Some((self.service_named(&slice.service)?, slice.as_ref())))
    }
}

/// What is found where a route names a Service's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// The Service has it.
    Found,
    /// There is no such Service, or it has no such port.
    Unknown,
    /// It is another namespace's, and no ReferenceGrant lets the route name it.
    NotPermitted,
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
