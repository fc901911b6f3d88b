//! The filters of a rule, and of a single backend.

use std::sync::Arc;

use axum::http::uri::PathAndQuery;
use weft_api::names::is_dns_label;

use super::raw::{self, FilterType, PathModifierType};
use super::{RuleReport, backends, headers};
use crate::mesh::{Backend, FaultRef, Mirror, ObjectName, PathEdit, Redirect, RouteFilters, RouteKind};
use crate::registry::fault::FieldPath;
use crate::registry::manifest::{is_dns_subdomain, port};

/// A million: shares are parts of it.
const MILLION: u64 = 1_000_000;

/// What the filters of a rule say.
#[derive(Debug, Default)]
pub(in crate::registry::manifest) struct Filters {
    pub(in crate::registry::manifest) always: RouteFilters,
    pub(in crate::registry::manifest) host: Option<Arc<str>>,
    pub(in crate::registry::manifest) path: Option<PathEdit>,
    pub(in crate::registry::manifest) mirrors: Vec<Mirror>,
    pub(in crate::registry::manifest) redirect: Option<Redirect>,
}

/// Reads the filters of a rule. What is not understood makes the rule refuse.
pub(in crate::registry::manifest) fn of_rule(
    raw: Vec<raw::Filter>,
    field: &FieldPath,
    rule: &mut RuleReport<'_>,
) -> Filters {
    let mut filters = Filters::default();
    let mut seen = Vec::new();
    for (place, raw) in raw.into_iter().enumerate() {
        let field = field.index(place);
        if let Some(raw) = usable(raw, &field, &mut seen, rule) {
            apply(raw, place, &mut filters, &field, rule);
        }
    }
    if filters.redirect.is_some() && (filters.host.is_some() || filters.path.is_some()) {
        rule.refuse(field.clone(), "RequestRedirect and URLRewrite exclude each other");
    }
    filters
}

/// Reads the filters of one backend into it: changes of headers, and another host.
pub(super) fn of_backend(raw: Vec<raw::Filter>, backend: &mut Backend, field: &FieldPath, rule: &mut RuleReport<'_>) {
    let mut seen = Vec::new();
    for (place, raw) in raw.into_iter().enumerate() {
        let field = field.index(place);
        let Some(raw) = usable(raw, &field, &mut seen, rule) else { continue };
        let (kind, key) = raw.r#type.names();
        let field = field.key(key);
        match raw.r#type {
            FilterType::RequestHeaderModifier => {
                let edits = raw.request_header_modifier.map(|raw| headers::edits(raw, &field, rule));
                backend.request_headers = edits.unwrap_or_default();
            }
            FilterType::ResponseHeaderModifier => {
                let edits = raw.response_header_modifier.map(|raw| headers::edits(raw, &field, rule));
                backend.response_headers = edits.unwrap_or_default();
            }
            FilterType::UrlRewrite => {
                let Some(rewrite) = raw.url_rewrite else { continue };
                if rewrite.path.is_some() {
                    rule.refuse(field.key("path"), "is supported for a whole rule, not for one of its backends");
                }
                backend.host = host(rewrite.hostname, &field, rule);
            }
            _ => rule.refuse(field, format!("{kind} is supported for a whole rule, not for one of its backends")),
        }
    }
}

