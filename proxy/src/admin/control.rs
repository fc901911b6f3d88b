//! Port 15000, loopback only: state dump, log level, drain.

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde::Serialize;

use super::{Admin, Certificate, loopback};
use crate::discovery::{Counts, ResourceState};

/// A log filter is no longer than this.
const BODY_BYTES: usize = 4096;

pub(super) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/config", get(config))
        .route("/log-level", get(log_level).put(set_log_level))
        .route("/drain", post(drain))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn(loopback::require_host))
        .with_state(admin)
}

/// What the proxy knows.
#[derive(Debug, Serialize)]
struct Dump {
    version: &'static str,
    /// `POD.NAMESPACE`
    node: String,
    certificate: Option<Certificate>,
    control_plane: ControlPlane,
    discovery: Option<Counts>,
    resources: Vec<ResourceState>,
}

#[derive(Debug, Serialize)]
struct ControlPlane {
    address: String,
    connected: bool,
}

async fn config(State(admin): State<Admin>) -> Json<Dump> {
    let resources = match admin.directory() {
        Some(directory) => directory.resources().await,
        None => Vec::new(),
    };
    let counts = admin.directory().map(|directory| directory.counts());
    Json(Dump {
        version: env!("CARGO_PKG_VERSION"),
        node: admin.0.node_id.clone(),
        certificate: admin.certificate(),
        control_plane: ControlPlane {
            address: admin.0.control_plane.to_string(),
            connected: counts.is_some_and(|counts| counts.connected),
        },
        discovery: counts,
        resources,
    })
}

async fn log_level(State(admin): State<Admin>) -> Result<String, (StatusCode, String)> {
    let filter = admin.0.log.filter().map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, line(&error)))?;
    Ok(format!("{filter}\n"))
}

async fn set_log_level(State(admin): State<Admin>, filter: String) -> Result<String, (StatusCode, String)> {
    admin.0.log.set_filter(filter.trim()).map_err(|error| (StatusCode::BAD_REQUEST, line(&error)))?;
    tracing::info!(filter = filter.trim(), "log filter changed");
    log_level(State(admin)).await
}

async fn drain(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    tracing::info!("drain asked for by the admin port");
    admin.0.drainer.start();
    (StatusCode::ACCEPTED, "draining\n")
}

fn line(error: &impl std::error::Error) -> String {
    format!("{error}\n")
}
