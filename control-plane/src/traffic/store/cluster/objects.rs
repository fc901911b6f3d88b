//! The calls to the API server, and what their failures mean.

use std::time::Duration;

use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::DynamicObject;
use kube::core::response::Status as ApiStatus;
use serde_json::json;

use super::route::{self, MANAGER, NewRoute, SplitRoute};
use super::{ClusterStore, record};
use crate::mesh::ObjectName;
use crate::traffic::store::StoreError;

/// How long the API server may take for a call.
const CALL: Duration = Duration::from_secs(5);

const ROUTE: &str = "httproutes.gateway.networking.k8s.io";
const RECORD: &str = "trafficshifts.weft.dev";

/// Why a write was not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// The object is in another state by now, or gone, or there already.
    Moved,
    /// Somebody else owns the fields; what the API server says of it.
    Owned(String),
    /// All else.
    Store(StoreError),
}

/// How a route is applied.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manner {
    /// It is only tried.
    pub(super) dry_run: bool,
    /// Fields that another tool has changed are taken back.
    pub(super) force: bool,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl ClusterStore {
    /// The route of a Service's split, whoever made it.
    pub(super) async fn route(&self, service: &ObjectName) -> Result<Option<DynamicObject>, StoreError> {
        let name = route::route_name(&service.name);
        bounded(self.routes(service).get_opt(&name)).await.map_err(|error| failed(ROUTE, error))
    }

    /// The record of a Service.
    pub(super) async fn record(&self, service: &ObjectName) -> Result<Option<DynamicObject>, StoreError> {
        let name = &service.name;
        bounded(self.records(service).get_opt(name)).await.map_err(|error| failed(RECORD, error))
    }

    /// Makes an empty record; one that is there already is as good.
    pub(super) async fn make_record(&self, service: &ObjectName) -> Result<(), StoreError> {
        let (parameters, empty) =
            (PostParams { field_manager: Some(MANAGER.into()), ..<_>::default() }, record::empty(service));
        match bounded(self.records(service).create(&parameters, &empty)).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(error) => Err(failed(RECORD, error)),
            Ok(_) => Ok(()),
        }
    }

    /// Writes the status of a record, if it is still in the state that it was read in.
    pub(super) async fn write_record(
        &self,
        service: &ObjectName,
        object: &DynamicObject,
    ) -> Result<DynamicObject, Failure> {
        let parameters = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
        let written = bounded(self.records(service).replace_status(&service.name, &parameters, object)).await;
        written.map_err(|error| refused(RECORD, error))
    }

    /// Strikes what was pending off the record, if it is still that.
    pub(super) async fn strike(&self, service: &ObjectName, version: u64) -> Result<DynamicObject, Failure> {
        let patch = json!([
            {"op": "test", "path": "/status/pending/version", "value": version},
            {"op": "remove", "path": "/status/pending"},
        ]);
        let patch = serde_json::from_value(patch).map_err(|error| failed(RECORD, kube::Error::SerdeError(error)))?;
        let parameters = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        let patch = Patch::<()>::Json(patch);
        let patched = bounded(self.records(service).patch_status(&service.name, &parameters, &patch)).await;
        patched.map_err(|error| refused(RECORD, error))
    }

    /// Applies a route, or tries whether it could be. Never by force over an object that was not read, in this very state, as a
    /// split: it may have become anything.
    pub(super) async fn apply(
        &self,
        service: &ObjectName,
        new: &NewRoute,
        Manner { dry_run, force }: Manner,
    ) -> Result<DynamicObject, Failure> {
        let force = force && new.object.metadata.resource_version.is_some();
        let parameters = PatchParams { dry_run, force, ..PatchParams::apply(MANAGER) };
        let name = route::route_name(&service.name);
        let patch = Patch::Apply(&new.object);
        let applied = bounded(self.routes(service).patch(&name, &parameters, &patch)).await;
        applied.map_err(|error| refused(ROUTE, error))
    }

    /// Deletes a route, if it is still in the state that it was read in.
    pub(super) async fn delete_route(&self, route: &SplitRoute) -> Result<(), Failure> {
        let preconditions =
            Preconditions { uid: Some(route.uid.clone()), resource_version: Some(route.resource_version.clone()) };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let name = route::route_name(&route.service.name);
        let deleted = bounded(self.routes(&route.service).delete(&name, &parameters)).await;
        deleted.map(drop).map_err(|error| refused(ROUTE, error))
    }

    fn routes(&self, service: &ObjectName) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &service.namespace, &route::api_resource())
    }

    fn records(&self, service: &ObjectName) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &service.namespace, &record::api_resource())
    }
}

async fn bounded<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    let late = |elapsed| kube::Error::Service(Box::new(elapsed));
    tokio::time::timeout(CALL, call).await.map_err(late)?
}

fn failed(what: &'static str, error: kube::Error) -> StoreError {
    StoreError::Cluster { what, source: Box::new(error) }
}

/// What a write's failure means.
fn refused(what: &'static str, error: kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) => match meaning(&status) {
            Meaning::Moved => Failure::Moved,
            Meaning::Owned => Failure::Owned(status.message.clone()),
            Meaning::Invalid => Failure::Store(StoreError::Refused(status.message.clone())),
            Meaning::Other => Failure::Store(failed(what, kube::Error::Api(status))),
        },
        error => Failure::Store(failed(what, error)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Moved,
    Owned,
    Invalid,
    Other,
}

fn meaning(status: &ApiStatus) -> Meaning {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let owned = causes.clone().any(|cause| cause.reason == "FieldManagerConflict");
    match status.code {
        409 if owned => Meaning::Owned,
        404 | 409 => Meaning::Moved,
        // A JSON patch whose test fails.
        422 if status.message.contains("test") && causes.count() == 0 => Meaning::Moved,
        400 | 422 => Meaning::Invalid,
        _ => Meaning::Other,
    }
}