/// The filter, if it is one that the kind of route has, that Weft has, that is there once, and that is written whole.
fn usable(
    raw: raw::Filter,
    field: &FieldPath,
    seen: &mut Vec<FilterType>,
    rule: &mut RuleReport<'_>,
) -> Option<raw::Filter> {
    use FilterType::{Cors, ExtensionRef, ExternalAuth, RequestMirror, RequestRedirect, UrlRewrite};

    let (kind, key) = raw.r#type.names();
    if matches!(raw.r#type, Cors | ExternalAuth) {
        rule.refuse(field.key(key), format!("{kind} is not supported"));
        return None;
    }
    if rule.owner.kind == RouteKind::Grpc && matches!(raw.r#type, RequestRedirect | UrlRewrite) {
        rule.refuse(field.key("type"), format!("{kind} is no filter of a GRPCRoute"));
        return None;
    }
    if seen.contains(&raw.r#type) && raw.r#type != RequestMirror {
        rule.refuse(field.key("type"), format!("{kind} is there twice"));
        return None;
    }
    seen.push(raw.r#type);
    let written = [
        (FilterType::RequestHeaderModifier, raw.request_header_modifier.is_some()),
        (FilterType::ResponseHeaderModifier, raw.response_header_modifier.is_some()),
        (RequestMirror, raw.request_mirror.is_some()),
        (RequestRedirect, raw.request_redirect.is_some()),
        (UrlRewrite, raw.url_rewrite.is_some()),
        (ExtensionRef, raw.extension_ref.is_some()),
        (Cors, raw.cors.is_some()),
        (ExternalAuth, raw.external_auth.is_some()),
    ];
    for (other, written) in written {
        if written != (other == raw.r#type) {
            let (name, key) = other.names();
            let what = if written { "is of another type than the filter" } else { "is missing" };
            rule.refuse(field.key(key), format!("{what}: the type is {kind}, this is for {name}"));
            return None;
        }
    }
    Some(raw)
}

fn apply(raw: raw::Filter, place: usize, to: &mut Filters, field: &FieldPath, rule: &mut RuleReport<'_>) {
    let field = field.key(raw.r#type.names().1);
    if let Some(raw) = raw.request_header_modifier {
        to.always.request_headers = headers::edits(raw, &field, rule);
    }
    if let Some(raw) = raw.response_header_modifier {
        to.always.response_headers = headers::edits(raw, &field, rule);
    }
    if let Some(raw) = raw.request_mirror {
        to.mirrors.extend(mirror(raw, place, &field, rule));
    }
    if let Some(raw) = raw.request_redirect {
        to.redirect = redirect(raw, &field, rule);
    }
    if let Some(raw) = raw.url_rewrite {
        to.host = host(raw.hostname, &field, rule);
        to.path = raw.path.and_then(|raw| path(raw, &field.key("path"), rule));
    }
    if let Some(raw) = raw.extension_ref {
        to.always.fault = extension(raw, place, &field, rule);
    }
}

fn mirror(raw: raw::RequestMirror, filter: usize, field: &FieldPath, rule: &mut RuleReport<'_>) -> Option<Mirror> {
    let (service, port) = backends::service(&raw.backend_ref, &field.key("backendRef"), rule)?;
    let per_million = match (raw.percent, raw.fraction) {
        (Some(_), Some(_)) => {
            rule.refuse(field.key("fraction"), "and percent exclude each other");
            return None;
        }
        (Some(percent), None) => rule.check(field.key("percent"), share(percent, 100))?,
        (None, Some(fraction)) => {
            let shared = share(fraction.numerator, fraction.denominator.unwrap_or(100));
            rule.check(field.key("fraction"), shared)?
        }
        (None, None) => share(100, 100).ok()?,
    };
    Some(Mirror { filter, service, port, per_million })
}

/// A share of a million, to the nearest.
fn share(numerator: i64, denominator: i64) -> Result<u32, String> {
    let problem = || format!("{numerator} of {denominator} is no share from nothing to all");
    let (above, below) = (u64::try_from(numerator), u64::try_from(denominator));
    let (Ok(above), Ok(below)) = (above, below) else { return Err(problem()) };
    if below == 0 || above > below || below > u64::from(u32::MAX) {
        return Err(problem());
    }
    u32::try_from((above * MILLION + below / 2) / below).map_err(|_| problem())
}

fn redirect(raw: raw::RequestRedirect, field: &FieldPath, rule: &mut RuleReport<'_>) -> Option<Redirect> {
    if let Some(scheme) = raw.scheme.as_deref().filter(|scheme| !matches!(*scheme, "http" | "https")) {
        rule.refuse(field.key("scheme"), format!("{scheme:?} is not one of http, https"));
    }
    let status = raw.status_code.unwrap_or(302);
    let Some(status) = [301, 302, 303, 307, 308].into_iter().find(|known| i64::from(*known) == status) else {
        rule.refuse(field.key("statusCode"), format!("{status} is not one of 301, 302, 303, 307, 308"));
        return None;
    };
    Some(Redirect {
        scheme: raw.scheme.map(Arc::from),
        host: host(raw.hostname, field, rule),
        port: raw.port.and_then(|number| rule.check(field.key("port"), port(number))),
        path: raw.path.and_then(|raw| path(raw, &field.key("path"), rule)),
        status,
    })
}

fn host(text: Option<String>, field: &FieldPath, rule: &mut RuleReport<'_>) -> Option<Arc<str>> {
    let text = text?;
    if !is_dns_subdomain(&text.to_ascii_lowercase()) {
        rule.refuse(field.key("hostname"), format!("{text:?} is no host name (RFC 1123, without a port)"));
        return None;
    }
    Some(text.into())
}

fn path(raw: raw::PathModifier, field: &FieldPath, rule: &mut RuleReport<'_>) -> Option<PathEdit> {
    let (key, other, written, excluded) = match raw.r#type {
        PathModifierType::ReplaceFullPath => {
            ("replaceFullPath", "replacePrefixMatch", raw.replace_full_path, raw.replace_prefix_match)
        }
        PathModifierType::ReplacePrefixMatch => {
            ("replacePrefixMatch", "replaceFullPath", raw.replace_prefix_match, raw.replace_full_path)
        }
    };
    if excluded.is_some() {
        rule.refuse(field.key(other), format!("is of another type: type asks for {key}"));
        return None;
    }
    let Some(text) = written else {
        rule.refuse(field.key(key), "is missing: type asks for it");
        return None;
    };
    let whole = raw.r#type == PathModifierType::ReplaceFullPath;
    let usable = !text.contains(['?', '#']) && PathAndQuery::try_from(text.as_str()).is_ok() && text.starts_with('/');
    // An empty text in place of a prefix takes the prefix away.
    if !usable && (whole || !text.is_empty()) {
        rule.refuse(
            field.key(key),
            format!("{text:?} is no path: it begins with '/' and has no '?', '#', '<', '>' or space"),
        );
        return None;
    }
    Some(if whole { PathEdit::Full(text.into()) } else { PathEdit::Prefix(text.into()) })
}

fn extension(raw: raw::ExtensionRef, filter: usize, field: &FieldPath, rule: &mut RuleReport<'_>) -> Option<FaultRef> {
    if raw.group != "weft.dev" || raw.kind != "FaultInjection" {
        let known = "the one extension is FaultInjection of weft.dev";
        rule.refuse(field.key("kind"), format!("{} of {:?} is not supported; {known}", raw.kind, raw.group));
        return None;
    }
    if !is_dns_subdomain(&raw.name) || !is_dns_label(&rule.owner.name.namespace) {
        rule.refuse(field.key("name"), format!("{:?} is not the name of a FaultInjection", raw.name));
        return None;
    }
    Some(FaultRef { filter, name: ObjectName::new(rule.owner.name.namespace.clone(), raw.name) })
}
