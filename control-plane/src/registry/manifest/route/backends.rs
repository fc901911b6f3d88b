//! Where a rule sends to.

use weft_api::names::is_dns_label;

use super::{RuleReport, filters, raw};
use crate::mesh::{Backend, ObjectName};
use crate::registry::fault::FieldPath;
use crate::registry::manifest::port;

/// The highest weight of a backend, as the Gateway API has it.
const MAX_WEIGHT: u32 = 1_000_000;

/// The backends of a rule. Whatever is wrong with one of them makes the rule refuse, and so does having none that takes
/// anything.
pub(in crate::registry::manifest) fn read(
    raw: Vec<raw::BackendRef>,
    field: &FieldPath,
    rule: &mut RuleReport<'_>,
) -> Vec<Backend> {
    let written = raw.len();
    let mut backends = Vec::new();
    for (place, raw) in raw.into_iter().enumerate() {
        backends.extend(backend(raw, &field.index(place), rule));
    }
    if backends.len() == written && backends.iter().all(|backend| backend.weight == 0) {
        rule.refuse_silently(field.clone(), "no backend has a weight above 0");
    }
    backends
}

fn backend(mut raw: raw::BackendRef, field: &FieldPath, rule: &mut RuleReport<'_>) -> Option<Backend> {
    let (service, port) = service(&raw, field, rule)?;
    let written = raw.weight.unwrap_or(1);
    let Some(weight) = u32::try_from(written).ok().filter(|&weight| weight <= MAX_WEIGHT) else {
        rule.refuse(field.key("weight"), format!("{written} is not a weight; weights are 0 to {MAX_WEIGHT}"));
        return None;
    };
    let mut backend = Backend::new(service, port, weight);
    filters::of_backend(raw.filters.take().unwrap_or_default(), &mut backend, &field.key("filters"), rule);
    Some(backend)
}

/// The Service's port that a reference names.
pub(super) fn service(
    raw: &raw::BackendRef,
    field: &FieldPath,
    rule: &mut RuleReport<'_>,
) -> Option<(ObjectName, u16)> {
    let (group, kind) = (raw.group.as_deref().unwrap_or_default(), raw.kind.as_deref().unwrap_or("Service"));
    if !matches!(group, "" | "core") || kind != "Service" {
        rule.refuse(field.key("kind"), format!("{kind} of {group:?} is not supported: backends are Services"));
        return None;
    }
    let namespace = raw.namespace.as_deref().unwrap_or(&rule.owner.name.namespace);
    if !is_dns_label(namespace) {
        rule.refuse(field.key("namespace"), format!("{namespace:?} is not the name of a namespace"));
        return None;
    }
    if !is_dns_label(&raw.name) {
        rule.refuse(field.key("name"), format!("{:?} is not the name of a Service", raw.name));
        return None;
    }
    let Some(number) = raw.port else {
        rule.refuse(field.key("port"), "is missing: a Service needs one");
        return None;
    };
    let number = rule.check(field.key("port"), port(number))?;
    Some((ObjectName::new(namespace, raw.name.as_str()), number))
}
