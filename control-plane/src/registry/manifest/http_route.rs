//! `gateway.networking.k8s.io/v1` HTTPRoute with Services as parents (the Gateway API's mesh profile).
//!
//! A condition that cannot be understood makes the whole HTTPRoute unusable: nobody knows which requests it meant. What a
//! rule asks for and Weft cannot do makes that rule answer 500, as the Gateway API has it: no request goes silently to
//! another backend than the one that was meant.

use std::sync::Arc;
use std::time::Duration;

use gateway_api::httproutes::{
    HttpRoute as RawHttpRoute, HttpRouteParentRefs as RawParent, HttpRouteRules as RawRule,
    HttpRouteRulesBackendRefs as RawBackend, HttpRouteRulesTimeouts as RawTimeouts,
};
use weft_api::names::is_dns_label;

use super::{Refused, port, required};
use crate::mesh::{Backend, HttpRoute, ObjectName, ParentRef, PathMatch, RouteAction, RouteMatch, RouteRule};
use crate::registry::fault::{FieldPath, Report, Step};

mod conditions;
mod unknown;

pub(super) use unknown::unknown_fields;

/// The highest weight of a backend, as the Gateway API has it.
const MAX_WEIGHT: u32 = 1_000_000;

/// `unknown` are the fields of the manifest that HTTPRoutes, as the standard channel has them, don't have.
pub(super) fn read(
    name: &ObjectName,
    raw: RawHttpRoute,
    unknown: &[FieldPath],
    report: &mut Report,
) -> Result<HttpRoute, Refused> {
    let field = FieldPath::of(&["spec", "parentRefs"]);
    let mut parents = Vec::new();
    for (place, raw) in raw.spec.parent_refs.unwrap_or_default().into_iter().enumerate() {
        parents.extend(parent(name, raw, &field.index(place), report)?);
    }
    if raw.spec.hostnames.is_some_and(|hostnames| !hostnames.is_empty()) && !parents.is_empty() {
        let message = "has no meaning with a Service as parent: routing is by the address that was dialled";
        report.warning(FieldPath::of(&["spec", "hostnames"]), message);
    }
    let field = FieldPath::of(&["spec", "rules"]);
    let mut rules = Vec::new();
    for (place, raw) in raw.spec.rules.unwrap_or_default().into_iter().enumerate() {
        let field = field.index(place);
        let known = report_unknown(&field, unknown, report)?;
        rules.push(rule(name, place, raw, known, &field, report)?);
    }
    for field in unknown.iter().filter(|field| !matches!(field.steps().get(1), Some(Step::Key(key)) if key == "rules"))
    {
        report.error(field.clone(), "is no field of the HTTPRoute's standard channel, and has no effect");
    }
    let created = raw.metadata.creation_timestamp.map_or(i64::MAX, |time| time.0.as_second());
    Ok(HttpRoute { name: name.clone(), created, parents, rules })
}

/// Reports the fields within a rule that nobody knows; whether there was none.
fn report_unknown(rule: &FieldPath, unknown: &[FieldPath], report: &mut Report) -> Result<bool, Refused> {
    let conditions = rule.key("matches");
    let mut known = true;
    for field in unknown.iter().filter(|field| field.steps().starts_with(rule.steps())) {
        known = false;
        let message = "is no field of the HTTPRoute's standard channel";
        if field.steps().starts_with(conditions.steps()) {
            report.error(field.clone(), message);
            return Err(Refused);
        }
        report.error(field.clone(), format!("{message}; the rule answers 500"));
    }
    Ok(known)
}

/// The Service that a parentRef names; `None`: it is somebody else's, or not supported.
fn parent(
    route: &ObjectName,
    raw: RawParent,
    field: &FieldPath,
    report: &mut Report,
) -> Result<Option<ParentRef>, Refused> {
    // The Gateway API's default is a Gateway, which is no business of the mesh.
    if raw.kind.as_deref() != Some("Service") || !matches!(raw.group.as_deref(), Some("" | "core")) {
        return Ok(None);
    }
    if !is_dns_label(&raw.name) {
        report.error(field.key("name"), format!("{:?} is not the name of a Service", raw.name));
        return Err(Refused);
    }
    let number = raw.port.map(|number| required(report.check(field.key("port"), port(number)))).transpose()?;
    let namespace = raw.namespace.as_deref().unwrap_or(&route.namespace);
    if namespace != route.namespace.as_ref() {
        let message = format!(
            "{namespace:?} is not the HTTPRoute's own namespace; routes for the clients of one namespace alone (consumer \
             routes) are not supported, and the parent is left out"
        );
        report.error(field.key("namespace"), message);
        return Ok(None);
    }
    let service = ObjectName::new(route.namespace.clone(), raw.name);
    Ok(Some(ParentRef { service, port: number, section: raw.section_name.map(Arc::from) }))
}

