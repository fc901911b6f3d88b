//! A gRPC client of an endpoint: short calls of the proxy's own, over the same connections as the traffic.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Collected, Limited};

use super::{EndpointState, SendError};
use crate::path::body::Body;

/// The most that a message with its frame may have, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;

/// An endpoint as the transport of a tonic client. For unary calls: messages are collected, not streamed.
#[derive(Clone)]
pub(crate) struct GrpcEndpoint(pub(crate) Rc<EndpointState>);

/// Why a call got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The message could not be encoded.
    #[error("the message could not be sent: {0}")]
    Message(#[from] tonic::Status),
    /// The endpoint did not answer.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The answer broke off, or was longer than a message may be.
    #[error("the answer cannot be read: {0}")]
    Answer(Box<dyn std::error::Error + Send + Sync>),
}

impl GrpcEndpoint {
    /// What requests are made for: the endpoint's own address.
    pub(crate) fn origin(&self) -> Uri {
        let authority = self.0.endpoint.address.to_string();
        // An address is always an authority.
        Uri::builder().scheme("http").authority(authority).path_and_query("/").build().unwrap_or_default()
    }

    async fn exchange(self, request: Request<tonic::body::Body>) -> Result<Response<Collected<Bytes>>, CallError> {
        let (parts, body) = request.into_parts();
        let message = body.collect().await?.to_bytes();
        let response = self.0.send(Request::from_parts(parts, Body::text(message))).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_MESSAGE).collect().await.map_err(CallError::Answer)?;
        Ok(Response::from_parts(parts, body))
    }
}

impl tower::Service<Request<tonic::body::Body>> for GrpcEndpoint {
    type Response = Response<Collected<Bytes>>;
    type Error = CallError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, CallError>>>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.clone().exchange(request))
    }
}
