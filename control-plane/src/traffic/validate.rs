//! Is a set of weights one that the mesh can follow? All of a request's faults are named at once.

use std::collections::HashSet;

use tonic_types::FieldViolation;
use weft_api::names::is_dns_label;
use weft_api::traffic::Backend;

use super::{MAX_BACKENDS, MAX_WEIGHT, TrafficError};
use crate::mesh::{Mesh, ObjectName, Service, SplitBackend};

/// The name of a Service, checked.
///
/// # Errors
/// [`TrafficError::Invalid`] naming the fields that are not RFC 1123 labels.
pub(super) fn service_name(namespace: &str, service: &str) -> Result<ObjectName, TrafficError> {
    let mut faults = Vec::new();
    for (field, value) in [("namespace", namespace), ("service", service)] {
        if !is_dns_label(value) {
            faults.push(fault(field, not_a_label(value)));
        }
    }
    if faults.is_empty() { Ok(ObjectName::new(namespace, service)) } else { Err(TrafficError::Invalid(faults)) }
}

/// A filter by namespace, checked; empty is all.
///
/// # Errors
/// [`TrafficError::Invalid`] when it is not an RFC 1123 label.
pub(super) fn namespace_filter(namespace: &str) -> Result<(), TrafficError> {
    if namespace.is_empty() || is_dns_label(namespace) {
        return Ok(());
    }
    Err(TrafficError::Invalid(vec![fault("namespace", not_a_label(namespace))]))
}

/// The backends as the mesh knows them, in the request's order.
///
/// # Errors
/// In this order: what is wrong in the request alone, the Service, somebody else's routes, the backends' existence, and
/// what is wrong once they are known (the same backend under two names, a port that it doesn't have).
pub(super) fn backends(
    mesh: &Mesh,
    service: &ObjectName,
    backends: &[Backend],
) -> Result<Vec<SplitBackend>, TrafficError> {
    let faults = faults_in_request(backends);
    if !faults.is_empty() {
        return Err(TrafficError::Invalid(faults));
    }
    let Some(dialled) = mesh.service(&service.namespace, &service.name) else {
        return Err(TrafficError::NoService(service.clone()));
    };
    let routes = mesh.manual_routes(&service.namespace, &service.name);
    if !routes.is_empty() {
        let routes = routes.iter().map(|route| format!("{}/{route}", service.namespace)).collect();
        return Err(TrafficError::ManualRoutes { service: service.clone(), routes });
    }
    let mut found = Vec::with_capacity(backends.len());
    for backend in backends {
        found.push(find(mesh, service, &backend.service)?);
    }
    let faults = faults_in_mesh(dialled, backends, &found);
    if !faults.is_empty() {
        return Err(TrafficError::Invalid(faults));
    }
    let split = |(backend, found): (&Backend, &Service)| SplitBackend {
        service: found.name.name.clone(),
        port: port(backend),
        weight: u32::try_from(backend.weight).unwrap_or_default(),
    };
    Ok(backends.iter().zip(found).map(split).collect())
}

fn faults_in_request(backends: &[Backend]) -> Vec<FieldViolation> {
    if backends.is_empty() {
        let text = "names no backend; to take the split away, delete it".to_owned();
        return vec![fault("backends", text)];
    }
    if backends.len() > MAX_BACKENDS {
        return vec![fault(
            "backends",
            format!("names {} backends, at most {MAX_BACKENDS} are possible", backends.len()),
        )];
    }
    let mut faults = Vec::new();
    for (index, backend) in backends.iter().enumerate() {
        let mut add = |field: &str, text| faults.push(fault(format!("backends[{index}].{field}"), text));
        if !is_dns_label(&backend.service) {
            add("service", not_a_label(&backend.service));
        }
        if !(0..=MAX_WEIGHT).contains(&backend.weight) {
            add("weight", format!("{} is not from 0 to {MAX_WEIGHT}", backend.weight));
        }
        if backend.port > u32::from(u16::MAX) {
            add("port", format!("{} is not from 1 to 65535 (0: the port that was dialled)", backend.port));
        }
    }
    if faults.is_empty() && backends.iter().all(|backend| backend.weight == 0) {
        let text = "all weights are 0, so no request could be answered; give one backend a weight".to_owned();
        faults.push(fault("backends", text));
    }
    faults
}

/// `v2` is a Service `v2`, else `SERVICE-v2`.
fn find<'a>(mesh: &'a Mesh, service: &ObjectName, name: &str) -> Result<&'a Service, TrafficError> {
    let shorthand = format!("{}-{name}", service.name);
    let exact = mesh.service(&service.namespace, name);
    exact
        .or_else(|| mesh.service(&service.namespace, &shorthand))
        .ok_or_else(|| TrafficError::NoBackend(ObjectName::new(service.namespace.clone(), name), shorthand))
}

fn faults_in_mesh(dialled: &Service, backends: &[Backend], found: &[&Service]) -> Vec<FieldViolation> {
    let mut faults = Vec::new();
    let mut seen = HashSet::new();
    for (index, (backend, found)) in backends.iter().zip(found).enumerate() {
        if !seen.insert((&found.name, backend.port)) {
            faults.push(fault(format!("backends[{index}].service"), format!("Service {} is there twice", found.name)));
        }
        match port(backend) {
            Some(number) if found.port(number).is_none() => {
                let text = format!("Service {} has no port {number}; it has {}", found.name, ports(found));
                faults.push(fault(format!("backends[{index}].port"), text));
            }
            None if !dialled.ports.iter().any(|port| found.port(port.number).is_some()) => {
                let text = format!(
                    "Service {} has none of the ports of {} ({}); say with `port` which of {} is meant",
                    found.name,
                    dialled.name,
                    ports(dialled),
                    ports(found),
                );
                faults.push(fault(format!("backends[{index}].service"), text));
            }
            _ => {}
        }
    }
    faults
}

fn port(backend: &Backend) -> Option<u16> {
    u16::try_from(backend.port).ok().filter(|&port| port != 0)
}

fn ports(service: &Service) -> String {
    let ports: Vec<_> = service.ports.iter().map(|port| port.number.to_string()).collect();
    if ports.is_empty() { "none".to_owned() } else { ports.join(", ") }
}

fn not_a_label(value: &str) -> String {
    let shown: String = value.chars().take(80).collect();
    format!("{shown:?} is not a Kubernetes name (1 to 63 of a-z, 0-9 and inner '-')")
}

fn fault(field: impl Into<String>, description: String) -> FieldViolation {
    FieldViolation::new(field, description)
}

#[cfg(test)]
mod tests;
