//! `discovery.k8s.io/v1` EndpointSlice.

use std::net::IpAddr;

use k8s_openapi::api::discovery::v1 as discovery;
use weft_api::names::is_dns_label;

use super::{Refused, address, is_tcp, port, required};
use crate::mesh::{Endpoint, EndpointSlice, EndpointState, ObjectName};
use crate::registry::fault::{FieldPath, Report};

/// The label that names a slice's Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// `None`: the slice belongs to no Service, which is not for the mesh to complain about.
pub(super) fn read(
    name: &ObjectName,
    raw: discovery::EndpointSlice,
    report: &mut Report,
) -> Result<Option<EndpointSlice>, Refused> {
    let Some(service) = raw.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME)) else {
        let field = FieldPath::of(&["metadata", "labels", SERVICE_NAME]);
        report.warning(field, "is missing: the slice belongs to no Service and is left out");
        return Ok(None);
    };
    if !is_dns_label(service) {
        let field = FieldPath::of(&["metadata", "labels", SERVICE_NAME]);
        report.error(field, format!("{service:?} is not the name of a Service"));
        return Err(Refused);
    }
    if !matches!(raw.address_type.as_str(), "IPv4" | "IPv6") {
        let message = format!("{:?} is not one of IPv4, IPv6", raw.address_type);
        report.error(FieldPath::of(&["addressType"]), message);
        return Err(Refused);
    }
    let mut ports = Vec::new();
    for (place, raw) in raw.ports.unwrap_or_default().into_iter().enumerate() {
        // A port without a number stands for all ports; a Service's port is never meant by it.
        let Some(number) = raw.port.filter(|_| is_tcp(raw.protocol.as_deref())) else { continue };
        let field = FieldPath::of(&["ports"]).index(place).key("port");
        ports.push((raw.name.unwrap_or_default().into(), required(report.check(field, port(number)))?));
    }
    let mut endpoints = Vec::new();
    for (place, raw) in raw.endpoints.unwrap_or_default().into_iter().enumerate() {
        endpoints.push(endpoint(&FieldPath::of(&["endpoints"]).index(place), raw, report)?);
    }
    let service = ObjectName::new(name.namespace.clone(), service.as_str());
    Ok(Some(EndpointSlice { name: name.clone(), service, ports, endpoints }))
}

/// All addresses of an endpoint lead to the same pod; the first is used, as everywhere in Kubernetes.
fn endpoint(field: &FieldPath, raw: discovery::Endpoint, report: &mut Report) -> Result<Endpoint, Refused> {
    let field = field.key("addresses");
    let Some(text) = raw.addresses.first() else {
        report.error(field, "is empty");
        return Err(Refused);
    };
    let address = required(report.check(field.index(0), endpoint_address(text)))?;
    let (zone, node) = (raw.zone.unwrap_or_default().into(), raw.node_name.unwrap_or_default().into());
    Ok(Endpoint { address, zone, node, state: state(raw.conditions.unwrap_or_default()) })
}

/// The rule of Kubernetes: an endpoint is no way to reach into the machine that dials it.
fn endpoint_address(text: &str) -> Result<IpAddr, String> {
    let address = address(text)?;
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    if address.is_loopback() || link_local {
        return Err(format!("{address} is loopback or link-local, which no endpoint may be"));
    }
    Ok(address)
}

/// Conditions that are not given count as Kubernetes' documentation says: ready, serving, not terminating.
fn state(conditions: discovery::EndpointConditions) -> EndpointState {
    let terminating = conditions.terminating.unwrap_or(false);
    if terminating && conditions.serving.unwrap_or(true) {
        EndpointState::Draining
    } else if !terminating && conditions.ready.unwrap_or(true) {
        EndpointState::Ready
    } else {
        EndpointState::NotReady
    }
}

#[cfg(test)]
mod tests;
