//! Is a set of weights one that the mesh can follow? All of a request's faults are named at once.

use std::collections::HashSet;
use std::time::Duration;

use tonic_types::FieldViolation;
use weft_api::names::is_dns_label;
use weft_api::traffic::{Backend, StartShiftRequest};

use super::shift::plan::{DEFAULT_INTERVAL, DEFAULT_MIN_REQUESTS, DEFAULT_STEPS};
use super::shift::{Limits, Plan};
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

/// How long a step can be watched.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);

/// What a request asks a shift to do, where the Service has this split now.
///
/// # Errors
/// As of [`backends`], and when nobody has traffic to give away.
pub(super) fn shift(
    mesh: &Mesh,
    before: Option<&[SplitBackend]>,
    request: &StartShiftRequest,
) -> Result<Plan, TrafficError> {
    let mut faults = Vec::new();
    let mut take = |field: &str, text| faults.push(fault(field, text));
    let steps = steps(&request.steps).unwrap_or_else(|text| {
        take("steps", text);
        Vec::new()
    });
    let interval = interval(&request.interval).unwrap_or_else(|text| {
        take("interval", text);
        DEFAULT_INTERVAL
    });
    let limits = match request.abort_if.as_str() {
        "" => Ok(Limits::default()),
        text => text.parse::<Limits>(),
    };
    let limits = limits.unwrap_or_else(|text| {
        take("abort_if", text);
        Limits::default()
    });
    let min_requests = request.min_requests.unwrap_or(DEFAULT_MIN_REQUESTS);
    if min_requests == 0 {
        take("min_requests", "is 0, and nothing can't be judged; from 1".to_owned());
    }
    let service = match service_name(&request.namespace, &request.service) {
        Ok(service) if faults.is_empty() => service,
        Ok(_) => return Err(TrafficError::Invalid(faults)),
        Err(TrafficError::Invalid(more)) => return Err(TrafficError::Invalid([more, faults].concat())),
        Err(error) => return Err(error),
    };
    let to = Backend { service: request.to.clone(), port: request.port, weight: 1 };
    let target = backends(mesh, &service, &[to]).map_err(of_target)?;
    let Some(SplitBackend { service: to, port, .. }) = target.into_iter().next() else {
        return Err(TrafficError::NoBackend(service, request.to.clone()));
    };
    let before = before.map(<[_]>::to_vec);
    let plan = Plan { service, to, port, steps, interval, limits, min_requests, before };
    if plan.others().is_empty() {
        return Err(TrafficError::Everything { service: plan.service, to: plan.to.to_string() });
    }
    Ok(plan)
}

/// The one backend of a shift is not one of a list.
fn of_target(error: TrafficError) -> TrafficError {
    let TrafficError::Invalid(mut faults) = error else { return error };
    for fault in &mut faults {
        fault.field = match fault.field.as_str() {
            "backends[0].port" => "port".to_owned(),
            _ => "to".to_owned(),
        };
    }
    TrafficError::Invalid(faults)
}

fn steps(steps: &[u32]) -> Result<Vec<u32>, String> {
    if steps.is_empty() {
        return Ok(DEFAULT_STEPS.to_vec());
    }
    let shown = || steps.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    if steps.len() > 100 || steps.iter().any(|step| !(1..=100).contains(step)) {
        let shown: String = shown().chars().take(80).collect();
        return Err(format!("{shown} are not all percentages from 1 to 100"));
    }
    if steps.is_sorted_by(|a, b| a < b) { Ok(steps.to_vec()) } else { Err(format!("{} do not rise", shown())) }
}

fn interval(text: &str) -> Result<Duration, String> {
    if text.is_empty() {
        return Ok(DEFAULT_INTERVAL);
    }
    let shown: String = text.chars().take(40).collect();
    let interval = humantime::parse_duration(text)
        .map_err(|error| format!("{shown:?} is not a duration ({error}); expected such as 1m or 500ms"))?;
    if !INTERVALS.contains(&interval) {
        return Err(format!("{shown:?} is not from 100ms to 24h"));
    }
    Ok(interval)
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
