//! Port 15020: metrics, health and the application's probes.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::{Admin, Certificate, probe};
use crate::telemetry::metrics::CONTENT_TYPE;

pub(super) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/probe/{container}/{kind}", get(probe::answer))
        .with_state(admin)
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match admin.0.registry.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Whether the proxy can do its work. It stays ready while it drains, and when the control plane goes away.
#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    /// What is still missing.
    waiting_for: Vec<&'static str>,
    certificate: Option<Certificate>,
    control_plane_connected: bool,
}

impl Readiness {
    fn of(admin: &Admin) -> Self {
        let mut waiting_for = Vec::new();
        if admin.0.serving.get().is_none() {
            waiting_for.push("the certificate");
        }
        if !admin.directory().is_some_and(|directory| directory.inbound_held()) {
            waiting_for.push("the policies of this pod (listener `inbound`)");
        }
        Self {
            ready: waiting_for.is_empty(),
            waiting_for,
            certificate: admin.certificate(),
            control_plane_connected: admin.directory().is_some_and(|directory| directory.counts().connected),
        }
    }
}

async fn readyz(State(admin): State<Admin>) -> (StatusCode, Json<Readiness>) {
    let readiness = Readiness::of(&admin);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}
