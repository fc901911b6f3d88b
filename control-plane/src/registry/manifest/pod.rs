//! `v1` Pod.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Origin, Refused, address, is_dns_subdomain, is_tcp, opaque_ports, port, required};
use crate::mesh::{Mtls, ObjectName, Pod, PodPort, Protocol};
use crate::registry::fault::{FieldPath, Report};

/// The label or annotation that gives a pod a sidecar.
const INJECT: &str = "weft.dev/inject";
/// The container that is the sidecar.
const PROXY: &str = "weft-proxy";
/// The annotation that says what a pod does with plaintext.
const MTLS: &str = "weft.dev/mtls";
/// The label that has the zone of a node, and from 1.35 on of its pods: Kubernetes sets it.
pub(super) const ZONE: &str = "topology.kubernetes.io/zone";

pub(super) fn read(name: &ObjectName, origin: Origin, raw: core::Pod, report: &mut Report) -> Result<Pod, Refused> {
    let spec = raw.spec.unwrap_or_default();
    let service_account = service_account(spec.service_account_name.as_deref(), report)?;
    let status = raw.status.unwrap_or_default();
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    // Such a pod has its node's address, or had one that may be another pod's by now.
    let shared = ended || spec.host_network.unwrap_or(false);
    let addresses = if shared { Vec::new() } else { required(addresses(&status, report))? };
    Ok(Pod {
        name: name.clone(),
        service_account,
        addresses,
        workload: workload(name, &raw.metadata),
        injected: match origin {
            Origin::Files => has_proxy(&spec) || injected(&raw.metadata, report),
            Origin::Cluster => has_proxy(&spec),
        },
        mtls: mtls(&raw.metadata, report),
        ports: ports(&spec, opaque_ports::read(&raw.metadata, report), report)?,
        zone: raw.metadata.labels.as_ref().and_then(|labels| labels.get(ZONE)).map_or("", String::as_str).into(),
        node: spec.node_name.as_deref().unwrap_or_default().into(),
        uid: raw.metadata.uid.as_deref().unwrap_or_default().into(),
        created: raw.metadata.creation_timestamp.map_or(0, |time| time.0.as_second()),
    })
}

fn service_account(name: Option<&str>, report: &mut Report) -> Result<Arc<str>, Refused> {
    let name = name.filter(|name| !name.is_empty()).unwrap_or("default");
    if !is_dns_subdomain(name) {
        report.error(FieldPath::of(&["spec", "serviceAccountName"]), format!("{name:?} is no RFC 1123 name"));
        return Err(Refused);
    }
    Ok(name.into())
}

fn addresses(status: &core::PodStatus, report: &mut Report) -> Option<Vec<IpAddr>> {
    let first = status.pod_ip.iter().map(|text| (FieldPath::of(&["status", "podIP"]), text));
    let field = FieldPath::of(&["status", "podIPs"]);
    let all = status.pod_ips.iter().flatten().enumerate();
    let all = all.map(|(place, entry)| (field.index(place).key("ip"), &entry.ip));
    let mut addresses = Vec::new();
    for (field, text) in first.chain(all).filter(|(_, text)| !text.is_empty()) {
        let address = report.check(field, address(text))?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Some(addresses)
}

/// The recommended label, else the usual one, else the name of what made the pod, else the pod's own.
fn workload(name: &ObjectName, metadata: &ObjectMeta) -> Arc<str> {
    let label = |key| metadata.labels.as_ref().and_then(|labels| labels.get(key)).filter(|text| !text.is_empty());
    if let Some(label) = label("app.kubernetes.io/name").or_else(|| label("app")) {
        return label.as_str().into();
    }
    let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller.unwrap_or(false));
    let Some(owner) = owner else { return name.name.clone() };
    // A Deployment's ReplicaSet has the Deployment's name and a hash behind it, which the pod has as a label.
    let hash = label("pod-template-hash").filter(|_| owner.kind == "ReplicaSet");
    let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
    deployment.unwrap_or(&owner.name).into()
}

/// Whether the sidecar is among the containers: asking for one is not having one.
fn has_proxy(spec: &core::PodSpec) -> bool {
    spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(|container| container.name == PROXY)
}

fn injected(metadata: &ObjectMeta, report: &mut Report) -> bool {
    let text = |map: &Option<BTreeMap<String, String>>| map.as_ref().and_then(|map| map.get(INJECT)).cloned();
    let found = [("labels", text(&metadata.labels)), ("annotations", text(&metadata.annotations))];
    for (place, value) in found {
        match value.as_deref() {
            None => {}
            Some("enabled") => return true,
            Some("disabled") => return false,
            Some(other) => {
                let message = format!("{other:?} is not one of enabled, disabled; the pod counts as without a sidecar");
                report.error(FieldPath::of(&["metadata", place, INJECT]), message);
            }
        }
    }
    false
}

/// What cannot be understood is strict: the safe side.
fn mtls(metadata: &ObjectMeta, report: &mut Report) -> Option<Mtls> {
    let text = metadata.annotations.as_ref()?.get(MTLS)?;
    Some(text.parse().unwrap_or_else(|error| {
        report.error(FieldPath::of(&["metadata", "annotations", MTLS]), format!("{error}; the pod is strict"));
        Mtls::Strict
    }))
}

/// The ports of all containers that run beside each other, native sidecars among them, and those that the pod declares
/// opaque.
fn ports(spec: &core::PodSpec, opaque: BTreeSet<u16>, report: &mut Report) -> Result<Vec<PodPort>, Refused> {
    let sidecar = |container: &core::Container| container.restart_policy.as_deref() == Some("Always");
    let containers = spec.containers.iter().enumerate().map(|(place, container)| ("containers", place, container));
    let sidecars = spec.init_containers.iter().flatten().enumerate().filter(|(_, container)| sidecar(container));
    let sidecars = sidecars.map(|(place, container)| ("initContainers", place, container));
    let mut ports = BTreeMap::<u16, Protocol>::new();
    for (list, place, container) in containers.chain(sidecars) {
        let field = FieldPath::of(&["spec", list]).index(place).key("ports");
        for (place, raw) in container.ports.iter().flatten().enumerate() {
            let number = required(report.check(field.index(place).key("containerPort"), port(raw.container_port)))?;
            if is_tcp(raw.protocol.as_deref()) {
                let name = raw.name.as_deref().unwrap_or_default();
                ports.entry(number).or_insert_with(|| Protocol::of_port(None, name, number));
            }
        }
    }
    ports.extend(opaque.into_iter().map(|number| (number, Protocol::Opaque)));
    Ok(ports.into_iter().map(|(number, protocol)| PodPort { number, protocol }).collect())
}

#[cfg(test)]
mod tests;
