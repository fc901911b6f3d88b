//! Where connections go that are not HTTP: TLSRoutes and TCPRoutes, a split, the Service itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::routes::{REFUSED, split_backends};
use super::name_of;
use crate::mesh::{Attached, Backend, Mesh, Resolution, Route, RouteKind, Rules, Service, ServicePort};

/// A cluster with a weight.
type Weighted = Vec<(String, u32)>;

/// The connections that ask for certain names, and where they go. Of two TLSRoutes for one name the older has it.
pub(super) fn named(mesh: &Mesh, attached: &Attached<'_>) -> Vec<(Vec<String>, Weighted)> {
    let mut taken = BTreeSet::new();
    let mut named = Vec::new();
    for route in oldest_first(attached, RouteKind::Tls) {
        let Rules::Connections { hostnames, backends } = &route.rules else { continue };
        let names: Vec<String> =
            hostnames.iter().filter(|&name| taken.insert(Arc::clone(name))).map(ToString::to_string).collect();
        if !names.is_empty() {
            named.push((names, clusters(mesh, route, backends.as_deref())));
        }
    }
    named
}

/// Where all other connections go: by the oldest TCPRoute, else by a split, else to the Service itself.
pub(super) fn others(mesh: &Mesh, service: &Service, port: &ServicePort, attached: &Attached<'_>) -> Weighted {
    if let Some(route) = oldest_first(attached, RouteKind::Tcp).first()
        && let Rules::Connections { backends, .. } = &route.rules
    {
        return clusters(mesh, route, backends.as_deref());
    }
    match mesh.split_of(&service.name).map(|split| split_backends(split, port)) {
        Some(backends) => backends.iter().map(|to| (name_of(&to.service, to.port), to.weight)).collect(),
        None => vec![(name_of(&service.name, port.number), 1)],
    }
}

fn oldest_first<'a>(attached: &Attached<'a>, kind: RouteKind) -> Vec<&'a Arc<Route>> {
    let mut routes: Vec<_> = attached.routes.iter().copied().filter(|route| route.kind == kind).collect();
    routes.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
    routes
}

/// The share of a backend that is not there, or that the route may not name, is reset.
fn clusters(mesh: &Mesh, route: &Route, backends: Option<&[Backend]>) -> Weighted {
    let weighted = backends.unwrap_or_default().iter().filter(|to| to.weight > 0);
    let mut clusters: Weighted = weighted
        .map(|to| match mesh.resolves(route, &to.service, to.port) {
            Resolution::Found => (name_of(&to.service, to.port), to.weight),
            Resolution::Unknown | Resolution::NotPermitted => (REFUSED.to_owned(), to.weight),
        })
        .collect();
    if clusters.is_empty() {
        clusters.push((REFUSED.to_owned(), 1));
    }
    clusters
}
