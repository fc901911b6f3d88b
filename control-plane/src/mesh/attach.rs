//! Which routes, and which policy, a port of a Service has.
//!
//! ```text
//! routes of the client's own namespace for the Service, if there are any (consumer routes)
//! else those of the Service's namespace (producer routes)
//!   └─> without those that the declared protocol has no use for
//!         └─> of these the most specific kind: GRPCRoute, HTTPRoute, TLSRoute, TCPRoute
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use super::index::Index;
use super::{ObjectName, Protocol, Route, RouteKind, Service, ServicePort, TrafficPolicy};

/// The routes that a port of a Service has for some of its clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attached<'a> {
    /// Those in force, all of one kind; in the order of their names.
    pub(crate) routes: Vec<&'a Arc<Route>>,
    /// Those that are for the port too, and why they are not in force.
    pub(crate) ignored: Vec<(&'a Arc<Route>, Ignored)>,
}

/// Why a route that is for a port is not in force there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ignored {
    /// A route of this more specific kind is for the port.
    LessSpecific(RouteKind),
    /// The port is declared opaque, and the route is about requests.
    Opaque,
    /// The port is declared HTTP, and the route is about connections.
    Http,
}

impl Attached<'_> {
    /// The kind of the routes in force.
    pub(crate) fn kind(&self) -> Option<RouteKind> {
        self.routes.first().map(|route| route.kind)
    }

    /// What a port speaks, whose own declaration is this. Whoever writes HTTP rules for an undeclared port declares it to
    /// be HTTP: or else a client could pass the rules by with bytes that are not quite HTTP. Rules for all connections
    /// leave nothing to be sniffed.
    pub(crate) fn protocol(&self, declared: Protocol) -> Protocol {
        match (declared, self.kind()) {
            (Protocol::Undeclared, Some(RouteKind::Grpc | RouteKind::Http)) => Protocol::Http,
            (Protocol::Undeclared, Some(RouteKind::Tcp)) => Protocol::Opaque,
            _ => declared,
        }
    }
}

impl Index {
    /// The routes of a Service's port for the clients of a namespace that has routes of its own for it, or with `None`
    /// for all others.
    pub(super) fn attached<'a>(
        &'a self,
        service: &Service,
        port: &ServicePort,
        consumer: Option<&str>,
    ) -> Attached<'a> {
        let mut attached = Attached::default();
        let mut useful = Vec::new();
        for route in self.routes_for_port(service, port) {
            if route.consumer(&service.name).map(AsRef::as_ref) != consumer {
                continue;
            }
            match useless(route.kind, port.protocol) {
                Some(why) => attached.ignored.push((route, why)),
                None => useful.push(route),
            }
        }
        let Some(kind) = useful.iter().map(|route| route.kind).min() else { return attached };
        for route in useful {
            match route.kind == kind {
                true => attached.routes.push(route),
                false => attached.ignored.push((route, Ignored::LessSpecific(kind))),
            }
        }
        attached
    }

    /// The namespaces whose clients have routes of their own for a Service's port.
    pub(super) fn consumers(&self, service: &Service, port: &ServicePort) -> BTreeSet<Arc<str>> {
        let useful = self.routes_for_port(service, port).filter(|route| useless(route.kind, port.protocol).is_none());
        useful.filter_map(|route| route.consumer(&service.name).cloned()).collect()
    }

    /// The policy of a Service's port: the oldest that is for it by name, else the oldest for the Service.
    pub(super) fn policy(&self, service: &ObjectName, port: &ServicePort) -> Option<&Arc<TrafficPolicy>> {
        let policies = self.policies_by_service.of(service);
        let find = |by_name: bool| {
            policies.iter().find(|policy| {
                let mut targets = policy.targets.iter().filter(|target| target.service == *service);
                targets.any(|target| target.section.is_some() == by_name && target.means(port))
            })
        };
        find(true).or_else(|| find(false))
    }

    /// Whether a route may name a Service: of its own namespace, or one that a ReferenceGrant there lets it name. A
    /// consumer route may send to the Service that it is for: that is where its clients' requests went anyway.
    pub(super) fn permits(&self, route: &Route, service: &ObjectName) -> bool {
        let grants = || self.grants_by_namespace.of(&service.namespace).iter();
        service.namespace == route.name.namespace
            || route.parents.iter().any(|parent| parent.service == *service)
            || grants().any(|grant| grant.allows(route.kind, &route.name.namespace, service))
    }

    fn routes_for_port<'a>(
        &'a self,
        service: &Service,
        port: &ServicePort,
    ) -> impl Iterator<Item = &'a Arc<Route>> + use<'a> {
        let routes = self.routes_by_service.of(&service.name);
        let (service, port) = (service.name.clone(), port.clone());
        routes
            .iter()
            .filter(move |route| route.parents.iter().any(|parent| parent.service == service && parent.means(&port)))
    }
}

fn useless(kind: RouteKind, declared: Protocol) -> Option<Ignored> {
    match declared {
        Protocol::Opaque if kind.has_requests() => Some(Ignored::Opaque),
        Protocol::Http if !kind.has_requests() => Some(Ignored::Http),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
