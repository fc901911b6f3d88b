//! Services: virtual addresses and what stands behind them.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;

use super::World;
use super::manifests::{Key, PortRecord, ServiceRecord};
use super::network::Addresses;
use super::pod::Pod;

/// A Service in the making; [`create`](Self::create) writes its manifests.
#[derive(Debug)]
#[must_use = "a Service exists once `create` is called"]
pub struct ServiceBuilder {
    world: World,
    record: ServiceRecord,
}

impl ServiceBuilder {
    pub(super) fn new(world: World, name: &str, virtual_addresses: Addresses) -> Self {
        let key = (super::DEFAULT_NAMESPACE.to_owned(), name.to_owned());
        let (ports, backends) = (Vec::new(), Vec::new());
        Self { world, record: ServiceRecord { key, virtual_addresses, ports, backends, external_name: None } }
    }

    /// The Kubernetes namespace; default `default`.
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.record.key.0);
        self
    }

    /// A port, the pods' port that it leads to, and its `appProtocol` (`http`, `tcp`, ...).
    pub fn port(self, port: u16, target: u16, protocol: &str) -> Self {
        self.add_port(port, target, Some(protocol.to_owned()))
    }

    /// A port of which the manifests don't say what it speaks.
    pub fn undeclared_port(self, port: u16, target: u16) -> Self {
        self.add_port(port, target, None)
    }

    /// The pods behind the Service.
    pub fn backends<'a>(mut self, pods: impl IntoIterator<Item = &'a Pod>) -> Self {
        self.record.backends.extend(pods.into_iter().map(|pod| pod.key().clone()));
        self
    }

    /// Makes it a Service of type ExternalName.
    pub fn external_name(mut self, name: &str) -> Self {
        self.record.external_name = Some(name.to_owned());
        self
    }

    /// Writes the Service and its EndpointSlices. The control plane reads them soon after; it has read them once a
    /// sidecar is ready that was started later.
    ///
    /// # Errors
    /// Where the registry's folder cannot be written.
    pub fn create(self) -> Result<Service> {
        let service = Service { key: self.record.key.clone(), addresses: self.record.virtual_addresses };
        self.world.registry().add_service(self.record)?;
        Ok(service)
    }

    /// Writes it in place of `service`, whose name and addresses it takes.
    ///
    /// # Errors
    /// Where the registry's folder cannot be written.
    pub fn create_as(mut self, service: &Service) -> Result<Service> {
        self.record.key = service.key.clone();
        self.record.virtual_addresses = service.addresses;
        self.create()
    }

    fn add_port(mut self, port: u16, target: u16, protocol: Option<String>) -> Self {
        self.record.ports.push(PortRecord { port, target, protocol });
        self
    }
}

/// A Service.
#[derive(Clone, Debug)]
pub struct Service {
    key: Key,
    addresses: Addresses,
}

impl Service {
    /// The Service's name, without its namespace.
    pub fn name(&self) -> &str {
        &self.key.1
    }

    /// The virtual IPv4 address with a port.
    pub fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.addresses.v4), port)
    }

    /// The virtual IPv6 address with a port.
    pub fn address_v6(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V6(self.addresses.v6), port)
    }
}
