//! Route configurations: the routes in force, in the Gateway API's order of precedence, then a split, then the Service
//! itself.
//!
//! What a rule doesn't say of time-outs and repetition, the Service's TrafficPolicy does.

use prost::Message as _;
use weft_api::xds::pb::envoy::config::route::v3::{
    DirectResponseAction, Route as XdsRoute, RouteConfiguration, VirtualHost, route::Action,
};
use weft_api::xds::{self, METADATA_MANIFEST, pb::google::protobuf::value::Kind};

use super::encode::{append, append_entry};
use super::{Target, consumer_of, name_of};
use crate::mesh::{
    Backend, Forward, Mesh, ObjectName, Protocol, Route, RouteAction, RouteKind, RouteRule, Service, ServicePort,
    Split, TrafficPolicy,
};

mod action;
mod filters;
mod matches;
mod precedence;
mod retry;

use filters::PerFilter;
pub(super) use matches::header as header_condition;

/// The cluster that there is none of: what goes there is answered 500, or reset.
pub(super) const REFUSED: &str = "weft.dev/refused";

/// The routes of a Service's port, or of a pod that is dialled by its own address; with `@NAMESPACE` behind the name,
/// those that the clients of that namespace have for themselves. `None` where HTTP is not spoken.
pub(super) fn configuration(mesh: &Mesh, name: &str) -> Option<Vec<u8>> {
    let (plain, consumer) = consumer_of(name);
    let target = Target::find(mesh, plain)?;
    let routes = match (&target, consumer) {
        (Target::Service(service, port), consumer) => of_service(mesh, service, port, consumer)?,
        (Target::Pod(..), Some(_)) => return None,
        (Target::Pod(_, Protocol::Opaque), None) => return None,
        (Target::Pod(..), None) => {
            let manifest = format!("Pod {plain}");
            let forward = Forward::default();
            let to = action::to_clusters(&[action::To::plain(target.name(), 1)]);
            vec![Written::new("default", &manifest, matches::all(), action::forward(to, &forward, Vec::new(), None))]
        }
    };
    let mut host =
        VirtualHost { name: target.name(), domains: vec!["*".to_owned()], ..VirtualHost::default() }.encode_to_vec();
    routes.iter().for_each(|route| append(&mut host, 3, &route.encode()));
    let mut configuration =
        RouteConfiguration { name: name.to_owned(), ..RouteConfiguration::default() }.encode_to_vec();
    append(&mut configuration, 2, &host);
    Some(configuration)
}

/// The backends of a split that take anything, for clients that dialled this port.
pub(super) fn split_backends(split: &Split, dialled: &ServicePort) -> Vec<Backend> {
    let backends = split.backends.iter().filter(|backend| backend.weight > 0);
    backends
        .map(|backend| {
            let service = ObjectName::new(split.service.namespace.clone(), backend.service.clone());
            Backend::new(service, backend.port.unwrap_or(dialled.number), backend.weight)
        })
        .collect()
}

fn of_service(mesh: &Mesh, service: &Service, port: &ServicePort, consumer: Option<&str>) -> Option<Vec<Written>> {
    if consumer.is_some_and(|namespace| !mesh.consumers(service, port).contains(namespace)) {
        return None;
    }
    let attached = mesh.attached(service, port, consumer);
    if attached.protocol(port.protocol) == Protocol::Opaque {
        return None;
    }
    let policy = mesh.policy(service, port);
    let entries = match attached.kind() {
        Some(RouteKind::Grpc | RouteKind::Http) => precedence::ordered(&attached.routes),
        _ => Vec::new(),
    };
    let unmatched = !entries.is_empty();
    let writer = Writer { mesh, policy };
    let mut routes: Vec<Written> = entries.iter().map(|entry| writer.rule(entry)).collect();
    let plain = |backends| Forward { backends, ..Forward::default() };
    routes.push(match mesh.split_of(&service.name) {
        Some(split) => {
            let manifest = format!("Split {}", service.name);
            let backends = split_backends(split, port);
            let exists =
                |to: &Backend| mesh.service_named(&to.service).is_some_and(|known| known.port(to.port).is_some());
            let action = if backends.iter().any(exists) {
                let to: Vec<_> =
                    backends.iter().map(|to| action::To::plain(name_of(&to.service, to.port), to.weight)).collect();
                action::forward(action::to_clusters(&to), &plain(backends), Vec::new(), policy)
            } else {
                answer(500)
            };
            Written::new("split", &manifest, matches::all(), action)
        }
        // The Gateway API: what matches none of the routes of a Service that has routes is rejected.
        None if unmatched => {
            Written::new("unmatched", &format!("Service {}", service.name), matches::all(), answer(404))
        }
        None => {
            let to = action::to_clusters(&[action::To::plain(name_of(&service.name, port.number), 1)]);
            let action = action::forward(to, &plain(Vec::new()), Vec::new(), policy);
            Written::new("default", &format!("Service {}", service.name), matches::all(), action)
        }
    });
    Some(routes)
}

