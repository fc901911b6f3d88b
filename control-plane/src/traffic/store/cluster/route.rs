//! A split as people see it: an HTTPRoute `weft-SERVICE`, which they may edit.
//!
//! ```text
//! metadata:
//!   name: weft-api
//!   labels: {weft.dev/split: api, app.kubernetes.io/managed-by: weft}
//!   annotations:
//!     weft.dev/split-base: "4"                            # version of the split = this + metadata.generation
//!     weft.dev/dialled-ports: api-v1:80,api-v2:80         # these stand for the port that was dialled, whichever it was
//! spec:
//!   parentRefs: [{group: "", kind: Service, name: api}]
//!   rules: [{backendRefs: [{name: api-v1, port: 80, weight: 90}, {name: api-v2, port: 80, weight: 10}]}]
//! ```
//!
//! A route of this name and label that says more than shares (a match, a filter, another parent) is no split any more: it is
//! a route like others, and the traffic API leaves it alone.

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use kube::core::{ApiResource, DynamicObject};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::mesh::{ObjectName, SplitBackend};

/// The label of an HTTPRoute that is a split; its value is the Service.
pub const SPLIT_LABEL: &str = "weft.dev/split";
/// The annotation that the version of the split is counted from.
const BASE: &str = "weft.dev/split-base";
/// The annotation that tells which backends have no port of their own.
const DIALLED: &str = "weft.dev/dialled-ports";
/// Who writes it.
pub(super) const MANAGER: &str = "weft-traffic";
/// What the Gateway API takes for a backend that says no weight.
const DEFAULT_WEIGHT: u32 = 1;

/// An HTTPRoute that is a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SplitRoute {
    /// The Service that clients dial.
    pub(super) service: ObjectName,
    /// Goes up with each change of the split.
    pub(super) version: u64,
    /// What `metadata.generation` is added to.
    pub(super) base: u64,
    /// Which object it is, across one of the same name that was deleted.
    pub(super) uid: String,
    /// Which state of it.
    pub(super) resource_version: String,
    /// Where traffic goes.
    pub(super) backends: Vec<SplitBackend>,
    /// When it was written last, and by which field manager.
    pub(super) written: (SystemTime, String),
    /// The name that somebody gave to the rule.
    rule: Option<String>,
    /// The references as they stand there: name, port, weight.
    references: Vec<(String, u16, u32)>,
}

/// Why an HTTPRoute is no split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoSplit(pub(super) String);

/// Whether an HTTPRoute, whole, is a split, which the traffic store reads: to the registry it is none.
pub fn is_split(object: &Value) -> bool {
    of_object(object).is_some()
}

/// The Service of an HTTPRoute, whole, that is a split, and its backends, each with the port that stands there.
pub fn split_of_route(object: &Value) -> Option<(ObjectName, Vec<(SplitBackend, u16)>)> {
    let route = of_object(object)?;
    let ports = route.references.iter().map(|(_, port, _)| *port);
    Some((route.service, route.backends.into_iter().zip(ports).collect()))
}

fn of_object(object: &Value) -> Option<SplitRoute> {
    // Others need not be looked at more closely.
    object.pointer("/metadata/labels")?.get(SPLIT_LABEL)?;
    let metadata = ObjectMeta::deserialize(object.get("metadata")?).ok()?;
    read(&metadata, object.get("spec")?).ok()
}

/// The kind, as the API server has it.
pub(super) fn api_resource() -> ApiResource {
    ApiResource {
        group: "gateway.networking.k8s.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "gateway.networking.k8s.io/v1".to_owned(),
        kind: "HTTPRoute".to_owned(),
        plural: "httproutes".to_owned(),
    }
}

