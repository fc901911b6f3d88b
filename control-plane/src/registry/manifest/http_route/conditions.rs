//! What a request must be for a rule to have it.

use std::sync::Arc;

use gateway_api::httproutes::{
    HttpRouteRulesMatches as RawMatch, HttpRouteRulesMatchesHeadersType as HeaderType,
    HttpRouteRulesMatchesMethod as RawMethod, HttpRouteRulesMatchesPath as RawPath,
    HttpRouteRulesMatchesPathType as PathType, HttpRouteRulesMatchesQueryParamsType as QueryType,
};
use regex::RegexBuilder;

use crate::mesh::{PathMatch, RouteMatch, TextMatch};
use crate::registry::fault::{FieldPath, Report};
use crate::registry::manifest::{Refused, required};

/// The most memory that a compiled regular expression may take, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;
/// What the Gateway API forbids in a path: a path that means another one.
const CONFUSING: [&str; 7] = ["//", "/./", "/../", "%2f", "%2F", "#", "?"];

pub(super) fn read(raw: RawMatch, field: &FieldPath, report: &mut Report) -> Result<RouteMatch, Refused> {
    let path = required(path(raw.path.unwrap_or_default(), &field.key("path"), report))?;
    let mut headers = Vec::new();
    for (place, raw) in raw.headers.unwrap_or_default().into_iter().enumerate() {
        let field = field.key("headers").index(place);
        let name = raw.name.to_ascii_lowercase();
        let valid = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_token_mark(byte));
        if !valid {
            report.error(field.key("name"), format!("{:?} is not the name of a header", raw.name));
            return Err(Refused);
        }
        let is_regex = matches!(raw.r#type, Some(HeaderType::RegularExpression));
        let value = required(text(raw.value, is_regex, &field.key("value"), report))?;
        add_once(&mut headers, name, value, &field, report);
    }
    let mut query = Vec::new();
    for (place, raw) in raw.query_params.unwrap_or_default().into_iter().enumerate() {
        let field = field.key("queryParams").index(place);
        if raw.name.is_empty() {
            report.error(field.key("name"), "is empty");
            return Err(Refused);
        }
        let is_regex = matches!(raw.r#type, Some(QueryType::RegularExpression));
        let value = required(text(raw.value, is_regex, &field.key("value"), report))?;
        add_once(&mut query, raw.name, value, &field, report);
    }
    Ok(RouteMatch { path, method: raw.method.map(|method| method_name(&method).into()), headers, query })
}

/// The Gateway API: of several conditions on one name the first counts.
fn add_once(
    to: &mut Vec<(Arc<str>, TextMatch)>,
    name: String,
    value: TextMatch,
    field: &FieldPath,
    report: &mut Report,
) {
    if to.iter().any(|(known, _)| known.as_ref() == name) {
        report.warning(field.key("name"), format!("{name:?} has a condition already, and this one is left out"));
        return;
    }
    to.push((name.into(), value));
}

fn path(raw: RawPath, field: &FieldPath, report: &mut Report) -> Option<PathMatch> {
    let value = raw.value.unwrap_or_else(|| "/".to_owned());
    let field = field.key("value");
    let kind = raw.r#type.unwrap_or(PathType::PathPrefix);
    if matches!(kind, PathType::RegularExpression) {
        return report.check(field, regex(&value)).map(|()| PathMatch::Regex(value.into()));
    }
    let confusing = CONFUSING.into_iter().find(|part| value.contains(part));
    let confusing = confusing.or_else(|| ["/.", "/.."].into_iter().find(|end| value.ends_with(end)));
    if !value.starts_with('/') {
        report.error(field, format!("{value:?} is not a path: it does not begin with '/'"));
    } else if let Some(part) = confusing {
        report.error(field, format!("{value:?} has {part:?} in it, which no path that is matched may have"));
    } else if matches!(kind, PathType::Exact) {
        return Some(PathMatch::Exact(value.into()));
    } else {
        let prefix = value.strip_suffix('/').filter(|prefix| !prefix.is_empty()).unwrap_or(&value);
        return Some(PathMatch::Prefix(prefix.into()));
    }
    None
}

fn text(value: String, is_regex: bool, field: &FieldPath, report: &mut Report) -> Option<TextMatch> {
    if !is_regex {
        return Some(TextMatch::Exact(value.into()));
    }
    report.check(field.clone(), regex(&value)).map(|()| TextMatch::Regex(value.into()))
}

/// Whether a regular expression is one whose time is linear in the text, and that is not too large.
fn regex(pattern: &str) -> Result<(), String> {
    let built = RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(MAX_REGEX_BYTES).build();
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

/// The marks that RFC 9110, 5.6.2 allows in a token.
fn is_token_mark(byte: u8) -> bool {
    b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn method_name(method: &RawMethod) -> &'static str {
    match method {
        RawMethod::Get => "GET",
        RawMethod::Head => "HEAD",
        RawMethod::Post => "POST",
        RawMethod::Put => "PUT",
        RawMethod::Delete => "DELETE",
        RawMethod::Connect => "CONNECT",
        RawMethod::Options => "OPTIONS",
        RawMethod::Trace => "TRACE",
        RawMethod::Patch => "PATCH",
    }
}
