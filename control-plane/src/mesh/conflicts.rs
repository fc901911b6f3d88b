//! What is wrong with manifests when they are taken together: each by itself is good.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::attach::Ignored;
use super::index::Index;
use super::{
    Manifests, ObjectName, ParentRef, Place, PolicyTarget, Protocol, Route, RouteKey, RouteKind, Rules, Service,
    TrafficPolicy,
};

/// Something that a manifest says and that is not in force for what other manifests say, or don't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Whose fault it is.
    pub subject: Subject,
    /// The field.
    pub field: Vec<FieldStep>,
    /// What is wrong with it, and what is done about it.
    pub message: String,
}

/// A manifest that can be in conflict with others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A route.
    Route(RouteKey),
    /// A TrafficPolicy.
    TrafficPolicy(ObjectName),
}

/// A step on the way to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldStep {
    /// The field of this name.
    Key(&'static str),
    /// The item at this place, from 0.
    Index(usize),
}

/// All conflicts, by kind and name of their subjects.
pub fn conflicts(manifests: &Manifests) -> Vec<Conflict> {
    let mut finder = Finder { manifests, index: Index::build(manifests), found: Vec::new() };
    manifests.routes.values().for_each(|route| finder.route(route));
    finder.connections();
    manifests.traffic_policies.values().for_each(|policy| finder.policy(policy));
    finder.found
}

struct Finder<'a> {
    manifests: &'a Manifests,
    index: Index,
    found: Vec<Conflict>,
}

