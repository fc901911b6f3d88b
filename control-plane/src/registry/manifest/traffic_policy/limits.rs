//! `rateLimit`: what the called pod lets through, by itself and after asking a service.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use weft_api::names::is_dns_label;

use super::fields::{DAY, Fields, MILLISECOND};
use super::raw;
use crate::mesh::{GlobalLimit, LimitKey, LocalLimit, ObjectName};
use crate::registry::fault::FieldPath;
use crate::registry::manifest::route::{conditions, headers};

/// The shortest time in which tokens come, as Envoy has it.
const MIN_PER: Duration = Duration::from_millis(50);

pub(super) fn local(raw: Vec<raw::LocalLimit>, field: &FieldPath, fields: &mut Fields<'_>) -> Vec<LocalLimit> {
    let mut limits = Vec::new();
    let mut names = BTreeSet::new();
    for (place, raw) in raw.into_iter().enumerate() {
        let field = field.index(place);
        if !is_dns_label(&raw.name) {
            fields.error(
                field.key("name"),
                format!("{:?} is no RFC 1123 label: 1 to 63 of a-z, 0-9 and inner '-'", raw.name),
            );
        } else if !names.insert(raw.name.clone()) {
            fields.error(field.key("name"), format!("{:?} is the name of another limit", raw.name));
        }
        limits.extend(limit(raw, &field, fields));
    }
    limits
}

fn limit(raw: raw::LocalLimit, field: &FieldPath, fields: &mut Fields<'_>) -> Option<LocalLimit> {
    let requests = fields.required(field.key("requests"), raw.requests);
    let requests = fields.number(field.key("requests"), requests, 1..=u32::MAX);
    let per = fields.required(field.key("per"), raw.per);
    let per = fields.duration(field.key("per"), per.as_deref(), MIN_PER..=DAY);
    let burst = fields.number(field.key("burst"), raw.burst, 1..=u32::MAX);
    let mut by = Vec::new();
    for (place, raw) in raw.by.unwrap_or_default().into_iter().enumerate() {
        let written = (raw.header, raw.peer, raw.path, raw.method);
        by.extend(key(written, None, &field.key("by").index(place), fields));
    }
    let condition = match raw.r#match {
        None => None,
        Some(raw) => {
            let field = field.key("match");
            if raw.query_params.as_ref().is_some_and(|query| !query.is_empty()) {
                fields.error(field.key("queryParams"), "is not supported for rate limits");
            }
            Some(conditions::http(raw, &field, fields.report).ok()?)
        }
    };
    let requests = requests?;
    Some(LocalLimit { name: raw.name.into(), requests, per: per?, burst: burst.unwrap_or(requests), by, condition })
}

type Written = (Option<String>, Option<bool>, Option<bool>, Option<bool>);

/// What of a request is meant: exactly one.
fn key(written: Written, value: Option<String>, field: &FieldPath, fields: &mut Fields<'_>) -> Option<LimitKey> {
    match (written, value) {
        ((Some(name), None, None, None), None) => {
            fields.report.check(field.key("header"), headers::name(&name)).map(LimitKey::Header)
        }
        ((None, Some(true), None, None), None) => Some(LimitKey::Peer),
        ((None, None, Some(true), None), None) => Some(LimitKey::Path),
        ((None, None, None, Some(true)), None) => Some(LimitKey::Method),
        ((None, None, None, None), Some(value)) if !value.is_empty() => Some(LimitKey::Value(value.into())),
        _ => {
            fields.error(field.clone(), "is not exactly one of header, peer: true, path: true, method: true, value");
            None
        }
    }
}

pub(super) fn global(
    policy: &ObjectName,
    raw: raw::GlobalLimit,
    field: &FieldPath,
    fields: &mut Fields<'_>,
) -> Option<GlobalLimit> {
    let service = fields.required(field.key("service"), raw.service);
    let service = service.and_then(|raw| service_port(policy, &raw, &field.key("service"), fields));
    if raw.domain.is_empty() {
        fields.error(field.key("domain"), "is missing: the rate limit service has its limits by it");
    }
    let timeout = fields.duration(field.key("timeout"), raw.timeout.as_deref(), MILLISECOND..=Duration::from_secs(60));
    if raw.descriptors.is_empty() || raw.descriptors.iter().any(Vec::is_empty) {
        fields.error(field.key("descriptors"), "is empty, or one of them is: there is nothing to ask about");
    }
    let mut descriptors = Vec::new();
    for (place, raw) in raw.descriptors.into_iter().enumerate() {
        let field = field.key("descriptors").index(place);
        let mut entries = Vec::<(Arc<str>, LimitKey)>::new();
        for (place, raw) in raw.into_iter().enumerate() {
            let field = field.index(place);
            if raw.key.is_empty() {
                fields.error(field.key("key"), "is missing");
            }
            let written = (raw.header, raw.peer, raw.path, raw.method);
            entries.extend(key(written, raw.value, &field, fields).map(|value| (raw.key.into(), value)));
        }
        descriptors.push(entries);
    }
    let (service, port) = service?;
    Some(GlobalLimit {
        service,
        port,
        domain: raw.domain.into(),
        timeout: timeout.unwrap_or(Duration::from_millis(20)),
        fail_open: raw.fail_open.unwrap_or(true),
        descriptors,
    })
}

fn service_port(
    policy: &ObjectName,
    raw: &raw::ServiceRef,
    field: &FieldPath,
    fields: &mut Fields<'_>,
) -> Option<(ObjectName, u16)> {
    let namespace = raw.namespace.as_deref().unwrap_or(&policy.namespace);
    for (key, text) in [("name", raw.name.as_str()), ("namespace", namespace)] {
        if !is_dns_label(text) {
            fields.error(field.key(key), format!("{text:?} is no RFC 1123 label"));
        }
    }
    let port = fields.required(field.key("port"), raw.port);
    let port = fields.number(field.key("port"), port, 1..=u16::MAX)?;
    Some((ObjectName::new(namespace, raw.name.as_str()), port))
}
