//! Shifts and the audit trail as JSON over HTTP.

use super::*;

/// The body of a PUT: what may be left out has the defaults of `StartShiftRequest`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    to: String,
    #[serde(default)]
    port: u32,
    #[serde(default)]
    steps: Vec<u32>,
    #[serde(default)]
    interval: String,
    #[serde(default)]
    abort_if: String,
    min_requests: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    #[serde(default)]
    limit: u32,
}

pub(super) fn router() -> Router<Traffic> {
    let shift = "/v1/namespaces/{namespace}/services/{service}/shift";
    Router::new()
        .route(shift, get(shift_of).put(start).delete(abort))
        .route(&format!("{shift}:pause"), post(pause))
        .route(&format!("{shift}:resume"), post(resume))
        .route(&format!("{shift}:promote"), post(promote))
        .route(&format!("{shift}:abort"), post(abort))
        .route(&format!("{shift}:watch"), get(watch))
        .route("/v1/shifts", get(list))
        .route("/v1/namespaces/{namespace}/services/{service}/audit", get(audit))
}

type Answer = Result<Json<api::Shift>, ApiError>;

async fn start(
    State(traffic): State<Traffic>,
    Extension(caller): Extension<Caller>,
    path: ServicePath,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let Path((namespace, service)) = path.map_err(ApiError::rejected)?;
    let body = body.map_err(ApiError::rejected)?;
    let Start { to, port, steps, interval, abort_if, min_requests } = serde_json::from_slice(&body).map_err(|error| {
        ApiError::from(Status::invalid_argument(format!(
            "the body is not {{\"to\", \"port\"?, \"steps\"?, \"interval\"?, \"abort_if\"?, \"min_requests\"?}}: {error}"
        )))
    })?;
    let request = api::StartShiftRequest { namespace, service, to, port, steps, interval, abort_if, min_requests };
    Ok(Json(traffic.start(request, &caller).await?))
}

async fn shift_of(State(traffic): State<Traffic>, path: ServicePath) -> Answer {
    Ok(Json(traffic.shift(&request(path)?)?))
}

async fn pause(State(traffic): State<Traffic>, Extension(caller): Extension<Caller>, path: ServicePath) -> Answer {
    command(&traffic, path, Command::Pause, &caller).await
}

async fn resume(State(traffic): State<Traffic>, Extension(caller): Extension<Caller>, path: ServicePath) -> Answer {
    command(&traffic, path, Command::Resume, &caller).await
}

async fn promote(State(traffic): State<Traffic>, Extension(caller): Extension<Caller>, path: ServicePath) -> Answer {
    command(&traffic, path, Command::Promote, &caller).await
}

async fn abort(State(traffic): State<Traffic>, Extension(caller): Extension<Caller>, path: ServicePath) -> Answer {
    command(&traffic, path, Command::Abort, &caller).await
}

async fn command(traffic: &Traffic, path: ServicePath, command: Command, caller: &Caller) -> Answer {
    Ok(Json(traffic.command(&request(path)?, command, caller).await?))
}

async fn watch(State(traffic): State<Traffic>, path: ServicePath) -> Result<Response, ApiError> {
    Ok(json_lines(traffic.follow(&request(path)?)?))
}

async fn list(State(traffic): State<Traffic>, filter: Filter) -> Result<Json<api::ListShiftsResponse>, ApiError> {
    let Query(OfNamespace { namespace }) = filter.map_err(ApiError::rejected)?;
    Ok(Json(api::ListShiftsResponse { shifts: traffic.shifts(&namespace)? }))
}

async fn audit(
    State(traffic): State<Traffic>,
    path: ServicePath,
    limit: Result<Query<Limit>, QueryRejection>,
) -> Result<Json<api::ListAuditResponse>, ApiError> {
    let Path((namespace, service)) = path.map_err(ApiError::rejected)?;
    let Query(Limit { limit }) = limit.map_err(ApiError::rejected)?;
    let entries = traffic.audit(api::ListAuditRequest { namespace, service, limit }).await?;
    Ok(Json(api::ListAuditResponse { entries }))
}

fn request(path: ServicePath) -> Result<api::ShiftRequest, ApiError> {
    let Path((namespace, service)) = path.map_err(ApiError::rejected)?;
    Ok(api::ShiftRequest { namespace, service })
}
