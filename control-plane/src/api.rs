//! The API port: gRPC (traffic, status, health, reflection) and JSON, over HTTP/1.1 and HTTP/2.

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use tonic::Status;
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};
use weft_api::status::status_server::StatusServer;

pub mod error;
pub mod guard;

use self::error::{ApiError, is_grpc, refuse};
pub use self::guard::{Caller, Guard};
use crate::status::StatusService;
use crate::traffic::{self, Traffic};

/// How long a request may take until its answer begins.
const ANSWER: Duration = Duration::from_secs(15);
/// The services that reflection tells of.
const REFLECTED: [&str; 3] = ["weft.traffic.v1.Traffic", "weft.status.v1.Status", "grpc.health.v1.Health"];

/// Everything that the API port serves, behind `guard`.
///
/// # Errors
/// When the descriptors of the services don't fit together.
pub fn router<H: Health>(
    traffic: Traffic,
    status: StatusService,
    health: HealthServer<H>,
    guard: Guard,
) -> Result<Router, tonic_reflection::server::Error> {
    let grpc = Routes::new(traffic.clone().into_server())
        .add_service(StatusServer::new(status))
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    let grpc = grpc.into_axum_router().layer(middleware::from_fn(only_grpc)).reset_fallback();
    Ok(traffic::http::router(traffic)
        .method_not_allowed_fallback(|| async {
            ApiError::new(
                axum::http::StatusCode::METHOD_NOT_ALLOWED,
                Status::unimplemented("this path has other methods"),
            )
        })
        .merge(grpc)
        .fallback(unknown)
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(guard, guard::check)))
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(weft_api::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    REFLECTED.into_iter().fold(builder, tonic_reflection::server::Builder::with_service_name)
}

/// Bounds a request up to the head of its answer; watches may last.
async fn in_time(request: Request, next: middleware::Next) -> Response {
    let headers = request.headers().clone();
    let late = |_| refuse(&headers, Status::deadline_exceeded(format!("not done within {ANSWER:?}")));
    tokio::time::timeout(ANSWER, next.run(request)).await.unwrap_or_else(late)
}

/// A web page can make a browser send any text to a server on the same machine, but not with this content type.
async fn only_grpc(request: Request, next: middleware::Next) -> Response {
    if is_grpc(request.headers()) {
        return next.run(request).await;
    }
    let status = Status::invalid_argument("this path is gRPC's; send content-type: application/grpc");
    ApiError::new(axum::http::StatusCode::UNSUPPORTED_MEDIA_TYPE, status).into_response()
}

async fn unknown(request: Request) -> Response {
    let path: String = request.uri().path().chars().take(120).collect();
    if is_grpc(request.headers()) {
        return refuse(request.headers(), Status::unimplemented(format!("{path:?} is no method of this server")));
    }
    ApiError::from(Status::not_found(format!("there is nothing at {path:?}; the traffic API is below /v1")))
        .into_response()
}
