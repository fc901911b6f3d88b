//! The mesh as xDS resources: pure, and the same bytes each time.
//!
//! `docs/reference/xds.md` has the subset and the names.

use std::net::SocketAddr;

use aws_lc_rs::digest;
use weft_api::names::{ClusterName, INBOUND_LISTENER, ServicePort as ServicePortName};
use weft_api::xds::ResourceKind;
use weft_api::xds::pb::google::protobuf::Any;

use crate::mesh::{Mesh, ObjectName, Protocol, Service, ServicePort};

mod cluster;
mod endpoints;
mod inbound;
mod listener;
mod routes;

/// An xDS resource, serialized.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// The name that proxies subscribe to.
    pub name: String,
    /// A digest of the content: the same content has the same version on every replica and after every restart.
    pub version: String,
    /// The content.
    pub any: Any,
}

/// The pod that asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeRef {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
}

/// The resource of this kind and name; `None`: there is none. Only the listener `inbound` depends on who asks.
pub fn resource(mesh: &Mesh, kind: ResourceKind, name: &str, node: &NodeRef) -> Option<Resource> {
    let value = match kind {
        ResourceKind::Listener if name == INBOUND_LISTENER => {
            inbound::listener(mesh, mesh.pod(&node.namespace, &node.pod)?)
        }
        ResourceKind::Listener => listener::outbound(mesh, name)?,
        ResourceKind::RouteConfiguration => routes::configuration(mesh, name)?,
        ResourceKind::Cluster => cluster::cluster(mesh, name)?,
        ResourceKind::ClusterLoadAssignment => endpoints::assignment(mesh, name)?,
    };
    let digest = digest::digest(&digest::SHA256, &value);
    let version = digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Some(Resource { name: name.to_owned(), version, any: Any { type_url: kind.type_url().to_owned(), value } })
}

/// The names of all resources of a kind, for wildcard subscriptions; `inbound` is among the listeners. In no order, each
/// once.
pub fn names(mesh: &Mesh, kind: ResourceKind) -> impl Iterator<Item = String> {
    let inbound = (kind == ResourceKind::Listener).then(|| INBOUND_LISTENER.to_owned());
    let services = mesh.services().flat_map(move |service| {
        service.ports.iter().flat_map(move |port| match kind {
            ResourceKind::Listener => addresses_of(mesh, service, port),
            ResourceKind::RouteConfiguration if protocol_of(mesh, service, port) == Protocol::Opaque => Vec::new(),
            ResourceKind::ClusterLoadAssignment if service.external_name.is_some() => Vec::new(),
            _ => vec![name_of(&service.name, port.number)],
        })
    });
    let pods = mesh.pods_by_address().filter(|(address, _)| mesh.service_at(*address).is_none());
    let pods = pods.flat_map(move |(address, pod)| {
        let ports = mesh.pod_ports(pod).into_iter();
        ports
            .filter(move |&(_, protocol)| kind != ResourceKind::RouteConfiguration || protocol != Protocol::Opaque)
            .map(move |(port, _)| SocketAddr::new(address, port).to_string())
    });
    inbound.into_iter().chain(services).chain(pods)
}

/// What the name of a route configuration, a cluster or a load assignment stands for.
enum Target<'a> {
    Service(&'a Service, &'a ServicePort),
    Pod(SocketAddr, Protocol),
}

impl<'a> Target<'a> {
    fn find(mesh: &'a Mesh, name: &str) -> Option<Self> {
        match canonical(name)? {
            ClusterName::Service(name) => {
                let service = mesh.service(&name.namespace, &name.service)?;
                Some(Self::Service(service, service.port(name.port)?))
            }
            ClusterName::Pod(address) => Self::find_pod(mesh, address),
        }
    }

    /// A pod that is dialled by its own address. An address that is a Service's too is the Service's.
    fn find_pod(mesh: &'a Mesh, address: SocketAddr) -> Option<Self> {
        if mesh.service_at(address.ip()).is_some() {
            return None;
        }
        let pod = mesh.pod_at(address.ip())?;
        let protocol = *mesh.pod_ports(pod).get(&address.port())?;
        Some(Self::Pod(address, protocol))
    }

    fn name(&self) -> String {
        match self {
            Self::Service(service, port) => name_of(&service.name, port.number),
            Self::Pod(address, _) => address.to_string(),
        }
    }

    /// What is spoken there, as far as it is declared.
    fn protocol(&self, mesh: &Mesh) -> Protocol {
        match self {
            Self::Service(service, port) => protocol_of(mesh, service, port),
            Self::Pod(_, protocol) => *protocol,
        }
    }
}

/// A name in the one form in which names are told apart: `10.0.0.1:080` is none.
fn canonical(name: &str) -> Option<ClusterName> {
    name.parse::<ClusterName>().ok().filter(|parsed| parsed.to_string() == name)
}

fn name_of(service: &ObjectName, port: u16) -> String {
    ServicePortName { namespace: service.namespace.to_string(), service: service.name.to_string(), port }.to_string()
}

/// The addresses by which a Service's port is dialled, as far as they lead to this Service.
fn addresses_of(mesh: &Mesh, service: &Service, port: &ServicePort) -> Vec<String> {
    let own = |address| mesh.service_at(address).is_some_and(|owner| owner.name == service.name);
    let addresses = service.addresses.iter().filter(|&&address| own(address));
    addresses.map(|&address| SocketAddr::new(address, port.number).to_string()).collect()
}

/// What a Service's port speaks. Whoever writes HTTP rules for an undeclared port declares it to be HTTP: or else a
/// client could pass the rules by with bytes that are not quite HTTP.
fn protocol_of(mesh: &Mesh, service: &Service, port: &ServicePort) -> Protocol {
    match port.protocol {
        Protocol::Undeclared if routes::attached(mesh, service, port).next().is_some() => Protocol::Http,
        declared => declared,
    }
}

#[cfg(test)]
mod tests;
