//! For tests: an API server that has the route and the record of one Service, and of an API server only what the store needs.

use std::sync::Arc;

use axum::http::{Method, Request, Response, StatusCode, Uri};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::ClusterStore;
use super::route::MANAGER;
use crate::mesh::{ObjectName, SplitBackend};
use crate::registry::testing::{DEMO, good};

/// The Service.
pub(super) fn api() -> ObjectName {
    ObjectName::new("shop", "api")
}

/// Weights of `api-v1` and `api-v2`.
pub(super) fn weights(v1: u32, v2: u32) -> [SplitBackend; 2] {
    let backend = |service: &str, weight| SplitBackend { service: service.into(), port: None, weight };
    [backend("api-v1", v1), backend("api-v2", v2)]
}

/// Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Server(Arc<Mutex<Objects>>);

#[derive(Default)]
struct Objects {
    version: u64,
    route: Option<Value>,
    record: Option<Value>,
    /// How often a route was really written by force.
    forced: u32,
}

impl Server {
    /// A store over it, in the mesh of the demo.
    pub(super) fn store(&self) -> Arc<ClusterStore> {
        let objects = Arc::clone(&self.0);
        let service = tower::service_fn(move |request: Request<Body>| {
            let objects = Arc::clone(&objects);
            async move {
                let (asked, body) = request.into_parts();
                let body = serde_json::from_slice(&body.collect_bytes().await?).unwrap_or_default();
                let (code, answer) = objects.lock().answer(&asked.method, &asked.uri, body);
                let mut response = Response::new(Body::from(answer.to_string().into_bytes()));
                *response.status_mut() = StatusCode::from_u16(code).unwrap();
                Ok::<_, kube::Error>(response)
            }
        });
        let manifests = watch::channel(Arc::new(good(DEMO))).1;
        ClusterStore::new(kube::Client::new(service, "default"), manifests)
    }

    /// What another tool makes of the route.
    pub(super) fn edit(&self, tool: &str, edit: impl FnOnce(&mut Value)) {
        let mut objects = self.0.lock();
        let mut route =
            objects.route.take().unwrap_or_else(|| json!({"metadata": {"name": "weft-api", "namespace": "shop"}}));
        edit(&mut route);
        let generation = route.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default();
        let route = objects.stamped(route, generation + 1, tool);
        objects.route = Some(route);
    }

    /// What becomes of the record without the store.
    pub(super) fn edit_record(&self, edit: impl FnOnce(&mut Value)) {
        let mut objects = self.0.lock();
        let mut record = objects.record.take().unwrap();
        edit(&mut record["status"]);
        objects.record = Some(objects.numbered(record));
    }

    /// The weights that the route has.
    pub(super) fn weights(&self) -> Vec<u64> {
        let references = self.0.lock().route.as_ref().unwrap()["spec"]["rules"][0]["backendRefs"].clone();
        references.as_array().unwrap().iter().map(|to| to["weight"].as_u64().unwrap()).collect()
    }

    pub(super) fn record(&self) -> Value {
        self.0.lock().record.clone().unwrap()["status"].take()
    }

    pub(super) fn forced(&self) -> u32 {
        self.0.lock().forced
    }
}

impl Objects {
    fn answer(&mut self, method: &Method, uri: &Uri, body: Value) -> (u16, Value) {
        let is_route = uri.path().contains("/httproutes/");
        match (method.as_str(), is_route) {
            ("GET", true) => found(self.route.as_ref()),
            ("GET", false) => found(self.record.as_ref()),
            ("PATCH", true) => self.apply(body, uri.query().unwrap_or_default()),
            ("POST", false) => {
                let record = self.numbered(body);
                self.record = Some(record.clone());
                (201, record)
            }
            ("PUT", false) => {
                let mut record = self.record.take().unwrap();
                if body["metadata"]["resourceVersion"] != record["metadata"]["resourceVersion"] {
                    self.record = Some(record);
                    return refused("the object has been modified", &[]);
                }
                record["status"] = body["status"].clone();
                self.kept(record)
            }
            ("PATCH", false) => {
                let mut record = self.record.clone().unwrap();
                let patch: json_patch::Patch = serde_json::from_value(body).unwrap();
                json_patch::patch(&mut record, &patch).unwrap();
                self.kept(record)
            }
            other => panic!("{other:?} of {uri}"),
        }
    }

    fn kept(&mut self, record: Value) -> (u16, Value) {
        let record = self.numbered(record);
        self.record = Some(record.clone());
        (200, record)
    }

    /// Server-side apply, as far as the rules go: they are one field, whose owner is who wrote it last.
    fn apply(&mut self, new: Value, query: &str) -> (u16, Value) {
        let has = |parameter: &str| query.split('&').any(|one| one == parameter);
        let mut generation = 1;
        if let Some(current) = &self.route {
            let read = new.pointer("/metadata/resourceVersion");
            if read.is_some_and(|read| *read != current["metadata"]["resourceVersion"]) {
                return refused("the object has been modified", &[]);
            }
            let owner = current["metadata"]["managedFields"][0]["manager"].as_str().unwrap();
            let differs = new["spec"] != current["spec"];
            if differs && owner != MANAGER && !has("force=true") {
                let conflict = format!("conflict with {owner:?} using gateway.networking.k8s.io/v1:\n- .spec.rules");
                return refused(&format!("Apply failed with 1 conflict: {conflict}"), &["FieldManagerConflict"]);
            }
            generation = current["metadata"]["generation"].as_i64().unwrap() + i64::from(differs);
        }
        if has("dryRun=All") {
            return (200, new);
        }
        self.forced += u32::from(has("force=true"));
        let route = self.stamped(new, generation, MANAGER);
        self.route = Some(route.clone());
        (200, route)
    }

    /// An HTTPRoute as it is after a write.
    fn stamped(&mut self, route: Value, generation: i64, manager: &str) -> Value {
        let mut route = self.numbered(route);
        route["metadata"]["generation"] = json!(generation);
        let fields = json!({"f:spec": {"f:rules": {}}});
        route["metadata"]["managedFields"] = json!([{
            "manager": manager, "operation": "Apply", "apiVersion": "gateway.networking.k8s.io/v1",
            "time": "2026-11-23T19:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields,
        }]);
        (route["apiVersion"], route["kind"]) = (json!("gateway.networking.k8s.io/v1"), json!("HTTPRoute"));
        route
    }

    fn numbered(&mut self, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        object["metadata"]["uid"] = json!("u1");
        object
    }
}

fn found(object: Option<&Value>) -> (u16, Value) {
    match object {
        Some(object) => (200, object.clone()),
        None => (
            404,
            json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "message": "not found", "code": 404}),
        ),
    }
}

fn refused(message: &str, causes: &[&str]) -> (u16, Value) {
    let causes: Vec<_> = causes.iter().map(|reason| json!({"reason": reason, "field": ".spec.rules"})).collect();
    let details = json!({"causes": causes});
    let status = json!({"kind": "Status", "status": "Failure", "reason": "Conflict", "message": message, "code": 409});
    let mut status = status;
    status["details"] = details;
    (409, status)
}
