//! What is wrong with manifests when they are taken together: each by itself is good.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::attach::Ignored;
use super::index::Index;
use super::{
    Manifests, ObjectName, ParentRef, Place, PolicyTarget, Protocol, Reference, Route, RouteKey, RouteKind, Rules,
    Service, TrafficPolicy,
};

/// Something that a manifest says and that is not in force for what other manifests say, or don't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Whose fault it is.
    pub subject: Subject,
    /// The field.
    pub field: Vec<FieldStep>,
    /// Why, as a word.
    pub reason: Reason,
    /// What is wrong with it, and what is done about it.
    pub message: String,
}

/// Why something is not in force, as the Gateway API's conditions tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The Service that a route is for is not there, or lacks the port.
    NoMatchingParent,
    /// A Service that it sends to is not there, or lacks the port.
    BackendNotFound,
    /// It is in another namespace, which doesn't permit it.
    RefNotPermitted,
    /// The FaultInjection that a rule names is not there.
    FilterNotFound,
    /// The Service that a policy is for, or that it asks, is not there.
    TargetNotFound,
    /// Another one comes before it.
    Conflicted,
    /// It has its effect, but not all of it.
    PartlyIneffective,
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

/// The conflicts of manifests that change. They are looked for anew where something changed that they can come of: not for
/// pods and endpoints.
#[derive(Debug, Default)]
pub struct Conflicts {
    /// What they are of, without all that is never looked at.
    of: Manifests,
    found: Vec<Conflict>,
}

impl Conflicts {
    /// Takes in the manifests as they are now. Returns whether conflicts were looked for anew.
    pub fn follow(&mut self, manifests: &Manifests) -> bool {
        let now = Manifests {
            services: manifests.services.clone(),
            routes: manifests.routes.clone(),
            traffic_policies: manifests.traffic_policies.clone(),
            reference_grants: manifests.reference_grants.clone(),
            fault_injections: manifests.fault_injections.clone(),
            ..Manifests::default()
        };
        let differs = now != self.of;
        if differs {
            self.found = conflicts(&now);
        }
        self.of = now;
        differs
    }

    /// All conflicts, by kind and name of their subjects.
    pub fn found(&self) -> &[Conflict] {
        &self.found
    }
}

