//! `v1` Service.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;

use super::{Refused, address, is_dns_subdomain, is_tcp, opaque_ports, port, required};
use crate::mesh::{Locality, ObjectName, Protocol, Service, ServicePort};
use crate::registry::fault::{FieldPath, Report};

pub(super) fn read(name: &ObjectName, raw: core::Service, report: &mut Report) -> Result<Service, Refused> {
    let spec = raw.spec.unwrap_or_default();
    let external_name = match spec.type_.as_deref() {
        Some("ExternalName") => Some(required(external_name(spec.external_name.as_deref(), report))?),
        _ => None,
    };
    let opaque = opaque_ports::read(&raw.metadata, report);
    let locality = match spec.traffic_distribution.as_deref() {
        Some("PreferClose" | "PreferSameZone") => Locality::PreferSameZone,
        Some("PreferSameNode") => Locality::PreferSameNode,
        _ => Locality::Anywhere,
    };
    let node_local = spec.internal_traffic_policy.as_deref() == Some("Local");
    let addresses = if external_name.is_some() { Vec::new() } else { required(addresses(&spec, report))? };
    let mut ports = Vec::<ServicePort>::new();
    let field = FieldPath::of(&["spec", "ports"]);
    for (place, raw) in spec.ports.unwrap_or_default().into_iter().enumerate() {
        if !is_tcp(raw.protocol.as_deref()) {
            continue;
        }
        let field = field.index(place);
        let number = required(report.check(field.key("port"), port(raw.port)))?;
        let name: Arc<str> = raw.name.unwrap_or_default().into();
        if ports.iter().any(|other| other.number == number || other.name == name) {
            report.error(field, format!("port {number} {name:?}: another port has the same number or the same name"));
            return Err(Refused);
        }
        let declared = Protocol::of_port(raw.app_protocol.as_deref(), &name, number);
        let protocol = if opaque.contains(&number) { Protocol::Opaque } else { declared };
        ports.push(ServicePort { name, number, protocol });
    }
    Ok(Service { name: name.clone(), addresses, ports, external_name, locality, node_local })
}

/// The cluster IPs, `clusterIP` first. `None` and the empty text stand for none.
fn addresses(spec: &core::ServiceSpec, report: &mut Report) -> Option<Vec<IpAddr>> {
    let first = spec.cluster_ip.iter().map(|text| (FieldPath::of(&["spec", "clusterIP"]), text));
    let field = FieldPath::of(&["spec", "clusterIPs"]);
    let all = spec.cluster_ips.iter().flatten().enumerate().map(|(place, text)| (field.index(place), text));
    let mut addresses = Vec::new();
    for (field, text) in first.chain(all).filter(|(_, text)| !text.is_empty() && text.as_str() != "None") {
        let address = report.check(field, address(text))?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Some(addresses)
}

/// The name outside the mesh. Addresses are refused: they would lead a name of the mesh to, say, a cloud's metadata.
fn external_name(text: Option<&str>, report: &mut Report) -> Option<Arc<str>> {
    let field = FieldPath::of(&["spec", "externalName"]);
    let Some(text) = text else {
        report.error(field, "is missing, and the Service is of type ExternalName");
        return None;
    };
    let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let last = host.rsplit('.').next().unwrap_or_default();
    if !is_dns_subdomain(&host) || last.bytes().all(|byte| byte.is_ascii_digit()) {
        report.error(field, format!("{text:?} is no DNS name"));
        return None;
    }
    Some(host.into())
}

#[cfg(test)]
mod tests;