fn rule(
    route: &ObjectName,
    place: usize,
    raw: RawRule,
    known: bool,
    field: &FieldPath,
    report: &mut Report,
) -> Result<RouteRule, Refused> {
    let name = raw.name.map_or_else(|| place.to_string().into(), Arc::from);
    let mut matches = Vec::new();
    for (place, raw) in raw.matches.unwrap_or_default().into_iter().enumerate() {
        matches.push(conditions::read(raw, &field.key("matches").index(place), report)?);
    }
    if matches.is_empty() {
        let path = PathMatch::Prefix("/".into());
        matches.push(RouteMatch { path, method: None, headers: Vec::new(), query: Vec::new() });
    }
    let filters = unsupported_filters(raw.filters.map_or(0, |filters| filters.len()), field, report);
    let backends = backends(route, raw.backend_refs.unwrap_or_default(), &field.key("backendRefs"), report);
    let timeout = timeout(raw.timeouts.unwrap_or_default(), &field.key("timeouts"), report);
    let action = match (backends, timeout) {
        (Some(backends), Some(timeout)) if known && filters.is_some() => RouteAction::Forward { backends, timeout },
        _ => RouteAction::Refuse,
    };
    Ok(RouteRule { name, matches, action })
}

fn unsupported_filters(count: usize, field: &FieldPath, report: &mut Report) -> Option<()> {
    if count == 0 {
        return Some(());
    }
    report.error(field.key("filters"), "filters are not supported; the rule answers 500");
    None
}

/// `None`: one of them is not valid, or there is none that takes anything.
fn backends(route: &ObjectName, raw: Vec<RawBackend>, field: &FieldPath, report: &mut Report) -> Option<Vec<Backend>> {
    let mut backends = Some(Vec::new());
    for (place, raw) in raw.into_iter().enumerate() {
        let field = field.index(place);
        let backend = backend(route, raw, &field, report);
        backends = backends.zip(backend).map(|(mut backends, backend)| {
            backends.push(backend);
            backends
        });
    }
    let backends = backends?;
    if backends.iter().all(|backend| backend.weight == 0) {
        report.warning(field.clone(), "no backend has a weight above 0: the rule answers 500");
        return None;
    }
    Some(backends)
}

fn backend(route: &ObjectName, raw: RawBackend, field: &FieldPath, report: &mut Report) -> Option<Backend> {
    let (group, kind) = (raw.group.as_deref().unwrap_or_default(), raw.kind.as_deref().unwrap_or("Service"));
    let refuse = |report: &mut Report, key: &str, message: String| {
        report.error(field.key(key), format!("{message}; the rule answers 500"));
        None
    };
    if !matches!(group, "" | "core") || kind != "Service" {
        return refuse(report, "kind", format!("{kind} of {group:?} is not supported: backends are Services"));
    }
    let namespace = raw.namespace.as_deref().unwrap_or(&route.namespace);
    if namespace != route.namespace.as_ref() {
        let why = "needs a ReferenceGrant, which is not supported";
        return refuse(report, "namespace", format!("{namespace:?} is not the HTTPRoute's own namespace and {why}"));
    }
    if !is_dns_label(&raw.name) {
        return refuse(report, "name", format!("{:?} is not the name of a Service", raw.name));
    }
    let Some(number) = raw.port else { return refuse(report, "port", "is missing: a Service needs one".to_owned()) };
    let number = match port(number) {
        Ok(number) => number,
        Err(message) => return refuse(report, "port", message),
    };
    let written = raw.weight.unwrap_or(1);
    let Some(weight) = u32::try_from(written).ok().filter(|&weight| weight <= MAX_WEIGHT) else {
        return refuse(report, "weight", format!("{written} is not a weight; weights are 0 to {MAX_WEIGHT}"));
    };
    if raw.filters.is_some_and(|filters| !filters.is_empty()) {
        return refuse(report, "filters", "filters are not supported".to_owned());
    }
    Some(Backend { service: ObjectName::new(route.namespace.clone(), raw.name), port: number, weight })
}

/// The shorter of the two: a request is sent again only when it never reached a backend, so that the time for one
/// attempt that did is the time for all.
fn timeout(raw: RawTimeouts, field: &FieldPath, report: &mut Report) -> Option<Duration> {
    let mut one = |key: &str, text: Option<String>| -> Option<Option<Duration>> {
        let Some(text) = text else { return Some(None) };
        let parsed = text.parse::<gateway_api::Duration>();
        let problem = |_| format!("{text:?} is no duration such as 500ms, 10s or 1m30s; the rule answers 500");
        let parsed = report.check(field.key(key), parsed.map_err(problem))?;
        let duration = Duration::new(parsed.as_secs(), parsed.subsec_nanos());
        Some(Some(duration).filter(|duration| !duration.is_zero()))
    };
    let (request, attempt) = (one("request", raw.request)?, one("backendRequest", raw.backend_request)?);
    if let (Some(request), Some(attempt)) = (request, attempt)
        && attempt > request
    {
        let message = format!("{attempt:?} is longer than timeouts.request, {request:?}; the rule answers 500");
        report.error(field.key("backendRequest"), message);
        return None;
    }
    Some(attempt.or(request).unwrap_or_default())
}

#[cfg(test)]
mod tests;
