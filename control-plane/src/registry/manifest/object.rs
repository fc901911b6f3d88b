//! Objects of whatever kind, and where they are kept.

use std::sync::Arc;

use super::Kind;
use crate::mesh::{
    EndpointSlice, FaultInjection, JoinToken, Manifests, Namespace, Node, ObjectName, Pod, ReferenceGrant, Route,
    Service, ServiceAccount, Subject, Table, TrafficPolicy,
};

/// An object of the mesh.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::registry) enum Object {
    Service(Arc<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    Pod(Arc<Pod>),
    ServiceAccount(Arc<ServiceAccount>),
    JoinToken(Arc<JoinToken>),
    Route(Arc<Route>),
    ReferenceGrant(Arc<ReferenceGrant>),
    TrafficPolicy(Arc<TrafficPolicy>),
    FaultInjection(Arc<FaultInjection>),
    Namespace(Arc<Namespace>),
    Node(Arc<Node>),
}

impl Object {
    /// Puts it to the others; it takes the place of one of its kind and name. Returns whether that was another one.
    pub(in crate::registry) fn insert(&self, name: &ObjectName, to: &mut Manifests) -> bool {
        fn put<K: Ord + Clone, T>(table: &mut Table<K, T>, name: K, object: &Arc<T>) -> bool {
            !table.insert(name, object.clone()).is_some_and(|old| Arc::ptr_eq(&old, object))
        }
        match self {
            Self::Service(object) => put(&mut to.services, name.clone(), object),
            Self::EndpointSlice(object) => put(&mut to.endpoint_slices, name.clone(), object),
            Self::Pod(object) => put(&mut to.pods, name.clone(), object),
            Self::ServiceAccount(object) => put(&mut to.service_accounts, name.clone(), object),
            Self::JoinToken(object) => put(&mut to.join_tokens, name.clone(), object),
            Self::Route(object) => put(&mut to.routes, (object.kind, name.clone()), object),
            Self::ReferenceGrant(object) => put(&mut to.reference_grants, name.clone(), object),
            Self::TrafficPolicy(object) => put(&mut to.traffic_policies, name.clone(), object),
            Self::FaultInjection(object) => put(&mut to.fault_injections, name.clone(), object),
            Self::Namespace(object) => put(&mut to.namespaces, name.name.clone(), object),
            Self::Node(object) => put(&mut to.nodes, name.name.clone(), object),
        }
    }
}

/// Whose fault a conflict is.
pub(in crate::registry) fn subject(subject: &Subject) -> (Kind, ObjectName) {
    match subject {
        Subject::Route((kind, name)) => (Kind::Route(*kind), name.clone()),
        Subject::TrafficPolicy(name) => (Kind::TrafficPolicy, name.clone()),
    }
}

/// Takes an object out; returns whether it was there.
pub(in crate::registry) fn remove(kind: Kind, name: &ObjectName, from: &mut Manifests) -> bool {
    match kind {
        Kind::Service => from.services.remove(name).is_some(),
        Kind::EndpointSlice => from.endpoint_slices.remove(name).is_some(),
        Kind::Pod => from.pods.remove(name).is_some(),
        Kind::ServiceAccount => from.service_accounts.remove(name).is_some(),
        Kind::Secret => from.join_tokens.remove(name).is_some(),
        Kind::Route(kind) => from.routes.remove(&(kind, name.clone())).is_some(),
        Kind::ReferenceGrant => from.reference_grants.remove(name).is_some(),
        Kind::TrafficPolicy => from.traffic_policies.remove(name).is_some(),
        Kind::FaultInjection => from.fault_injections.remove(name).is_some(),
        Kind::Namespace => from.namespaces.remove(&name.name).is_some(),
        Kind::Node => from.nodes.remove(&name.name).is_some(),
    }
}
