//! What a request must be for a rule to have it. Reading stops at the first condition that is not understood.

use std::sync::Arc;

use regex::RegexBuilder;

use super::headers;
use super::raw::{GrpcMatch, HttpMatch, PathMatch as RawPath, PathMatchType, ValueMatch, ValueMatchType};
use crate::mesh::{GrpcMethod, PathMatch, RouteMatch, TextMatch};
use crate::registry::fault::{FieldPath, Report};
use crate::registry::manifest::{Refused, required};

/// The most memory that a compiled regular expression may take, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;
/// What the Gateway API forbids in a path: a path that means another one.
const CONFUSING: [&str; 7] = ["//", "/./", "/../", "%2f", "%2F", "#", "?"];

/// The conditions of an HTTPRoute's rule.
pub(in crate::registry::manifest) fn http(
    raw: HttpMatch,
    field: &FieldPath,
    report: &mut Report,
) -> Result<RouteMatch, Refused> {
    let path = match raw.path {
        Some(raw) => required(path(raw, &field.key("path"), report))?,
        None => RouteMatch::all().path,
    };
    let headers = headers_of(raw.headers, &field.key("headers"), report)?;
    let mut query = Vec::new();
    for (place, raw) in raw.query_params.unwrap_or_default().into_iter().enumerate() {
        let field = field.key("queryParams").index(place);
        if raw.name.is_empty() {
            report.error(field.key("name"), "is empty");
            return Err(Refused);
        }
        let name = raw.name.as_str().into();
        let value = required(text(raw, &field.key("value"), report))?;
        add_once(&mut query, name, value, &field, report);
    }
    let method = raw.method.map(|method| method.name().into());
    Ok(RouteMatch { path, method, headers, query, grpc: None })
}

/// The conditions of a GRPCRoute's rule: the path of a method is `/SERVICE/METHOD`.
pub(in crate::registry::manifest) fn grpc(
    raw: GrpcMatch,
    field: &FieldPath,
    report: &mut Report,
) -> Result<RouteMatch, Refused> {
    let headers = headers_of(raw.headers, &field.key("headers"), report)?;
    let field = field.key("method");
    let Some(raw) = raw.method else {
        return Ok(RouteMatch { headers, grpc: Some(GrpcMethod::default()), ..RouteMatch::all() });
    };
    let exact = raw.r#type != Some(ValueMatchType::RegularExpression);
    let (service, method) = (raw.service.unwrap_or_default(), raw.method.unwrap_or_default());
    if service.is_empty() && method.is_empty() {
        report.error(field, "has neither service nor method");
        return Err(Refused);
    }
    for (key, text) in [("service", &service), ("method", &method)] {
        let read = if exact { grpc_name(text) } else { regex(text) };
        required(report.check(field.key(key), read))?;
    }
    let path = match (exact, service.is_empty(), method.is_empty()) {
        (true, false, false) => PathMatch::Exact(format!("/{service}/{method}").into()),
        (true, false, true) => PathMatch::Prefix(format!("/{service}").into()),
        (true, true, _) => PathMatch::Regex(format!("/[^/]+/{}", regex::escape(&method)).into()),
        (false, ..) => PathMatch::Regex(format!("/{}/{}", any_unless(&service), any_unless(&method)).into()),
    };
    let written = GrpcMethod { exact, service: service.len(), method: method.len() };
    Ok(RouteMatch { path, headers, grpc: Some(written), ..RouteMatch::all() })
}

/// A part of a path by a regular expression, or any.
fn any_unless(pattern: &str) -> String {
    if pattern.is_empty() { "[^/]+".to_owned() } else { format!("(?:{pattern})") }
}

/// The name of a gRPC service or method; empty: any.
fn grpc_name(text: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    match text.bytes().all(allowed) {
        true => Ok(()),
        false => Err(format!("{text:?} is not the name of a gRPC service or method")),
    }
}

/// Conditions on headers, by type Exact or RegularExpression.
pub(in crate::registry::manifest) fn headers_of(
    raw: Option<Vec<ValueMatch>>,
    field: &FieldPath,
    report: &mut Report,
) -> Result<Vec<(Arc<str>, TextMatch)>, Refused> {
    let mut conditions = Vec::new();
    for (place, raw) in raw.unwrap_or_default().into_iter().enumerate() {
        let field = field.index(place);
        let name = required(report.check(field.key("name"), headers::name(&raw.name)))?;
        let value = required(text(raw, &field.key("value"), report))?;
        add_once(&mut conditions, name, value, &field, report);
    }
    Ok(conditions)
}

/// The Gateway API: of several conditions on one name the first counts.
fn add_once(
    to: &mut Vec<(Arc<str>, TextMatch)>,
    name: Arc<str>,
    value: TextMatch,
    field: &FieldPath,
    report: &mut Report,
) {
    if to.iter().any(|(known, _)| *known == name) {
        report.warning(field.key("name"), format!("{name:?} has a condition already, and this one is left out"));
        return;
    }
    to.push((name, value));
}

fn path(raw: RawPath, field: &FieldPath, report: &mut Report) -> Option<PathMatch> {
    let value = raw.value.unwrap_or_else(|| "/".to_owned());
    let field = field.key("value");
    let kind = raw.r#type.unwrap_or(PathMatchType::PathPrefix);
    if kind == PathMatchType::RegularExpression {
        return report.check(field, regex(&value)).map(|()| PathMatch::Regex(value.into()));
    }
    let confusing = CONFUSING.into_iter().find(|part| value.contains(part));
    let confusing = confusing.or_else(|| ["/.", "/.."].into_iter().find(|end| value.ends_with(end)));
    if !value.starts_with('/') {
        report.error(field, format!("{value:?} is not a path: it does not begin with '/'"));
    } else if let Some(part) = confusing {
        report.error(field, format!("{value:?} has {part:?} in it, which no path that is matched may have"));
    } else if kind == PathMatchType::Exact {
        return Some(PathMatch::Exact(value.into()));
    } else {
        let prefix = value.strip_suffix('/').filter(|prefix| !prefix.is_empty()).unwrap_or(&value);
        return Some(PathMatch::Prefix(prefix.into()));
    }
    None
}

fn text(raw: ValueMatch, field: &FieldPath, report: &mut Report) -> Option<TextMatch> {
    if raw.r#type != Some(ValueMatchType::RegularExpression) {
        return Some(TextMatch::Exact(raw.value.into()));
    }
    report.check(field.clone(), regex(&raw.value)).map(|()| TextMatch::Regex(raw.value.into()))
}

/// Whether a regular expression is one whose time is linear in the text, and that is not too large.
fn regex(pattern: &str) -> Result<(), String> {
    // By itself first: `a)|(b` is none, though it would become one between the anchors.
    let alone = RegexBuilder::new(pattern).size_limit(MAX_REGEX_BYTES).build();
    let anchored = || RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(MAX_REGEX_BYTES).build();
    let built = alone.and_then(|_| anchored());
    // An error of syntax has a drawing over several lines; the reason is the last.
    let reason = |error: regex::Error| error.to_string().lines().last().unwrap_or_default().trim().to_owned();
    built.map(drop).map_err(|error| {
        let reason = reason(error);
        format!(
            "{pattern:?} is not a regular expression of linear time (crate regex): {}",
            reason.trim_start_matches("error: ")
        )
    })
}
