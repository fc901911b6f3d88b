//! The conditions of a rule as Envoy's `RouteMatch`.

use weft_api::xds::pb::envoy::config::route::v3::{
    HeaderMatcher, QueryParameterMatcher,
    header_matcher::HeaderMatchSpecifier,
    query_parameter_matcher::QueryParameterMatchSpecifier,
    route_match::{GrpcRouteMatchOptions, PathSpecifier},
};
use weft_api::xds::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern};

use crate::mesh::{PathMatch, RouteMatch, TextMatch};

pub(super) use weft_api::xds::pb::envoy::config::route::v3::RouteMatch as Condition;

/// Every request.
pub(super) fn all() -> Condition {
    Condition { path_specifier: Some(PathSpecifier::Prefix("/".to_owned())), ..Condition::default() }
}

pub(super) fn condition(rule: &RouteMatch) -> Condition {
    let path = match &rule.path {
        PathMatch::Exact(path) => PathSpecifier::Path(path.to_string()),
        PathMatch::Prefix(path) if path.as_ref() == "/" => PathSpecifier::Prefix("/".to_owned()),
        PathMatch::Prefix(path) => PathSpecifier::PathSeparatedPrefix(path.to_string()),
        PathMatch::Regex(pattern) => PathSpecifier::SafeRegex(regex(pattern)),
    };
    let method = rule.method.iter().map(|method| header(":method", &TextMatch::Exact(method.clone())));
    let headers = rule.headers.iter().map(|(name, value)| header(name, value));
    let query_parameters = rule.query.iter().map(|(name, value)| QueryParameterMatcher {
        name: name.to_string(),
        query_parameter_match_specifier: Some(QueryParameterMatchSpecifier::StringMatch(text(value))),
    });
    Condition {
        path_specifier: Some(path),
        headers: method.chain(headers).collect(),
        query_parameters: query_parameters.collect(),
        grpc: rule.grpc.map(|_| GrpcRouteMatchOptions {}),
        ..Condition::default()
    }
}

pub(in crate::xds::resources) fn header(name: &str, value: &TextMatch) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(text(value))),
        ..HeaderMatcher::default()
    }
}

pub(in crate::xds::resources) fn text(value: &TextMatch) -> StringMatcher {
    let pattern = match value {
        TextMatch::Exact(text) => MatchPattern::Exact(text.to_string()),
        TextMatch::Regex(pattern) => MatchPattern::SafeRegex(regex(pattern)),
    };
    StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() }
}

pub(in crate::xds::resources) fn regex(pattern: &str) -> RegexMatcher {
    RegexMatcher { regex: pattern.to_owned(), ..RegexMatcher::default() }
}