fn conflicts(manifests: &Manifests) -> Vec<Conflict> {
    if manifests.routes.is_empty() && manifests.traffic_policies.is_empty() {
        return Vec::new();
    }
    let mut finder = Finder { manifests, index: Index::of_rules(manifests), found: Vec::new() };
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
            if let Some((reason, why)) = self.unresolved(route, reference) {
                self.add_route(route, in_rule(reference.rule, list, place), reason, format!("{why}; {what}"));
            }
        }
        for (rule, fault) in route.faults() {
            if !self.manifests.fault_injections.contains_key(&fault.name) {
                let message = format!("there is no FaultInjection {}; the rule answers 500", fault.name);
                self.add_route(route, in_rule(rule, "filters", fault.filter), Reason::FilterNotFound, message);
            }
        }
    }

    /// Why a Service that a route names cannot be sent to.
    fn unresolved(&self, route: &Route, Reference { service, port, .. }: Reference<'_>) -> Option<(Reason, String)> {
        if !self.index.permits(route, service) {
            let (theirs, ours) = (service.namespace.as_ref(), route.name.namespace.as_ref());
            let grant = format!("no ReferenceGrant in {theirs:?} lets {}s of {ours:?} name it", route.kind);
            return Some((Reason::RefNotPermitted, format!("Service {service} is in another namespace, and {grant}")));
        }
        let why = match self.manifests.services.get(service) {
            None => format!("there is no Service {service}"),
            Some(known) if known.port(port).is_none() => format!("Service {service} has no port {port}"),
            Some(_) => return None,
        };
        Some((Reason::BackendNotFound, why))
    }

    fn parent(&mut self, route: &Arc<Route>, parent: &ParentRef) {
        let field = vec![FieldStep::Key("spec"), FieldStep::Key("parentRefs"), FieldStep::Index(parent.place)];
        let (name, kind) = (&parent.service, route.kind);
        let Some(service) = self.manifests.services.get(name) else {
            let message = format!("there is no Service {name}; the {kind} has no effect there");
            return self.add_route(route, field, Reason::NoMatchingParent, message);
        };
        let ports: Vec<_> = service.ports.iter().filter(|port| parent.means(port)).collect();
        if ports.is_empty() {
            let message = format!("Service {name} has no such port; the {kind} has no effect there");
            return self.add_route(route, field, Reason::NoMatchingParent, message);
        }
        let consumer = route.consumer(name).map(AsRef::as_ref);
        let mut ignored = Vec::new();
        for port in &ports {
            let attached = self.index.attached(service, port, consumer).ignored.into_iter();
            let own = attached.filter(|(other, _)| Arc::ptr_eq(other, route));
            ignored.extend(own.map(|(_, why)| (port.number, why)));
        }
        // A route for all ports of a Service need not be for each of them.
        if parent.port.is_none() && parent.section.is_none() && ignored.len() < ports.len() {
            ignored.retain(|(_, why)| matches!(why, Ignored::LessSpecific(_)));
        }
        let everywhere = ignored.len() == ports.len();
        let reason = if everywhere { Reason::Conflicted } else { Reason::PartlyIneffective };
        for (port, why) in ignored {
            let why = match why {
                Ignored::LessSpecific(kind) => format!("has a {kind}, which is more specific"),
                Ignored::Opaque => "is declared to speak no HTTP (appProtocol, its name or its number)".to_owned(),
                Ignored::Http => "is declared to speak HTTP (appProtocol or its name)".to_owned(),
            };
            let message = format!("port {port} of Service {name} {why}; the {kind} has no effect there");
            self.add_route(route, field.clone(), reason, message);
        }
    }

    /// Connections to a port that several routes are for: the oldest has them.
    fn connections(&mut self) {
        let mut found = Vec::new();
        let routed = self.index.routes_by_service.iter().map(|(service, _)| service);
        let services = routed.filter_map(|service| self.manifests.services.get(service));
        for (service, port) in services.flat_map(|service| service.ports.iter().map(move |port| (service, port))) {
            let consumers = self.index.consumers(service, port);
            for consumer in consumers.iter().map(|consumer| Some(consumer.as_ref())).chain([None]) {
                for (younger, older, name) in shared(self.index.attached(service, port, consumer).routes) {
                    let message = format!(
                        "{} {} is older and has {} to port {} of Service {}",
                        older.kind,
                        older.name,
                        if name.is_empty() {
                            "all connections".to_owned()
                        } else {
                            format!("connections for {name:?}")
                        },
                        port.number,
                        service.name
                    );
                    found.push((Arc::clone(younger), message));
                }
            }
        }
        for (route, message) in found {
            let field = vec![FieldStep::Key("spec"), FieldStep::Key("parentRefs")];
            self.add_route(&route, field, Reason::Conflicted, message);
        }
    }

    fn policy(&mut self, policy: &Arc<TrafficPolicy>) {
        for (place, target) in policy.targets.iter().enumerate() {
            if let Some((reason, message)) = self.target(policy, target) {
                let field = vec![FieldStep::Key("spec"), FieldStep::Key("targetRefs"), FieldStep::Index(place)];
                self.add_policy(policy, field, reason, message);
            }
        }
        let Some(limit) = &policy.global_limit else { return };
        let known =
            self.manifests.services.get(&limit.service).is_some_and(|service| service.port(limit.port).is_some());
        if !known {
            let field = ["spec", "rateLimit", "global", "service"].map(FieldStep::Key).into();
            let done = if limit.fail_open { "requests pass" } else { "requests are refused" };
            let message = format!("there is no Service {} with a port {}; {done}", limit.service, limit.port);
            self.add_policy(policy, field, Reason::PartlyIneffective, message);
        }
    }

    /// Why a policy has no effect on a target, or not all.
    fn target(&self, policy: &Arc<TrafficPolicy>, target: &PolicyTarget) -> Option<(Reason, String)> {
        let name = &target.service;
        let Some(service) = self.manifests.services.get(name) else {
            let message = format!("there is no Service {name}; the policy has no effect there");
            return Some((Reason::TargetNotFound, message));
        };
        let section = target.section.as_ref();
        if let Some(section) = section.filter(|section| !service.ports.iter().any(|port| port.name == **section)) {
            let message = format!("Service {name} has no port of the name {section:?}; the policy has no effect there");
            return Some((Reason::TargetNotFound, message));
        }
        if let Some(older) = older(self.index.policies_by_service.of(name), policy, target) {
            let what = "is older and for the same; this one has no effect there";
            return Some((Reason::Conflicted, format!("TrafficPolicy {} {what}", older.name)));
        }
        let limits = !policy.local_limits.is_empty() || policy.global_limit.is_some();
        let what = "speaks no HTTP: the policy's rate limits have no effect there";
        (limits && opaque(service, target)).then(|| (Reason::PartlyIneffective, format!("Service {name} {what}")))
    }

    fn add_policy(&mut self, policy: &TrafficPolicy, field: Vec<FieldStep>, reason: Reason, message: String) {
        self.found.push(Conflict { subject: Subject::TrafficPolicy(policy.name.clone()), field, reason, message });
    }

    fn add_route(&mut self, route: &Route, field: Vec<FieldStep>, reason: Reason, message: String) {
        self.found.push(Conflict { subject: Subject::Route((route.kind, route.name.clone())), field, reason, message });
    }
}

/// An item of a list of a rule.
fn in_rule(rule: usize, list: &'static str, place: usize) -> Vec<FieldStep> {
    let rule = [FieldStep::Key("spec"), FieldStep::Key("rules"), FieldStep::Index(rule)];
    rule.into_iter().chain([FieldStep::Key(list), FieldStep::Index(place)]).collect()
}

fn refused(kind: RouteKind) -> &'static str {
    if kind.has_requests() { "its share is answered 500" } else { "its share is reset" }
}

/// Routes that are for connections which an older one has: the younger, the older, the name that they ask for.
fn shared(mut routes: Vec<&Arc<Route>>) -> Vec<(&Arc<Route>, &Arc<Route>, Arc<str>)> {
    routes.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
    let mut taken = BTreeMap::<Arc<str>, &Arc<Route>>::new();
    let mut shared = Vec::new();
    for route in routes {
        for name in connection_names(route) {
            match taken.get(&name) {
                Some(older) => shared.push((route, *older, name)),
                None => drop(taken.insert(name, route)),
            }
        }
    }
    shared
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
