//! The mesh as xDS resources: pure, and the same bytes each time.
//!
//! `docs/reference/xds.md` has the subset and the names.

use std::net::SocketAddr;
use std::sync::Arc;

use aws_lc_rs::digest;
use weft_api::names::{ClusterName, INBOUND_LISTENER, ServicePort as ServicePortName};
use weft_api::xds::ResourceKind;
use weft_api::xds::pb::google::protobuf::Any;

use crate::mesh::{Mesh, ObjectName, Protocol, Service, ServicePort, consumer_routes};

mod cluster;
mod encode;
mod endpoints;
mod inbound;
mod listener;
mod routes;
mod values;
mod variants;

pub(super) use variants::Variants;

/// An xDS resource, serialized.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// The name that proxies subscribe to.
    pub name: String,
    /// A digest of the content: the same content has the same version on every replica and after every restart.
    pub version: Arc<str>,
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

/// The resource of this kind and name; `None`: there is none. The listener `inbound` depends on who asks, others may as
/// `Variants` tells.
pub fn resource(mesh: &Mesh, kind: ResourceKind, name: &str, node: &NodeRef) -> Option<Resource> {
    let value = match kind {
        ResourceKind::Listener if name == INBOUND_LISTENER => {
            inbound::listener(mesh, mesh.pod(&node.namespace, &node.pod)?)
        }
        ResourceKind::Listener => listener::outbound(mesh, name, &node.namespace)?,
        ResourceKind::RouteConfiguration => routes::configuration(mesh, name)?,
        ResourceKind::Cluster => cluster::cluster(mesh, name)?,
        ResourceKind::ClusterLoadAssignment => endpoints::assignment(mesh, name, node)?,
    };
    let digest = digest::digest(&digest::SHA256, &value);
    let version: String = digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let version = version.into();
    Some(Resource { name: name.to_owned(), version, any: Any { type_url: kind.type_url().to_owned(), value } })
}

/// The names of all resources of a kind, for wildcard subscriptions; `inbound` is among the listeners. In no order, each
/// once.
pub fn names(mesh: &Mesh, kind: ResourceKind) -> impl Iterator<Item = String> {
    let inbound = (kind == ResourceKind::Listener).then(|| INBOUND_LISTENER.to_owned());
    let services = mesh.services().flat_map(move |service| {
        service.ports.iter().flat_map(move |port| match kind {
            ResourceKind::Listener => addresses_of(mesh, service, port),
            ResourceKind::RouteConfiguration => route_names(mesh, service, port),
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

/// The names of the routes of a Service's port, those of namespaces that have routes of their own for it among them.
pub(super) fn route_names(mesh: &Mesh, service: &Service, port: &ServicePort) -> Vec<String> {
    let name = name_of(&service.name, port.number);
    let consumers = mesh.consumers(service, port);
    let all = [None].into_iter().chain(consumers.iter().map(|namespace| Some(namespace.as_ref())));
    let http =
        all.filter(|consumer| mesh.attached(service, port, *consumer).protocol(port.protocol) != Protocol::Opaque);
    http.map(|consumer| consumer.map_or_else(|| name.clone(), |namespace| consumer_routes(&name, namespace))).collect()
}

/// The resources that say where what a Service is asked goes: its listeners, and their routes.
pub(super) fn routing(mesh: &Mesh, service: &Service) -> impl Iterator<Item = (ResourceKind, Arc<str>)> {
    service.ports.iter().flat_map(move |port| {
        let listeners = addresses_of(mesh, service, port).into_iter().map(|name| (ResourceKind::Listener, name));
        let routes = route_names(mesh, service, port).into_iter().map(|name| (ResourceKind::RouteConfiguration, name));
        listeners.chain(routes).map(|(kind, name)| (kind, name.into()))
    })
}

/// The Service that a resource is one of those of.
pub(super) fn routed(mesh: &Mesh, kind: ResourceKind, name: &str) -> Option<ObjectName> {
    match kind {
        ResourceKind::Listener => {
            let address: SocketAddr = name.parse().ok()?;
            Some(mesh.service_at(address.ip())?.name.clone())
        }
        ResourceKind::RouteConfiguration => {
            let ServicePortName { namespace, service, .. } = consumer_of(name).0.parse().ok()?;
            Some(ObjectName::new(namespace, service))
        }
        ResourceKind::Cluster | ResourceKind::ClusterLoadAssignment => None,
    }
}

/// The name of routes without the namespace that they are for, and that.
fn consumer_of(name: &str) -> (&str, Option<&str>) {
    match name.split_once('@') {
        Some((name, namespace)) => (name, Some(namespace)),
        None => (name, None),
    }
}

#[cfg(test)]
mod tests;
