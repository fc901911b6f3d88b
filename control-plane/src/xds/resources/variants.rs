//! For whom a resource is another one than for all others.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use weft_api::names::ServicePort as ServicePortName;
use weft_api::xds::ResourceKind;

use super::NodeRef;
use crate::mesh::Mesh;

/// For whom a resource is another one than for all others.
pub(in crate::xds) enum Variants {
    /// For nobody.
    None,
    /// For the clients of these namespaces: they have routes of their own for the Service, which its listeners name.
    Namespaces(BTreeSet<Arc<str>>),
    /// For the clients on these nodes: they have the Service's endpoints that are there. All others have none.
    Nodes(BTreeSet<Arc<str>>),
}

impl Variants {
    pub(in crate::xds) fn of(mesh: &Mesh, kind: ResourceKind, name: &str) -> Self {
        let found = match kind {
            ResourceKind::Listener => namespaces(mesh, name).map(Self::Namespaces),
            ResourceKind::ClusterLoadAssignment => nodes(mesh, name).map(Self::Nodes),
            ResourceKind::RouteConfiguration | ResourceKind::Cluster => None,
        };
        found.unwrap_or(Self::None)
    }

    /// Which one a client has; `None`: the one for all others.
    pub(in crate::xds) fn of_client(&self, mesh: &Mesh, client: &NodeRef) -> Option<Arc<str>> {
        match self {
            Self::None => None,
            Self::Namespaces(namespaces) => namespaces.get(client.namespace.as_str()).cloned(),
            Self::Nodes(nodes) => nodes.get(node_of(mesh, client)?).cloned(),
        }
    }

    /// Whether it can be told which one a client has: of a pod that is gone nobody knows the node.
    pub(in crate::xds) fn knows(&self, mesh: &Mesh, client: &NodeRef) -> bool {
        !matches!(self, Self::Nodes(_)) || mesh.pod(&client.namespace, &client.pod).is_some()
    }

    /// All that there are.
    pub(in crate::xds) fn all(&self) -> impl Iterator<Item = Option<Arc<str>>> + '_ {
        let own = match self {
            Self::None => None,
            Self::Namespaces(own) | Self::Nodes(own) => Some(own),
        };
        own.into_iter().flatten().cloned().map(Some).chain([None])
    }
}

/// The node that a client's pod is on.
pub(super) fn node_of<'a>(mesh: &'a Mesh, client: &NodeRef) -> Option<&'a Arc<str>> {
    mesh.node_of(mesh.pod(&client.namespace, &client.pod)?)
}

fn namespaces(mesh: &Mesh, name: &str) -> Option<BTreeSet<Arc<str>>> {
    let address: SocketAddr = name.parse().ok()?;
    let service = mesh.service_at(address.ip())?;
    Some(mesh.consumers(service, service.port(address.port())?))
}

fn nodes(mesh: &Mesh, name: &str) -> Option<BTreeSet<Arc<str>>> {
    let name: ServicePortName = name.parse().ok()?;
    let service = mesh.service(&name.namespace, &name.service).filter(|service| service.node_local)?;
    let endpoints = mesh.slices_of(&service.name).iter().flat_map(|slice| &slice.endpoints);
    Some(endpoints.filter_map(|endpoint| mesh.node_of_endpoint(endpoint)).cloned().collect())
}
