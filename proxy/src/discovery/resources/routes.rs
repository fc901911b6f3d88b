//! RouteConfiguration -> rules over the names of clusters.

mod action;
mod filters;
mod header_edits;
mod matches;
mod redirect;
mod retry;

use std::collections::BTreeSet;
use std::sync::Arc;

use http::StatusCode;
use weft_api::xds::pb::envoy::config::route::v3::{DirectResponseAction, Route, VirtualHost, route};
use weft_api::xds::{self, RouteConfiguration};
use weft_rules::route::{Action, Filters, Rule};

use super::fault::{Fault, Within as _, refuse};
use filters::PerRoute;
use header_edits::edits;

pub(super) use filters::{FAULT, SESSION, is_token};
pub(super) use matches::{add_header, path_of_text};

/// Rules over the names of clusters.
#[derive(Clone, Debug)]
pub(in crate::discovery) struct RouteSpec {
    pub(in crate::discovery) rules: Vec<Rule<Arc<str>>>,
}

impl RouteSpec {
    /// The clusters that the rules name, each once; those of mirrors, too. The one that nothing may go to is left out.
    pub(in crate::discovery) fn clusters(&self) -> BTreeSet<&Arc<str>> {
        let targets = self.rules.iter().filter_map(|rule| match &rule.action {
            Action::Forward(forward) => Some(forward.targets()),
            Action::Redirect(_) | Action::Respond(_) => None,
        });
        targets.flatten().filter(|name| ***name != *xds::REFUSED_CLUSTER).collect()
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
    refuse!(route; route_specifiers);
    let matcher = route.r#match.as_ref().ok_or_else(|| Fault::new("match", "is missing"))?;
    let PerRoute { fault, session } = filters::per_route(&route.typed_per_filter_config)?;
    let action = match &route.action {
        Some(route::Action::Route(action)) => {
            Action::Forward(Box::new(action::forward(action, session).within("route")?))
        }
        Some(route::Action::DirectResponse(response)) => respond(response).within("direct_response")?,
        Some(route::Action::Redirect(redirect)) => Action::Redirect(redirect::redirect(redirect).within("redirect")?),
        Some(route::Action::FilterAction(_) | route::Action::NonForwardingAction(_)) | None => {
            return Err(Fault::here("has no `route`, `redirect` or `direct_response`"));
        }
    };
    Ok(Rule {
        name: route.name.as_str().into(),
        manifest: xds::metadata_text(route.metadata.as_ref(), xds::METADATA_MANIFEST).unwrap_or_default().into(),
        matcher: matches::conditions(matcher).within("match")?,
        filters: Filters {
            request_headers: edits("request", &route.request_headers_to_add, &route.request_headers_to_remove)?,
            response_headers: edits("response", &route.response_headers_to_add, &route.response_headers_to_remove)?,
            fault,
        },
        action,
    })
}

fn respond(response: &DirectResponseAction) -> Result<Action<Arc<str>>, Fault> {
    refuse!(response; body, body_format);
    let status = u16::try_from(response.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.filter(|status| (200..600).contains(&status.as_u16()));
    let reason = || Fault::new("status", format!("{} is not a final HTTP status", response.status));
    status.map(Action::Respond).ok_or_else(reason)
}

#[cfg(test)]
mod tests;
