//! Route configurations: HTTPRoutes in the Gateway API's order of precedence, then a split, then the Service itself.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use weft_api::xds::pb::envoy::config::route::v3::{
    DirectResponseAction, Route, RouteAction as XdsAction, RouteConfiguration, VirtualHost, WeightedCluster,
    route::Action, route_action::ClusterSpecifier, weighted_cluster::ClusterWeight,
};
use weft_api::xds::pb::google::protobuf::{Duration as XdsDuration, UInt32Value};

use super::{Target, name_of};
use crate::mesh::{
    Backend, HttpRoute, Mesh, ObjectName, PathMatch, Protocol, RouteAction, RouteMatch, RouteRule, Service,
    ServicePort, Split,
};

mod matches;

/// The routes of a Service's port, or of a pod that is dialled by its own address. `None` where HTTP is not spoken.
pub(super) fn configuration(mesh: &Mesh, name: &str) -> Option<Vec<u8>> {
    let target = Target::find(mesh, name)?;
    if target.protocol(mesh) == Protocol::Opaque {
        return None;
    }
    let routes = match target {
        Target::Service(service, port) => of_service(mesh, service, port),
        Target::Pod(..) => {
            vec![route("default", matches::all(), to_clusters(vec![(target.name(), 1)], Duration::ZERO))]
        }
    };
    let host = VirtualHost { name: target.name(), domains: vec!["*".to_owned()], routes, ..VirtualHost::default() };
    let configuration =
        RouteConfiguration { name: target.name(), virtual_hosts: vec![host], ..RouteConfiguration::default() };
    Some(configuration.encode_to_vec())
}

/// The HTTPRoutes that are for a port of a Service, ordered by name.
pub(super) fn attached<'a>(
    mesh: &'a Mesh,
    service: &'a Service,
    port: &'a ServicePort,
) -> impl Iterator<Item = &'a Arc<HttpRoute>> {
    mesh.routes_for(&service.name).iter().filter(move |route| {
        route.parents.iter().any(|parent| {
            parent.service == service.name
                && parent.port.is_none_or(|number| number == port.number)
                && parent.section.as_ref().is_none_or(|name| *name == port.name)
        })
    })
}

/// The backends of a split that take anything, for clients that dialled this port.
pub(super) fn split_backends(split: &Split, dialled: &ServicePort) -> Vec<Backend> {
    let backends = split.backends.iter().filter(|backend| backend.weight > 0);
    backends
        .map(|backend| Backend {
            service: ObjectName::new(split.service.namespace.clone(), backend.service.clone()),
            port: backend.port.unwrap_or(dialled.number),
            weight: backend.weight,
        })
        .collect()
}

fn of_service(mesh: &Mesh, service: &Service, port: &ServicePort) -> Vec<Route> {
    let mut entries: Vec<Entry<'_>> = attached(mesh, service, port).flat_map(|route| entries_of(route)).collect();
    entries.sort_by_key(|entry| entry.precedence());
    let written = !entries.is_empty();
    let mut routes: Vec<Route> = entries
        .into_iter()
        .map(|entry| {
            let name = format!("{}/{}", entry.route.name.name, entry.rule.name);
            route(&name, matches::condition(entry.condition), action(mesh, &entry.rule.action))
        })
        .collect();
    routes.push(match mesh.split_of(&service.name) {
        Some(split) => route("split", matches::all(), forward(mesh, &split_backends(split, port), Duration::ZERO)),
        // The Gateway API: what matches none of the routes of a Service that has routes is rejected.
        None if written => route("unmatched", matches::all(), answer(404)),
        None => {
            let own = vec![(name_of(&service.name, port.number), 1)];
            route("default", matches::all(), to_clusters(own, Duration::ZERO))
        }
    });
    routes
}

/// One alternative of one rule of one HTTPRoute.
struct Entry<'a> {
    route: &'a HttpRoute,
    rule: &'a RouteRule,
    condition: &'a RouteMatch,
    place: (usize, usize),
}

fn entries_of(route: &HttpRoute) -> impl Iterator<Item = Entry<'_>> {
    route.rules.iter().enumerate().flat_map(move |(rule_place, rule)| {
        rule.matches.iter().enumerate().map(move |(place, condition)| Entry {
            route,
            rule,
            condition,
            place: (rule_place, place),
        })
    })
}

impl<'a> Entry<'a> {
    /// The Gateway API's order: an exact path, the longest prefix, a method, more headers, more query parameters, the
    /// older HTTPRoute, its name, the place in it. It leaves regular expressions to us: they come after exact paths.
    fn precedence(&self) -> impl Ord + use<'a> {
        let (kind, length) = match &self.condition.path {
            PathMatch::Exact(path) => (0, path.len()),
            PathMatch::Regex(pattern) => (1, pattern.len()),
            PathMatch::Prefix(path) => (2, path.len()),
        };
        (
            (kind, Reverse(length)),
            Reverse(self.condition.method.is_some()),
            Reverse(self.condition.headers.len()),
            Reverse(self.condition.query.len()),
            self.route.created,
            &self.route.name,
            self.place,
        )
    }
}

fn action(mesh: &Mesh, action: &RouteAction) -> Action {
    match action {
        RouteAction::Forward { backends, timeout } => forward(mesh, backends, *timeout),
        RouteAction::Refuse => answer(500),
    }
}

/// Backends that do not exist keep their share, as the Gateway API asks: a proxy answers 500 for a cluster that there
/// is none of.
fn forward(mesh: &Mesh, backends: &[Backend], timeout: Duration) -> Action {
    let exists = |to: &Backend| mesh.service_named(&to.service).is_some_and(|service| service.port(to.port).is_some());
    let weighted: Vec<&Backend> = backends.iter().filter(|backend| backend.weight > 0).collect();
    if !weighted.iter().any(|backend| exists(backend)) {
        return answer(500);
    }
    to_clusters(weighted.iter().map(|to| (name_of(&to.service, to.port), to.weight)).collect(), timeout)
}

fn to_clusters(mut clusters: Vec<(String, u32)>, timeout: Duration) -> Action {
    let only = if clusters.len() == 1 { clusters.pop() } else { None };
    let cluster_specifier = match only {
        Some((name, _)) => ClusterSpecifier::Cluster(name),
        None => {
            let weight =
                |(name, value)| ClusterWeight { name, weight: Some(UInt32Value { value }), ..ClusterWeight::default() };
            let clusters = clusters.into_iter().map(weight).collect();
            ClusterSpecifier::WeightedClusters(WeightedCluster { clusters, ..WeightedCluster::default() })
        }
    };
    let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(timeout.subsec_nanos()).unwrap_or_default();
    Action::Route(XdsAction {
        cluster_specifier: Some(cluster_specifier),
        timeout: Some(XdsDuration { seconds, nanos }),
        ..XdsAction::default()
    })
}

fn answer(status: u32) -> Action {
    Action::DirectResponse(DirectResponseAction { status, ..DirectResponseAction::default() })
}

fn route(name: &str, condition: matches::Condition, action: Action) -> Route {
    Route { name: name.to_owned(), r#match: Some(condition), action: Some(action), ..Route::default() }
}
