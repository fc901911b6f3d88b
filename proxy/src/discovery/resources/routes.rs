//! RouteConfiguration -> rules over the names of clusters.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method, StatusCode};
use weft_api::xds::RouteConfiguration;
use weft_api::xds::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use weft_api::xds::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use weft_api::xds::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use weft_api::xds::pb::envoy::config::route::v3::route_match::PathSpecifier;
use weft_api::xds::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use weft_api::xds::pb::envoy::config::route::v3::{
    DirectResponseAction, HeaderMatcher, QueryParameterMatcher, Route, RouteAction, RouteMatch, VirtualHost, route,
};
use weft_api::xds::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use weft_api::xds::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};
use weft_rules::route::{
    Action, Backend, Filters, Forward, HeaderMatch, Match, PathMatch, Pattern, QueryMatch, Rule, TextMatch,
};
use weft_rules::timeouts::Timeouts;
use weft_rules::weighted::Weighted;

use super::fault::{Fault, Within as _, refuse};
use super::{duration, reference};

/// Envoy's own default, where `timeout` is not sent.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

/// Rules over the names of clusters.
#[derive(Clone, Debug)]
pub(in crate::discovery) struct RouteSpec {
    pub(in crate::discovery) rules: Vec<Rule<Arc<str>>>,
}

impl RouteSpec {
    /// The clusters that the rules name, each once.
    pub(in crate::discovery) fn clusters(&self) -> std::collections::BTreeSet<&Arc<str>> {
        let targets = self.rules.iter().filter_map(|rule| match &rule.action {
            Action::Forward(forward) => Some(forward.targets()),
            Action::Redirect(_) | Action::Respond(_) => None,
        });
        targets.flatten().collect()
    }
}

/// Checks a route configuration.
pub(super) fn parse(routes: &RouteConfiguration) -> Result<RouteSpec, Fault> {
    refuse!(routes; vhds, internal_only_headers, response_headers_to_add, response_headers_to_remove,
        request_headers_to_add, request_headers_to_remove, cluster_specifier_plugins, request_mirror_policies,
        vhost_header, ignore_path_parameters_in_path_matching, typed_per_filter_config, route_specifiers);
    let [host] = routes.virtual_hosts.as_slice() else {
        let found = routes.virtual_hosts.len();
        return Err(Fault::new("virtual_hosts", format!("has {found} virtual hosts; expected exactly one")));
    };
    virtual_host(host).within("virtual_hosts[0]").map(|rules| RouteSpec { rules })
}

fn virtual_host(host: &VirtualHost) -> Result<Vec<Rule<Arc<str>>>, Fault> {
    refuse!(host; matcher, require_tls, request_headers_to_add, request_headers_to_remove, response_headers_to_add,
        response_headers_to_remove, rate_limits, typed_per_filter_config, include_request_attempt_count,
        include_attempt_count_in_response, retry_policy, retry_policy_typed_config, hedge_policy,
        request_mirror_policies, route_specifiers);
    if host.domains != ["*"] {
        return Err(Fault::new("domains", format!("is {:?}; only [\"*\"] is supported", host.domains)));
    }
    host.routes.iter().enumerate().map(|(index, route)| rule(route).within_item("routes", index)).collect()
}

fn rule(route: &Route) -> Result<Rule<Arc<str>>, Fault> {
    refuse!(route; typed_per_filter_config, request_headers_to_add, request_headers_to_remove,
        response_headers_to_add, response_headers_to_remove, route_specifiers);
    let matcher = route.r#match.as_ref().ok_or_else(|| Fault::new("match", "is missing"))?;
    let action = match &route.action {
        Some(route::Action::Route(action)) => forward(action).within("route")?,
        Some(route::Action::DirectResponse(response)) => respond(response).within("direct_response")?,
        Some(route::Action::Redirect(_)) => return Err(Fault::new("redirect", "is not supported by this proxy")),
        Some(route::Action::FilterAction(_) | route::Action::NonForwardingAction(_)) | None => {
            return Err(Fault::here("has no `route` or `direct_response`"));
        }
    };
    Ok(Rule {
        name: route.name.as_str().into(),
        manifest: "".into(),
        matcher: conditions(matcher).within("match")?,
        filters: Filters::default(),
        action,
    })
}

