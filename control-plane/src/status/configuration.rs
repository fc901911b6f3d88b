//! What one pod's proxy is sent for a destination, and what of it the proxy holds.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use tonic::Status;
use weft_api::status as api;
use weft_api::xds::ResourceKind;

use super::{StatusService, unused};
use crate::mesh::{Mesh, ObjectName, Service};
use crate::xds::resources::NodeRef;
use crate::xds::{HeldResource, MAX_NAME_BYTES};

/// The most resources of a request.
const MAX_RESOURCES: usize = 1_000;
/// The kinds of manifests that resources are made of.
const KINDS: [&str; 7] =
    ["Service", "HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute", "TrafficPolicy", "FaultInjection"];

impl StatusService {
    pub(super) fn configuration(&self, request: &api::GetConfigurationRequest) -> Result<api::Configuration, Status> {
        let mesh = self.publisher.mesh();
        let node = node(&mesh, &request.node)?;
        let dialled = match request.service.as_str() {
            "" => Vec::new(),
            service => addresses(&mesh, service, &request.port)?,
        };
        let mut names: Vec<_> = dialled.iter().map(|name| (ResourceKind::Listener, Arc::from(name.as_str()))).collect();
        names.extend(named(&request.resources)?);
        let subscribers = self.publisher.subscribers();
        // The latest of several streams is that of the proxy that runs now.
        let held = subscribers.iter().rev().find(|subscriber| *subscriber.node() == node);
        let connected = held.is_some();
        let held = held.map(|subscriber| subscriber.resources()).unwrap_or_default();
        let resources: Vec<_> = names.iter().map(|(kind, name)| self.resource(*kind, name, &node, &held)).collect();
        let pod = ObjectName::new(node.namespace.as_str(), node.pod.as_str());
        let conditions = self.loads.conditions();
        let (ejected, open_breakers) = conditions.get(&pod).map(|seen| unused(seen)).unwrap_or_default();
        let namespaces = namespaces(&node, &request.service, &names);
        Ok(api::Configuration {
            dialled,
            resources,
            origins: self.origins(&namespaces),
            connected,
            ejected,
            open_breakers,
        })
    }

    fn resource(
        &self,
        kind: ResourceKind,
        name: &Arc<str>,
        node: &NodeRef,
        held: &[HeldResource],
    ) -> api::ConfigurationResource {
        let wanted = self.publisher.resource(kind, name, node);
        let held = held.iter().find(|held| held.kind == kind && held.name == *name);
        let version = wanted.as_ref().map(|resource| resource.version.to_string()).unwrap_or_default();
        let refused = held.and_then(|held| held.refused.as_ref()).filter(|(refused, _)| **refused == *version);
        api::ConfigurationResource {
            kind: kind.name().to_owned(),
            name: name.to_string(),
            subscribed: held.is_some(),
            acked_version: held
                .and_then(|held| held.acked.as_ref())
                .map(|(acked, _)| acked.to_string())
                .unwrap_or_default(),
            error: refused.map(|(_, error)| error.to_string()).unwrap_or_default(),
            resource: wanted.map(|resource| resource.any.clone()),
            version,
        }
    }

    /// Where the manifests of some namespaces are written, of the kinds that resources are made of.
    fn origins(&self, namespaces: &BTreeSet<&str>) -> Vec<api::Origin> {
        let origins = Arc::clone(&self.origins.borrow());
        let concerns = |manifest: &str| {
            let Some((kind, name)) = manifest.split_once(' ') else { return false };
            KINDS.contains(&kind) && name.split_once('/').is_some_and(|(namespace, _)| namespaces.contains(namespace))
        };
        let origins = origins.iter().filter(|(manifest, _)| concerns(manifest));
        let origin = |(manifest, place): (&String, &Arc<(Arc<str>, u32)>)| {
            let (file, line) = place.as_ref();
            api::Origin { manifest: manifest.clone(), file: file.to_string(), line: *line }
        };
        origins.map(origin).collect()
    }
}

fn node(mesh: &Mesh, node: &str) -> Result<NodeRef, Status> {
    let shown: String = node.chars().take(120).collect();
    let Some((pod, namespace)) = node.rsplit_once('.') else {
        return Err(Status::invalid_argument(format!("node: {shown:?} is not POD.NAMESPACE")));
    };
    if mesh.pod(namespace, pod).is_none() {
        return Err(Status::not_found(format!("there is no Pod {shown:?}; is its namespace right?")));
    }
    Ok(NodeRef { namespace: namespace.to_owned(), pod: pod.to_owned() })
}

/// The addresses by which a Service's port is dialled.
fn addresses(mesh: &Mesh, service: &str, port: &str) -> Result<Vec<String>, Status> {
    let shown: String = service.chars().take(120).collect();
    let Some((namespace, name)) = service.split_once('/') else {
        return Err(Status::invalid_argument(format!("service: {shown:?} is not NAMESPACE/NAME")));
    };
    let service = mesh.service(namespace, name);
    let service = service.ok_or_else(|| Status::not_found(format!("there is no Service {shown}")))?;
    let port = number(service, port)?;
    if service.addresses.is_empty() {
        let text = format!("Service {shown} has no address of its own, so a pod's is dialled: name that");
        return Err(Status::failed_precondition(text));
    }
    Ok(service.addresses.iter().map(|&address| SocketAddr::new(address, port).to_string()).collect())
}

fn number(service: &Service, port: &str) -> Result<u16, Status> {
    let found = match (port, service.ports.as_slice()) {
        ("", [only]) => Some(only),
        ("", _) => None,
        (port, ports) => ports.iter().find(|known| known.number.to_string() == port || *known.name == *port),
    };
    found.map(|port| port.number).ok_or_else(|| {
        let known: Vec<_> = service.ports.iter().map(|port| format!("{} ({})", port.number, port.name)).collect();
        let shown: String = port.chars().take(80).collect();
        let what = if port.is_empty() { "several ports".to_owned() } else { format!("no port {shown:?}") };
        Status::not_found(format!("Service {} has {what}; it has {}", service.name, known.join(", ")))
    })
}

fn named(names: &[api::ResourceName]) -> Result<Vec<(ResourceKind, Arc<str>)>, Status> {
    if names.len() > MAX_RESOURCES {
        return Err(Status::invalid_argument(format!("resources: {} are more than {MAX_RESOURCES}", names.len())));
    }
    let named = names.iter().enumerate().map(|(index, resource)| {
        let kind = ResourceKind::ALL.into_iter().find(|kind| kind.name() == resource.kind);
        let wrong = |field| Status::invalid_argument(format!("resources[{index}].{field} is none"));
        if resource.name.len() > MAX_NAME_BYTES {
            return Err(wrong("name"));
        }
        Ok((kind.ok_or_else(|| wrong("kind"))?, Arc::from(resource.name.as_str())))
    });
    named.collect()
}

/// The namespaces whose manifests may have a say.
fn namespaces<'a>(node: &'a NodeRef, service: &'a str, names: &'a [(ResourceKind, Arc<str>)]) -> BTreeSet<&'a str> {
    let of_names = names.iter().map(|(_, name)| name.as_ref()).chain([service]);
    let mut namespaces: BTreeSet<_> = of_names.filter_map(|name| Some(name.split_once('/')?.0)).collect();
    namespaces.insert(&node.namespace);
    namespaces
}
