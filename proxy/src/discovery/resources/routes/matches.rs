//! `RouteMatch`, and the matchers that other messages share with it -> conditions.

use http::{HeaderName, Method};
use weft_api::xds::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use weft_api::xds::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use weft_api::xds::pb::envoy::config::route::v3::route_match::PathSpecifier;
use weft_api::xds::pb::envoy::config::route::v3::{HeaderMatcher, QueryParameterMatcher, RouteMatch};
use weft_api::xds::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use weft_api::xds::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};
use weft_rules::route::{HeaderMatch, Match, PathMatch, Pattern, QueryMatch, TextMatch};

use crate::discovery::resources::fault::{Fault, Within as _, refuse};

/// The conditions of a route.
pub(super) fn conditions(matcher: &RouteMatch) -> Result<Match, Fault> {
    refuse!(matcher; runtime_fraction, cookies, tls_context, dynamic_metadata, filter_state);
    if matcher.case_sensitive.is_some_and(|sensitive| !sensitive.value) {
        return Err(Fault::new("case_sensitive", "false is not supported; paths are compared with their case"));
    }
    let mut result = Match { path: path(matcher)?, grpc: matcher.grpc.is_some(), ..Match::any() };
    for (index, header) in matcher.headers.iter().enumerate() {
        add_header(&mut result, header).within_item("headers", index)?;
    }
    let query = matcher.query_parameters.iter().enumerate();
    result.query = query
        .map(|(index, query)| parameter(query).within_item("query_parameters", index))
        .collect::<Result<_, _>>()?;
    Ok(result)
}

fn path(matcher: &RouteMatch) -> Result<PathMatch, Fault> {
    match &matcher.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => Ok(PathMatch::Prefix(prefix.clone())),
        Some(PathSpecifier::Path(path)) => Ok(PathMatch::Exact(path.clone())),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => Ok(PathMatch::Segments(prefix.clone())),
        Some(PathSpecifier::SafeRegex(regex)) => pattern(regex).within("safe_regex").map(PathMatch::Regex),
        Some(PathSpecifier::ConnectMatcher(_)) => Err(Fault::new("connect_matcher", "is not supported by this proxy")),
        Some(PathSpecifier::PathMatchPolicy(_)) => {
            Err(Fault::new("path_match_policy", "is not supported by this proxy"))
        }
        None => Err(Fault::here("has no path; expected prefix, path, path_separated_prefix or safe_regex")),
    }
}

/// Adds a condition on a header, or on the method as the header `:method`.
pub(in crate::discovery::resources) fn add_header(
    conditions: &mut Match,
    matcher: &HeaderMatcher,
) -> Result<(), Fault> {
    if matcher.name == ":method" {
        if conditions.method.replace(method(matcher)?).is_some() {
            return Err(Fault::new("name", ":method is matched twice"));
        }
        return Ok(());
    }
    conditions.headers.push(header(matcher)?);
    Ok(())
}

/// The method that a matcher of `:method` asks for.
pub(super) fn method(matcher: &HeaderMatcher) -> Result<Method, Fault> {
    let TextMatch::Exact(method) = value(matcher)? else {
        return Err(Fault::new("string_match", "only `exact` is supported for :method"));
    };
    Method::from_bytes(method.as_bytes())
        .map_err(|_| Fault::new("string_match.exact", format!("{method:?} is not a method")))
}

/// A condition on a header proper.
pub(super) fn header(matcher: &HeaderMatcher) -> Result<HeaderMatch, Fault> {
    let value = value(matcher)?;
    let name = HeaderName::from_bytes(matcher.name.as_bytes())
        .map_err(|_| Fault::new("name", format!("{:?} is not a header's name", matcher.name)))?;
    Ok(HeaderMatch { name, value })
}

/// The condition on the value.
fn value(matcher: &HeaderMatcher) -> Result<TextMatch, Fault> {
    refuse!(matcher; invert_match, treat_missing_header_as_empty);
    match &matcher.header_match_specifier {
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => text(matcher).within("string_match"),
        Some(HeaderMatchSpecifier::PresentMatch(true)) => Ok(TextMatch::Present),
        Some(HeaderMatchSpecifier::PresentMatch(false)) => Err(Fault::new("present_match", "false is not supported")),
        Some(_) => Err(Fault::here("matches by a deprecated field; use string_match")),
        None => Err(Fault::here("has no string_match or present_match")),
    }
}

fn parameter(query: &QueryParameterMatcher) -> Result<QueryMatch, Fault> {
    let value = match &query.query_parameter_match_specifier {
        Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => text(matcher).within("string_match")?,
        Some(QueryParameterMatchSpecifier::PresentMatch(true)) => TextMatch::Present,
        Some(QueryParameterMatchSpecifier::PresentMatch(false)) => {
            return Err(Fault::new("present_match", "false is not supported"));
        }
        None => return Err(Fault::here("has no string_match or present_match")),
    };
    if query.name.is_empty() {
        return Err(Fault::new("name", "is empty"));
    }
    Ok(QueryMatch { name: query.name.clone(), value })
}

fn text(matcher: &StringMatcher) -> Result<TextMatch, Fault> {
    refuse!(matcher; ignore_case);
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => Ok(TextMatch::Exact(text.clone())),
        Some(MatchPattern::SafeRegex(regex)) => pattern(regex).within("safe_regex").map(TextMatch::Regex),
        _ => Err(Fault::here("is not `exact` or `safe_regex`")),
    }
}

/// A regular expression that must match the whole text.
fn pattern(regex: &RegexMatcher) -> Result<Pattern, Fault> {
    Pattern::new(&regex.regex).map_err(|error| Fault::new("regex", error.to_string()))
}

/// A matcher of `:path` -> a condition on the path. It sees the path without the query, which Envoy's `:path` has: an
/// expression that allows for one finds none.
pub(in crate::discovery::resources) fn path_of_text(matcher: &HeaderMatcher) -> Result<PathMatch, Fault> {
    refuse!(matcher; invert_match, treat_missing_header_as_empty);
    let Some(HeaderMatchSpecifier::StringMatch(text)) = &matcher.header_match_specifier else {
        return Err(Fault::here("has no string_match"));
    };
    let check = || {
        refuse!(text; ignore_case);
        match &text.match_pattern {
            Some(MatchPattern::Exact(path)) => Ok(PathMatch::Exact(path.clone())),
            Some(MatchPattern::Prefix(prefix)) => Ok(PathMatch::Prefix(prefix.clone())),
            Some(MatchPattern::SafeRegex(regex)) => pattern(regex).within("safe_regex").map(PathMatch::Regex),
            _ => Err(Fault::here("is not `exact`, `prefix` or `safe_regex`")),
        }
    };
    check().within("string_match")
}