fn forward(action: &RouteAction) -> Result<Action<Arc<str>>, Fault> {
    refuse!(action; metadata_match, prefix_rewrite, regex_rewrite, path_rewrite_policy, path_rewrite,
        append_x_forwarded_host, idle_timeout, retry_policy, retry_policy_typed_config, request_mirror_policies,
        rate_limits, hash_policy, internal_redirect_policy, hedge_policy, max_stream_duration,
        host_rewrite_specifier);
    let backends = match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => Weighted::single(reference("cluster", name)?),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            refuse!(weighted; random_value_specifier);
            weighted_clusters(&weighted.clusters).within("weighted_clusters")?
        }
        Some(_) => return Err(Fault::here("chooses the cluster by other means than `cluster` or `weighted_clusters`")),
        None => return Err(Fault::new("cluster", "is missing")),
    };
    let timeout = match action.timeout {
        Some(timeout) => duration("timeout", timeout)?,
        None => DEFAULT_TIMEOUT,
    };
    let timeouts = Timeouts { request: (!timeout.is_zero()).then_some(timeout), ..Timeouts::default() };
    Ok(Action::Forward(Box::new(Forward {
        timeouts,
        ..Forward::to(backends.map(|name| Backend::plain(name.clone())))
    })))
}

fn weighted_clusters(clusters: &[ClusterWeight]) -> Result<Weighted<Arc<str>>, Fault> {
    let weights = clusters.iter().enumerate().map(|(index, cluster)| {
        let entry = || {
            refuse!(cluster; cluster_header, metadata_match, request_headers_to_add, request_headers_to_remove,
                response_headers_to_add, response_headers_to_remove, typed_per_filter_config,
                host_rewrite_specifier);
            let weight = cluster.weight.ok_or_else(|| Fault::new("weight", "is missing"))?;
            Ok((reference("name", &cluster.name)?, weight.value))
        };
        entry().within_item("clusters", index)
    });
    Weighted::new(weights.collect::<Result<_, _>>()?).map_err(|error| Fault::new("clusters", error.to_string()))
}

fn respond(response: &DirectResponseAction) -> Result<Action<Arc<str>>, Fault> {
    refuse!(response; body, body_format);
    let status = u16::try_from(response.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.filter(|status| (200..600).contains(&status.as_u16()));
    let reason = || Fault::new("status", format!("{} is not a final HTTP status", response.status));
    status.map(Action::Respond).ok_or_else(reason)
}

fn conditions(matcher: &RouteMatch) -> Result<Match, Fault> {
    refuse!(matcher; runtime_fraction, cookies, grpc, tls_context, dynamic_metadata, filter_state);
    if matcher.case_sensitive.is_some_and(|sensitive| !sensitive.value) {
        return Err(Fault::new("case_sensitive", "false is not supported; paths are compared with their case"));
    }
    let mut result = Match { path: path(matcher)?, ..Match::any() };
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

fn add_header(conditions: &mut Match, header: &HeaderMatcher) -> Result<(), Fault> {
    refuse!(header; invert_match, treat_missing_header_as_empty);
    let value = match &header.header_match_specifier {
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => text(matcher).within("string_match")?,
        Some(HeaderMatchSpecifier::PresentMatch(true)) => TextMatch::Present,
        Some(HeaderMatchSpecifier::PresentMatch(false)) => {
            return Err(Fault::new("present_match", "false is not supported"));
        }
        Some(_) => return Err(Fault::here("matches by a deprecated field; use string_match")),
        None => return Err(Fault::here("has no string_match or present_match")),
    };
    if header.name == ":method" {
        let TextMatch::Exact(method) = value else {
            return Err(Fault::new("string_match", "only `exact` is supported for :method"));
        };
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| Fault::new("string_match.exact", format!("{method:?} is not a method")))?;
        if conditions.method.replace(method).is_some() {
            return Err(Fault::new("name", ":method is matched twice"));
        }
        return Ok(());
    }
    let name = HeaderName::from_bytes(header.name.as_bytes())
        .map_err(|_| Fault::new("name", format!("{:?} is not a header's name", header.name)))?;
    conditions.headers.push(HeaderMatch { name, value });
    Ok(())
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

fn pattern(regex: &RegexMatcher) -> Result<Pattern, Fault> {
    Pattern::new(&regex.regex).map_err(|error| Fault::new("regex", error.to_string()))
}
