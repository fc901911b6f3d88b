//! The two paths that the API server calls, bounded.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use tokio::sync::Semaphore;

use super::Webhooks;
use super::review::{Answer, Review, Verdict};
use super::validator;

/// Twice what etcd takes of one object, since an update comes with the object as it was.
const BODY_BYTES: usize = 8 << 20;
/// Requests at a time; more wait. With `BODY_BYTES` it bounds the memory.
const MOST_AT_A_TIME: usize = 32;
/// The API server waits 10 s at most, as the chart has it.
const TIMEOUT: Duration = Duration::from_secs(9);

/// The webhooks' HTTP.
pub(crate) fn router(webhooks: Arc<Webhooks>) -> Router {
    let permits = Arc::new(Semaphore::new(MOST_AT_A_TIME));
    Router::new()
        .route("/inject", post(inject))
        .route("/validate", post(validate))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(permits, bounded))
        .with_state(webhooks)
}

/// Waits for its turn before anything of the body is read, and gives up before the API server does.
async fn bounded(State(permits): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let work = async {
        let _permit = permits.acquire().await;
        next.run(request).await
    };
    match tokio::time::timeout(TIMEOUT, work).await {
        Ok(response) => response,
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "no answer in time: too many requests at once?\n").into_response(),
    }
}

type Asked = Result<Json<Review>, JsonRejection>;
type Answered = Result<Json<Answer>, (StatusCode, String)>;

async fn inject(State(webhooks): State<Arc<Webhooks>>, asked: Asked) -> Answered {
    let request = request(asked)?;
    let uid = request.uid.clone();
    // An error of ours is none of the pod's: `failurePolicy` decides.
    let verdict = webhooks.injector.verdict(request).await.map_err(|error| {
        tracing::error!(%error, "a pod could not be looked at");
        (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
    })?;
    webhooks.metrics.admitted("inject", outcome(&verdict));
    Ok(Json(verdict.answer(uid)))
}

async fn validate(State(webhooks): State<Arc<Webhooks>>, asked: Asked) -> Answered {
    let request = request(asked)?;
    let uid = request.uid.clone();
    let verdict = validator::verdict(&request);
    webhooks.metrics.admitted("validate", outcome(&verdict));
    Ok(Json(verdict.answer(uid)))
}

fn request(asked: Asked) -> Result<super::review::Request, (StatusCode, String)> {
    match asked {
        Ok(Json(review)) => Ok(review.request),
        Err(rejection) => Err((rejection.status(), format!("{}\n", rejection.body_text()))),
    }
}

fn outcome(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Allowed { .. } => "allowed",
        Verdict::Patched { .. } => "injected",
        Verdict::Denied { .. } => "denied",
    }
}