/// Writes rules.
struct Writer<'a> {
    mesh: &'a Mesh,
    policy: Option<&'a TrafficPolicy>,
}

impl Writer<'_> {
    fn rule(&self, entry: &precedence::Entry<'_>) -> Written {
        let (route, rule) = (entry.route, entry.rule);
        let name = format!("{}/{}", route.name.name, rule.name);
        let manifest = format!("{} {} rules[{}]", route.kind, route.name, entry.place.0);
        let mut written = Written::new(&name, &manifest, matches::condition(entry.condition), answer(500));
        let Some(fault) = self.fault(rule) else { return written };
        written.route.action = Some(match &rule.action {
            RouteAction::Refuse => return written,
            RouteAction::Redirect(redirect) => action::redirect(redirect),
            RouteAction::Forward(forward) => match self.forward(route, forward) {
                Some(action) => {
                    written.per_filter.extend(forward.session.as_ref().map(filters::session));
                    action
                }
                None => return written,
            },
        });
        written.per_filter.extend(fault);
        filters::edit(&mut written.route, &rule.filters);
        written
    }

    /// What is injected; `None`: the FaultInjection that the rule names is not there, so that the rule answers 500.
    fn fault(&self, rule: &RouteRule) -> Option<Option<(&'static str, Vec<u8>)>> {
        match &rule.filters.fault {
            None => Some(None),
            Some(named) => self.mesh.fault_injection(&named.name).map(|fault| Some(filters::fault(fault))),
        }
    }

    /// Backends that do not exist keep their share, as the Gateway API asks: a proxy answers 500 for a cluster that there
    /// is none of. `None`: none of them exists.
    fn forward(&self, route: &Route, forward: &Forward) -> Option<Action> {
        use crate::mesh::Resolution::{Found, NotPermitted, Unknown};

        let resolve = |service, port| self.mesh.resolves(route, service, port);
        let weighted: Vec<_> = forward.backends.iter().filter(|backend| backend.weight > 0).collect();
        if !weighted.iter().any(|to| resolve(&to.service, to.port) == Found) {
            return None;
        }
        let to: Vec<_> = weighted
            .iter()
            .map(|to| match resolve(&to.service, to.port) {
                Found | Unknown => action::To::filtered(name_of(&to.service, to.port), to),
                NotPermitted => action::To::plain(REFUSED.to_owned(), to.weight),
            })
            .collect();
        let mirrors = forward.mirrors.iter().filter(|to| resolve(&to.service, to.port) == Found).collect();
        Some(action::forward(action::to_clusters(&to), forward, mirrors, self.policy))
    }
}

/// A route, and what it has of filters: a map, which is encoded in order.
struct Written {
    route: XdsRoute,
    per_filter: PerFilter,
}

impl Written {
    fn new(name: &str, manifest: &str, condition: matches::Condition, action: Action) -> Self {
        let metadata = xds::metadata([(METADATA_MANIFEST, Kind::StringValue(manifest.to_owned()))]);
        let route = XdsRoute {
            name: name.to_owned(),
            metadata: Some(metadata),
            r#match: Some(condition),
            action: Some(action),
            ..XdsRoute::default()
        };
        Self { route, per_filter: PerFilter::new() }
    }

    fn encode(&self) -> Vec<u8> {
        let mut encoded = self.route.encode_to_vec();
        self.per_filter.iter().for_each(|(name, config)| append_entry(&mut encoded, 13, name, config));
        encoded
    }
}

fn answer(status: u32) -> Action {
    Action::DirectResponse(DirectResponseAction { status, ..DirectResponseAction::default() })
}
