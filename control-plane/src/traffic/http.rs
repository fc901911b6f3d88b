//! The traffic API as JSON over HTTP.

use axum::Extension;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use futures::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use tonic::Status;
use weft_api::traffic as api;

use super::service::MAX_REQUEST_BYTES;
use super::shift::Command;
use super::{Traffic, TrafficError};
use crate::api::Caller;
use crate::api::error::ApiError;

mod shifts;

/// The JSON routes, below `/v1`.
pub fn router(traffic: Traffic) -> Router {
    Router::new()
        .route(
            "/v1/namespaces/{namespace}/services/{service}/split",
            get(get_split).put(set_weights).delete(delete_split),
        )
        .route("/v1/splits", get(list_splits))
        .route("/v1/splits:watch", get(watch_splits))
        .merge(shifts::router())
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(traffic)
}

/// The body of a PUT.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Weights {
    backends: Vec<Backend>,
    expected_version: Option<u64>,
    #[serde(default)]
    take_over: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Backend {
    service: String,
    #[serde(default)]
    port: u32,
    weight: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfNamespace {
    #[serde(default)]
    namespace: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    expected_version: Option<u64>,
}

/// A line of a watch.
#[derive(Serialize)]
struct Line {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    split: Option<api::Split>,
}

type ServicePath = Result<Path<(String, String)>, PathRejection>;
type Filter = Result<Query<OfNamespace>, QueryRejection>;

async fn set_weights(
    State(traffic): State<Traffic>,
    Extension(caller): Extension<Caller>,
    path: ServicePath,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<api::Split>, ApiError> {
    let Path((namespace, service)) = path.map_err(ApiError::rejected)?;
    let body = body.map_err(ApiError::rejected)?;
    let weights: Weights = serde_json::from_slice(&body).map_err(|error| {
        ApiError::from(Status::invalid_argument(format!(
            "the body is not {{\"backends\": [{{\"service\", \"weight\", \"port\"?}}], \"expected_version\"?, \"take_over\"?}}: \
             {error}"
        )))
    })?;
    let backend = |b: Backend| api::Backend { service: b.service, port: b.port, weight: b.weight };
    let Weights { backends, expected_version, take_over } = weights;
    let backends = backends.into_iter().map(backend).collect();
    let request = api::SetWeightsRequest { namespace, service, backends, expected_version, take_over };
    Ok(Json(traffic.set(request, &caller).await?))
}

async fn get_split(State(traffic): State<Traffic>, path: ServicePath) -> Result<Json<api::Split>, ApiError> {
    let Path((namespace, service)) = path.map_err(ApiError::rejected)?;
    Ok(Json(traffic.get(&api::GetSplitRequest { namespace, service })?))
}

async fn delete_split(
    State(traffic): State<Traffic>,
    Extension(caller): Extension<Caller>,
    path: ServicePath,
    expected: Result<Query<Expected>, QueryRejection>,
) -> Result<Json<api::DeleteSplitResponse>, ApiError> {
    let Path((namespace, service)) = path.map_err(ApiError::rejected)?;
    let Query(Expected { expected_version }) = expected.map_err(ApiError::rejected)?;
    let request = api::DeleteSplitRequest { namespace, service, expected_version };
    traffic.delete(request, &caller).await?;
    Ok(Json(api::DeleteSplitResponse {}))
}

async fn list_splits(
    State(traffic): State<Traffic>,
    filter: Filter,
) -> Result<Json<api::ListSplitsResponse>, ApiError> {
    let Query(OfNamespace { namespace }) = filter.map_err(ApiError::rejected)?;
    Ok(Json(api::ListSplitsResponse { splits: traffic.list(&namespace)? }))
}

async fn watch_splits(State(traffic): State<Traffic>, filter: Filter) -> Result<Response, ApiError> {
    let Query(OfNamespace { namespace }) = filter.map_err(ApiError::rejected)?;
    let lines = traffic.watch(namespace)?;
    Ok(json_lines(lines.map(|event| Line { kind: event.kind().as_str_name(), split: event.split })))
}

/// A JSON object a line, as they come.
fn json_lines<T: Serialize>(values: impl Stream<Item = T> + Send + 'static) -> Response {
    let lines = values.map(|value| {
        serde_json::to_vec(&value).map(|mut bytes| {
            bytes.push(b'\n');
            bytes
        })
    });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    (StatusCode::OK, headers, Body::from_stream(lines)).into_response()
}

impl From<TrafficError> for ApiError {
    fn from(error: TrafficError) -> Self {
        Status::from(error).into()
    }
}