impl Finder<'_> {
    fn route(&mut self, route: &Arc<Route>) {
        for parent in &route.parents {
            self.parent(route, parent);
        }
        for reference in route.references() {
            let (list, place, what) = match reference.place {
                Place::Backend(place) => ("backendRefs", place, refused(route.kind)),
                Place::Mirror(place) => ("filters", place, "nothing is mirrored there"),
            };
            let field = ["spec", "rules"].map(FieldStep::Key);
            let rest = [FieldStep::Index(reference.rule), FieldStep::Key(list), FieldStep::Index(place)];
            let service = reference.service;
            let port = self.manifests.services.get(service).map(|service| service.port(reference.port).is_some());
            let message = if !self.index.permits(route, service) {
                let grant = format!(
                    "no ReferenceGrant in {:?} lets {}s of {:?} name it",
                    service.namespace.as_ref(),
                    route.kind,
                    route.name.namespace.as_ref()
                );
                format!("Service {service} is in another namespace, and {grant}; {what}")
            } else {
                match port {
                    Some(true) => continue,
                    Some(false) => format!("Service {service} has no port {}; {what}", reference.port),
                    None => format!("there is no Service {service}; {what}"),
                }
            };
            self.add_route(route, field.into_iter().chain(rest).collect(), message);
        }
        for (rule, fault) in route.faults() {
            if !self.manifests.fault_injections.contains_key(&fault.name) {
                let field = [
                    FieldStep::Key("spec"),
                    FieldStep::Key("rules"),
                    FieldStep::Index(rule),
                    FieldStep::Key("filters"),
                    FieldStep::Index(fault.filter),
                ];
                let message = format!("there is no FaultInjection {}; the rule answers 500", fault.name);
                self.add_route(route, field.into(), message);
            }
        }
    }

    fn parent(&mut self, route: &Arc<Route>, parent: &ParentRef) {
        let field = vec![FieldStep::Key("spec"), FieldStep::Key("parentRefs"), FieldStep::Index(parent.place)];
        let Some(service) = self.manifests.services.get(&parent.service) else {
            let message = format!("there is no Service {}; the {} has no effect there", parent.service, route.kind);
            return self.add_route(route, field, message);
        };
        let meant = |section: &Option<Arc<str>>, port: &super::ServicePort| {
            section.as_ref().is_none_or(|name| *name == port.name)
        };
        let ports = service.ports.iter().filter(|port| parent.port.is_none_or(|number| number == port.number));
        let ports: Vec<_> = ports.filter(|port| meant(&parent.section, port)).collect();
        if ports.is_empty() {
            let message =
                format!("Service {} has no such port; the {} has no effect there", parent.service, route.kind);
            return self.add_route(route, field, message);
        }
        let consumer = route.consumer(&service.name).map(AsRef::as_ref);
        let mut ignored = Vec::new();
        for port in &ports {
            let attached = self.index.attached(service, port, consumer);
            ignored.extend(
                attached
                    .ignored
                    .iter()
                    .filter(|(other, _)| Arc::ptr_eq(other, route))
                    .map(|(_, why)| (port.number, *why)),
            );
        }
        // A route for all ports of a Service need not be for each of them.
        if parent.port.is_none() && parent.section.is_none() && ignored.len() < ports.len() {
            ignored.retain(|(_, why)| matches!(why, Ignored::LessSpecific(_)));
        }
        for (port, why) in ignored {
            let reason = match why {
                Ignored::LessSpecific(kind) => format!("has a {kind}, which is more specific"),
                Ignored::Opaque => "is declared to speak no HTTP (appProtocol, its name or its number)".to_owned(),
                Ignored::Http => "is declared to speak HTTP (appProtocol or its name)".to_owned(),
            };
            let message =
                format!("port {port} of Service {} {reason}; the {} has no effect there", service.name, route.kind);
            self.add_route(route, field.clone(), message);
        }
    }

    /// Routes that are for all connections of a port: the oldest has them all.
    fn connections(&mut self) {
        let mut found = Vec::new();
        for service in self.manifests.services.values() {
            for port in &service.ports {
                let consumers = self.index.consumers(service, port);
                for consumer in consumers.iter().map(|consumer| Some(consumer.as_ref())).chain([None]) {
                    let mut routes = self.index.attached(service, port, consumer).routes;
                    routes.sort_by_key(|route| (route.created, route.name.clone()));
                    let mut taken = BTreeMap::<Arc<str>, &Arc<Route>>::new();
                    for route in routes {
                        for name in connection_names(route) {
                            match taken.get(&name) {
                                Some(first) => {
                                    found.push((route.clone(), name, (*first).clone(), service.clone(), port.number))
                                }
                                None => drop(taken.insert(name, route)),
                            }
                        }
                    }
                }
            }
        }
        for (route, name, first, service, port) in found {
            let what = if name.is_empty() { "all connections".to_owned() } else { format!("connections for {name:?}") };
            let message = format!(
                "{} {} is older and has {what} to port {port} of Service {}",
                first.kind, first.name, service.name
            );
            self.add_route(&route, vec![FieldStep::Key("spec"), FieldStep::Key("parentRefs")], message);
        }
    }

    fn policy(&mut self, policy: &Arc<TrafficPolicy>) {
        for (place, target) in policy.targets.iter().enumerate() {
            let field = vec![FieldStep::Key("spec"), FieldStep::Key("targetRefs"), FieldStep::Index(place)];
            let mut add = |message| {
                let subject = Subject::TrafficPolicy(policy.name.clone());
                self.found.push(Conflict { subject, field: field.clone(), message });
            };
            let Some(service) = self.manifests.services.get(&target.service) else {
                add(format!("there is no Service {}; the policy has no effect there", target.service));
                continue;
            };
            if let Some(section) =
                target.section.as_ref().filter(|name| !service.ports.iter().any(|port| port.name == **name))
            {
                add(format!(
                    "Service {} has no port of the name {section:?}; the policy has no effect there",
                    target.service
                ));
                continue;
            }
            if let Some(older) =
                self.index.policies_by_service.get(&target.service).and_then(|all| older(all, policy, target))
            {
                add(format!("TrafficPolicy {} is older and for the same; this one has no effect there", older.name));
                continue;
            }
            let limits = !policy.local_limits.is_empty() || policy.global_limit.is_some();
            if limits && opaque(service, target) {
                let message = "speaks no HTTP: the policy's rate limits have no effect there";
                add(format!("Service {} {message}", target.service));
            }
        }
        let Some(limit) = &policy.global_limit else { return };
        let known =
            self.manifests.services.get(&limit.service).is_some_and(|service| service.port(limit.port).is_some());
        if !known {
            let field = ["spec", "rateLimit", "global", "service"].map(FieldStep::Key).into();
            let done = if limit.fail_open { "requests pass" } else { "requests are refused" };
            let message = format!("there is no Service {} with a port {}; {done}", limit.service, limit.port);
            self.found.push(Conflict { subject: Subject::TrafficPolicy(policy.name.clone()), field, message });
        }
    }

    fn add_route(&mut self, route: &Route, field: Vec<FieldStep>, message: String) {
        self.found.push(Conflict { subject: Subject::Route((route.kind, route.name.clone())), field, message });
    }
}

fn refused(kind: RouteKind) -> &'static str {
    if kind.has_requests() { "its share is answered 500" } else { "its share is reset" }
}

/// The names whose connections a route has; the empty one stands for all.
fn connection_names(route: &Route) -> Vec<Arc<str>> {
    match &route.rules {
        Rules::Requests(_) => Vec::new(),
        Rules::Connections { hostnames, .. } if hostnames.is_empty() => vec!["".into()],
        Rules::Connections { hostnames, .. } => hostnames.clone(),
    }
}

/// The policy that is for the same target and comes before this one.
fn older<'a>(
    all: &'a [Arc<TrafficPolicy>],
    policy: &Arc<TrafficPolicy>,
    target: &PolicyTarget,
) -> Option<&'a Arc<TrafficPolicy>> {
    let first = all.iter().find(|other| other.targets.contains(target))?;
    (!Arc::ptr_eq(first, policy)).then_some(first)
}

fn opaque(service: &Service, target: &PolicyTarget) -> bool {
    service.ports.iter().filter(|port| target.means(port)).all(|port| port.protocol == Protocol::Opaque)
}

#[cfg(test)]
mod tests;