/// The name of a Service's split.
pub(super) fn route_name(service: &str) -> String {
    format!("weft-{service}")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    parent_refs: Vec<Reference>,
    #[serde(default)]
    hostnames: Vec<String>,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    name: Option<String>,
    #[serde(default)]
    matches: Vec<Value>,
    #[serde(default)]
    backend_refs: Vec<Reference>,
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

/// A parent or a backend.
#[derive(Deserialize)]
struct Reference {
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    port: Option<u16>,
    weight: Option<u32>,
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

/// Reads an HTTPRoute.
///
/// # Errors
/// With what makes it more, or less, than a split.
pub(super) fn read(metadata: &ObjectMeta, spec: &Value) -> Result<SplitRoute, NoSplit> {
    let no = |text: &str| NoSplit(text.to_owned());
    let name = metadata.name.as_deref().unwrap_or_default();
    let label = metadata.labels.as_ref().and_then(|labels| labels.get(SPLIT_LABEL));
    let service = label.ok_or_else(|| no("it has no label weft.dev/split"))?;
    if route_name(service) != name {
        return Err(NoSplit(format!("its label weft.dev/split names {service:?}, and not what its own name does")));
    }
    let namespace = metadata.namespace.as_deref().unwrap_or("default");
    let spec = Spec::deserialize(spec).map_err(|error| NoSplit(format!("its spec is not understood: {error}")))?;
    if !spec.hostnames.is_empty() || has_more(&spec.more) {
        return Err(no("its spec says more than parentRefs and rules"));
    }
    let [parent] = spec.parent_refs.as_slice() else { return Err(no("it has not just one parent")) };
    if !parent.is_service(namespace, "gateway.networking.k8s.io", "Gateway") || parent.name != *service {
        return Err(NoSplit(format!("its parent is not Service {service}")));
    }
    if parent.port.is_some() || has_more(&parent.more) {
        return Err(no("it is for one port of the Service"));
    }
    let [rule] = spec.rules.as_slice() else { return Err(no("it has not just one rule")) };
    if !rule.matches.iter().all(matches_all) || rule.matches.len() > 1 {
        return Err(no("its rule has matches"));
    }
    if has_more(&rule.more) {
        let fields: Vec<_> = rule.more.keys().map(String::as_str).collect();
        return Err(NoSplit(format!("its rule has {}", fields.join(", "))));
    }
    let dialled = Dialled::of(metadata);
    let mut route = SplitRoute {
        service: ObjectName::new(namespace, service.as_str()),
        version: 0,
        base: annotation(metadata, BASE).and_then(|text| text.parse().ok()).unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        backends: Vec::with_capacity(rule.backend_refs.len()),
        written: written(metadata),
        rule: rule.name.clone(),
        references: Vec::with_capacity(rule.backend_refs.len()),
    };
    let generation = metadata.generation.and_then(|generation| u64::try_from(generation).ok()).unwrap_or(1);
    route.version = route.base.saturating_add(generation);
    for to in &rule.backend_refs {
        let Some(port) = to.port.filter(|_| to.is_service(namespace, "", "Service") && !has_more(&to.more)) else {
            return Err(NoSplit(format!(
                "its backend {} is more than a Service of this namespace with a port",
                to.name
            )));
        };
        let weight = to.weight.unwrap_or(DEFAULT_WEIGHT);
        let own = (!dialled.has(&to.name, port)).then_some(port);
        route.backends.push(SplitBackend { service: to.name.as_str().into(), port: own, weight });
        route.references.push((to.name.clone(), port, weight));
    }
    if route.backends.is_empty() { Err(no("its rule has no backend")) } else { Ok(route) }
}

impl Reference {
    /// Whether it is a Service of this namespace, where this is what group and kind are if they are not said.
    fn is_service(&self, namespace: &str, group: &str, kind: &str) -> bool {
        self.group.as_deref().unwrap_or(group).is_empty()
            && self.kind.as_deref().unwrap_or(kind) == "Service"
            && self.namespace.as_deref().is_none_or(|own| own == namespace)
    }
}

/// Whether there are fields that say anything.
fn has_more(fields: &BTreeMap<String, Value>) -> bool {
    fields.values().any(|value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    })
}

/// The match that the API server fills in where there is none.
fn matches_all(one: &Value) -> bool {
    *one == json!({"path": {"type": "PathPrefix", "value": "/"}}) || one.as_object().is_some_and(|all| all.is_empty())
}

fn annotation<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The references whose port stands for the port that was dialled.
struct Dialled<'a>(Vec<(&'a str, u16)>);

