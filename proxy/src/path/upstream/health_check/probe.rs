//! One look at an endpoint's health, on the way that its traffic takes.

use std::rc::Rc;
use std::time::Duration;

use http::header::{HOST, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Request, StatusCode, Uri};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use weft_rules::health::Probe;

use crate::path::body::Body;
use crate::path::connection::Connection;
use crate::path::discard::discard;
use crate::path::upstream::grpc::{CallError, GrpcEndpoint};
use crate::path::upstream::{EndpointState, SendError};

/// As what the probes show up in access logs.
const AGENT: HeaderValue = HeaderValue::from_static("weft-health-check");

/// Why an endpoint did not pass.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// It did not answer.
    #[error(transparent)]
    Send(#[from] SendError),
    /// It did not answer in time.
    #[error("there was no answer within {0:?}")]
    TimedOut(Duration),
    /// It answered with something else than was expected.
    #[error("the answer was {0}")]
    Status(StatusCode),
    /// gRPC failed, or the answer was not `SERVING`.
    #[error("{0}")]
    Grpc(String),
}

impl Failed {
    /// Whether it was our own limit, which says nothing about the endpoint.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Self::Send(SendError::Overflow(_)))
    }
}

/// Asks the endpoint once. Has no time-out of its own.
///
/// # Errors
/// Where it does not pass.
pub(super) async fn probe(endpoint: &Rc<EndpointState>, probe: &Probe) -> Result<(), Failed> {
    match probe {
        Probe::Http { path, host, .. } => {
            let status = http(endpoint, path, host.as_ref()).await?;
            if probe.expects(status) { Ok(()) } else { Err(Failed::Status(status)) }
        }
        Probe::Grpc { service } => grpc(endpoint, service).await,
        Probe::Tcp => tcp(endpoint).await,
    }
}

async fn http(
    endpoint: &Rc<EndpointState>,
    path: &PathAndQuery,
    host: Option<&HeaderValue>,
) -> Result<StatusCode, SendError> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = Uri::from(path.clone());
    // As the kubelet's probes, unless told: a cluster's name is not always a valid host.
    let own = || HeaderValue::from_str(&endpoint.endpoint.address.to_string()).ok();
    if let Some(host) = host.cloned().or_else(own) {
        request.headers_mut().insert(HOST, host);
    }
    request.headers_mut().insert(USER_AGENT, AGENT);
    let response = endpoint.send(request).await?;
    let status = response.status();
    discard(response.into_body()).await;
    Ok(status)
}

/// `grpc.health.v1.Health/Check`, see <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>.
async fn grpc(endpoint: &Rc<EndpointState>, service: &str) -> Result<(), Failed> {
    let transport = GrpcEndpoint(Rc::clone(endpoint));
    let origin = transport.origin();
    let mut client = HealthClient::with_origin(transport, origin);
    let mut request = tonic::Request::new(HealthCheckRequest { service: service.to_owned() });
    if let Ok(agent) = AGENT.to_str().unwrap_or_default().parse() {
        request.metadata_mut().insert("user-agent", agent);
    }
    match client.check(request).await {
        Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => Ok(()),
        Ok(answer) => Err(Failed::Grpc(format!("the answer was {}", answer.get_ref().status().as_str_name()))),
        Err(status) => Err(failed_call(&status)),
    }
}

/// tonic hides what its transport says behind a status.
fn failed_call(status: &tonic::Status) -> Failed {
    let cause = std::error::Error::source(status).and_then(|cause| cause.downcast_ref());
    match cause {
        Some(CallError::Send(SendError::Overflow(overflow))) => SendError::Overflow(overflow.clone()).into(),
        _ => Failed::Grpc(format!("{:?}: {}", status.code(), status.message())),
    }
}

async fn tcp(endpoint: &Rc<EndpointState>) -> Result<(), Failed> {
    match endpoint.open().await?.0 {
        Connection::Socket(_) => {}
        Connection::Tunnel(mut tunnel) => {
            // Nothing was sent, so that this is an end, not a reset. Fails where the peer has gone already.
            let _ = tunnel.finish();
        }
    }
    Ok(())
}
