//! Tells on the objects themselves what became of them: conditions of routes, policies and faults.
//!
//! ```text
//! registry: what there is, its generation ─┐
//! conflicts between manifests ─────────────┼─> is anything different from what was written last? ─> read the object,
//! rollout: which proxies have the routes ──┘      judge it, write its status where that differs
//! ```
//!
//! The leader alone does so, a few objects a second at most, and only the entries that are ours. Each write names the state
//! of the object that it was made from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kube::api::{Api, PostParams};
use kube::core::{ApiResource, DynamicObject};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;

use super::Cluster;
use super::rollouts::PeerRollouts;
use crate::leading::Leading;
use crate::mesh::{Conflict, Conflicts, Manifests, ObjectName, RouteKind, Subject};
use crate::registry::{self, Fault, Generations, Registry};
use crate::traffic::store::split_of_route;
use crate::xds::Publisher;

mod conditions;
mod splits;

use conditions::Known;

/// How often it is looked whether something is different.
const TICK: Duration = Duration::from_secs(1);
/// The pause between two objects: 40 a second at most.
const PACE: Duration = Duration::from_millis(25);
/// How long the API server may take.
const CALL: Duration = Duration::from_secs(5);

/// An object with a status, as the registry names it.
type Key = (&'static str, ObjectName);

/// Writes statuses, as long as this replica leads.
pub struct StatusWriter {
    cluster: Cluster,
    leading: Leading,
    manifests: watch::Receiver<Arc<Manifests>>,
    generations: watch::Receiver<Arc<Generations>>,
    publisher: Arc<Publisher>,
    peers: Arc<PeerRollouts>,
    /// What each object's status was written from.
    written: BTreeMap<Key, Basis>,
    kinds: BTreeMap<&'static str, ApiResource>,
    conflicts: Conflicts,
    /// The same by the object that is their subject.
    by_subject: BTreeMap<Key, Vec<Conflict>>,
}

/// What a status is made from, beside the object itself.
#[derive(Clone, Debug, Default, PartialEq)]
struct Basis {
    generation: i64,
    conflicts: Vec<Conflict>,
    /// How many of the proxies have it, of how many, by parent.
    rollouts: Vec<(u32, u32)>,
}

/// What became of an attempt.
enum Outcome {
    Done,
    Again,
}

impl StatusWriter {
    /// Nothing is written yet.
    pub fn new(
        cluster: Cluster,
        registry: &Registry,
        (publisher, peers): (Arc<Publisher>, Arc<PeerRollouts>),
        leading: Leading,
    ) -> Self {
        Self {
            cluster,
            leading,
            manifests: registry.manifests.clone(),
            generations: registry.generations.clone(),
            publisher,
            peers,
            written: BTreeMap::new(),
            kinds: BTreeMap::new(),
            conflicts: Conflicts::default(),
            by_subject: BTreeMap::new(),
        }
    }

    /// Writes until it is dropped.
    pub async fn run(mut self) {
        loop {
            if self.leading.now() {
                let manifests = Arc::clone(&self.manifests.borrow());
                self.look(manifests).await;
            } else {
                // Another replica writes meanwhile.
                self.written.clear();
            }
            tokio::select! {
                () = sleep(TICK) => {}
                () = self.leading.changed() => {}
            }
        }
    }

    /// Looks at all objects once.
    async fn look(&mut self, manifests: Arc<Manifests>) {
        let generations = Arc::clone(&self.generations.borrow());
        if self.conflicts.follow(&manifests) {
            self.by_subject = by_subject(self.conflicts.found());
        }
        self.written.retain(|key, _| generations.contains_key(key));
        for (key, generation) in generations.iter() {
            let conflicts = self.by_subject.get(key).cloned().unwrap_or_default();
            let rollouts = self.rollouts(&manifests, key);
            let basis = Basis { generation: *generation, conflicts, rollouts };
            if self.written.get(key) == Some(&basis) {
                continue;
            }
            if !self.leading.now() {
                return;
            }
            match tokio::time::timeout(CALL, self.update(key, &basis, &manifests)).await {
                Ok(Ok(Outcome::Done)) => drop(self.written.insert(key.clone(), basis)),
                Ok(Ok(Outcome::Again)) => {}
                Ok(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(kind = key.0, name = %key.1, error, "a status could not be written; trying again");
                    return;
                }
                Err(_) => {
                    tracing::warn!(kind = key.0, name = %key.1, "the API server took too long for a status; trying again");
                    return;
                }
            }
            sleep(PACE).await;
        }
    }

    /// Reads an object, judges it, and writes its status where it differs.
    async fn update(&mut self, key: &Key, basis: &Basis, manifests: &Manifests) -> Result<Outcome, kube::Error> {
        let (kind, name) = key;
        let Some(resource) = self.resource(kind).await? else { return Ok(Outcome::Again) };
        let objects: Api<DynamicObject> = Api::namespaced_with(self.cluster.client.clone(), &name.namespace, &resource);
        let object = match objects.get_opt(&name.name).await {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(Outcome::Done),
            Err(error) => return Err(error),
        };
        if object.metadata.generation.unwrap_or_default() != basis.generation {
            // The registry has not heard of it yet.
            return Ok(Outcome::Again);
        }
        let value = serde_json::to_value(&object).map_err(kube::Error::SerdeError)?;
        let Some(status) = self.status(kind, &value, basis, manifests) else { return Ok(Outcome::Done) };
        if value.get("status") == Some(&status) {
            return Ok(Outcome::Done);
        }
        let mut new = object;
        new.data = serde_json::json!({ "status": status, "spec": value.get("spec") });
        let parameters = PostParams { field_manager: Some("weft-status".to_owned()), ..PostParams::default() };
        match objects.replace_status(&name.name, &parameters, &new).await {
            Ok(_) => {
                tracing::debug!(kind, %name, "a status was written");
                Ok(Outcome::Done)
            }
            // Somebody was faster, or it is gone.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Outcome::Again),
            // Ours is not what the schema takes; that will not change by itself.
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => {
                tracing::error!(kind, %name, message = status.message, "the API server refuses a status");
                Ok(Outcome::Done)
            }
            Err(error) => Err(error),
        }
    }

    /// The kind as the API server has it, looked up once.
    async fn resource(&mut self, kind: &'static str) -> Result<Option<ApiResource>, kube::Error> {
        if let Some(known) = self.kinds.get(kind) {
            return Ok(Some(known.clone()));
        }
        let group = if kind.ends_with("Route") { "gateway.networking.k8s.io" } else { "weft.dev" };
        let group = match kube::discovery::group(&self.cluster.client, group).await {
            Ok(group) => group,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            Err(error) => return Err(error),
        };
        let found = group.recommended_kind(kind).map(|(resource, _)| resource);
        if let Some(found) = &found {
            self.kinds.insert(kind, found.clone());
        }
        Ok(found)
    }

    /// What the status of an object is to be; `None`: it has none of ours.
    fn status(&self, kind: &str, object: &Value, basis: &Basis, manifests: &Manifests) -> Option<Value> {
        let checked = registry::check(object)?;
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let faults: &[Fault] = &checked.faults;
        let (conflicts, rollouts) = (&*basis.conflicts, &*basis.rollouts);
        let known = Known { usable: checked.usable, faults, conflicts, rollouts, now: &now };
        match kind {
            "TrafficPolicy" => return conditions::of_policy(object, &known),
            "FaultInjection" => return conditions::of_fault(object, &known),
            _ => {}
        }
        match split_of_route(object) {
            // It is not among the routes: the traffic store has it.
            Some((service, backends)) => {
                let conflicts = splits::conflicts(manifests, &service, &backends);
                conditions::of_route(object, &Known { conflicts: &conflicts, ..known })
            }
            None => conditions::of_route(object, &known),
        }
    }

    /// How many of the proxies have it, of how many, for each parent of a route.
    fn rollouts(&self, manifests: &Manifests, key: &Key) -> Vec<(u32, u32)> {
        let kinds = [RouteKind::Grpc, RouteKind::Http, RouteKind::Tls, RouteKind::Tcp];
        let Some(kind) = kinds.into_iter().find(|kind| kind.name() == key.0) else { return Vec::new() };
        let rollout = |service: &ObjectName| self.peers.all(&self.publisher, service);
        match manifests.routes.get(&(kind, key.1.clone())) {
            Some(route) => route.parents.iter().map(|parent| rollout(&parent.service)).collect(),
            None => {
                let Some(service) = key.1.name.strip_prefix("weft-") else { return Vec::new() };
                let service = ObjectName::new(Arc::clone(&key.1.namespace), service);
                let is_split = self.publisher.mesh().split_of(&service).is_some();
                is_split.then(|| rollout(&service)).into_iter().collect()
            }
        }
    }
}

fn by_subject(conflicts: &[Conflict]) -> BTreeMap<Key, Vec<Conflict>> {
    let mut found = BTreeMap::<Key, Vec<Conflict>>::new();
    for conflict in conflicts {
        let key = match &conflict.subject {
            Subject::Route((kind, name)) => (kind.name(), name.clone()),
            Subject::TrafficPolicy(name) => ("TrafficPolicy", name.clone()),
        };
        found.entry(key).or_default().push(conflict.clone());
    }
    found
}