impl<'a> Dialled<'a> {
    fn of(metadata: &'a ObjectMeta) -> Self {
        let entries = annotation(metadata, DIALLED).unwrap_or_default().split(',');
        let entry =
            |text: &'a str| text.trim().split_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)));
        Self(entries.filter_map(entry).collect())
    }

    fn has(&self, name: &str, port: u16) -> bool {
        self.0.contains(&(name, port))
    }
}

/// When the spec was written last, and by whom.
fn written(metadata: &ObjectMeta) -> (SystemTime, String) {
    let entries = metadata.managed_fields.iter().flatten();
    let spec = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.get("f:spec"));
        entry.subresource.as_deref().unwrap_or_default().is_empty() && fields.is_some()
    };
    let last = entries.filter(spec).filter_map(|entry| Some((entry.time.as_ref()?.0, entry))).max_by_key(|(at, _)| *at);
    let (at, who) = match last {
        Some((at, entry)) => (Some(at), entry.manager.clone().unwrap_or_default()),
        None => (metadata.creation_timestamp.as_ref().map(|at| at.0), String::new()),
    };
    (at.map_or(SystemTime::UNIX_EPOCH, SystemTime::from), who)
}

/// A split that is to be written in the place of what is there.
#[derive(Clone, Debug)]
pub(super) struct NewRoute {
    /// The version that it will have.
    pub(super) version: u64,
    /// What is applied.
    pub(super) object: DynamicObject,
}

impl NewRoute {
    /// `backends` with the port that each reference is to have; `latest` is the highest version that the Service's split
    /// ever had, as far as is known.
    pub(super) fn new(
        service: &ObjectName,
        backends: &[(SplitBackend, u16)],
        current: Option<&SplitRoute>,
        latest: u64,
    ) -> Self {
        let references: Vec<_> = backends.iter().map(|(to, port)| (to.service.to_string(), *port, to.weight)).collect();
        let (base, version) = match current {
            // What is the same leaves metadata.generation as it is.
            Some(current) if current.references == references => (current.base.saturating_add(1), current.version + 1),
            Some(current) => (current.base, current.version + 1),
            None => (latest, latest + 1),
        };
        let dialled = backends.iter().filter(|(to, _)| to.port.is_none());
        let dialled: Vec<_> = dialled.map(|(to, port)| format!("{}:{port}", to.service)).collect();
        let to = references.iter().map(|(name, port, weight)| json!({"name": name, "port": port, "weight": weight}));
        let mut rule = json!({"backendRefs": to.collect::<Vec<_>>()});
        if let (Some(name), Some(rule)) = (current.and_then(|current| current.rule.clone()), rule.as_object_mut()) {
            rule.insert("name".to_owned(), name.into());
        }
        let parent = json!({"group": "", "kind": "Service", "name": &*service.name});
        let spec = json!({"parentRefs": [parent], "rules": [rule]});
        let mut object = DynamicObject::new(&route_name(&service.name), &api_resource()).data(json!({"spec": spec}));
        object.metadata.namespace = Some(service.namespace.to_string());
        object.metadata.resource_version = current.map(|current| current.resource_version.clone());
        let labels = [(SPLIT_LABEL, &*service.name), ("app.kubernetes.io/managed-by", "weft")];
        object.metadata.labels = Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        let annotations = [(BASE, base.to_string()), (DIALLED, dialled.join(","))];
        let annotations = annotations.into_iter().filter(|(_, value)| !value.is_empty());
        object.metadata.annotations = Some(annotations.map(|(key, value)| (key.to_owned(), value)).collect());
        Self { version, object }
    }
}

#[cfg(test)]
mod tests;
