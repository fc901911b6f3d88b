//! A gRPC status as a JSON answer: `{"error": {"code": "ABORTED", "message": ..., "details": [...]}}`.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// An error of the JSON form.
#[derive(Debug)]
pub struct ApiError {
    http: StatusCode,
    status: Status,
}

impl ApiError {
    /// An error whose HTTP status is not that of its gRPC code.
    pub fn new(http: StatusCode, status: Status) -> Self {
        Self { http, status }
    }

    /// What axum could not read: a path, a query or a body.
    pub fn rejected(rejection: impl IntoResponse + std::fmt::Display) -> Self {
        let message = rejection.to_string();
        let http = rejection.into_response().status();
        let status = match http {
            StatusCode::PAYLOAD_TOO_LARGE => Status::resource_exhausted(message),
            _ => Status::invalid_argument(message),
        };
        Self { http, status }
    }
}

impl From<Status> for ApiError {
    fn from(status: Status) -> Self {
        Self { http: http_status(status.code()), status }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = json!({
            "code": code_name(self.status.code()),
            "message": self.status.message(),
            "details": details(&self.status),
        });
        let mut response = (self.http, Json(json!({ "error": error }))).into_response();
        if self.http == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The answer to a request that is refused, in the form in which it came.
pub fn refuse(request: &HeaderMap, status: Status) -> Response {
    if is_grpc(request) { status.into_http::<Body>() } else { ApiError::from(status).into_response() }
}

/// Whether a request is gRPC's.
pub fn is_grpc(request: &HeaderMap) -> bool {
    request.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// As in `google/rpc/code.proto`.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The details that this API gives, each with its type as in protobuf's JSON form of `Any`.
fn details(status: &Status) -> Vec<Value> {
    let details = status.get_error_details();
    let typed = |name: &str| format!("type.googleapis.com/google.rpc.{name}");
    let mut list = Vec::new();
    if let Some(bad) = details.bad_request() {
        let violations = bad.field_violations.iter();
        let violations: Vec<_> =
            violations.map(|v| json!({ "field": v.field, "description": v.description })).collect();
        list.push(json!({ "@type": typed("BadRequest"), "field_violations": violations }));
    }
    if let Some(resource) = details.resource_info() {
        list.push(json!({
            "@type": typed("ResourceInfo"),
            "resource_type": resource.resource_type,
            "resource_name": resource.resource_name,
            "description": resource.description,
        }));
    }
    if let Some(failure) = details.precondition_failure() {
        let violations = failure.violations.iter();
        let violations: Vec<_> = violations
            .map(|v| json!({ "type": v.r#type, "subject": v.subject, "description": v.description }))
            .collect();
        list.push(json!({ "@type": typed("PreconditionFailure"), "violations": violations }));
    }
    if let Some(info) = details.error_info() {
        list.push(json!({
            "@type": typed("ErrorInfo"),
            "reason": info.reason,
            "domain": info.domain,
            "metadata": info.metadata,
        }));
    }
    list
}
