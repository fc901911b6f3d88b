//! The gRPC service: aggregated discovery, delta and state of the world.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use weft_api::streams::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use weft_api::xds::pb::envoy::service::discovery::v3 as discovery;

use super::protocol::{Delta, Protocol, StateOfTheWorld};
use super::publisher::Publisher;
use super::session::Opened;
use crate::tls_listener::Peer;

type Responses<T> = BoxStream<'static, Result<T, Status>>;

/// `envoy.service.discovery.v3.AggregatedDiscoveryService`
pub struct Discovery {
    publisher: Arc<Publisher>,
    shutdown: CancellationToken,
}

impl Discovery {
    /// The service. All streams end when `shutdown` is cancelled.
    pub fn service(publisher: Arc<Publisher>, shutdown: CancellationToken) -> AggregatedDiscoveryServiceServer<Self> {
        AggregatedDiscoveryServiceServer::new(Self { publisher, shutdown })
    }

    fn open<P: Protocol>(
        &self,
        request: Request<Streaming<P::Request>>,
    ) -> Result<Response<Responses<P::Response>>, Status> {
        let Some(peer) = request.extensions().get::<Peer>().and_then(Peer::id).cloned() else {
            return Err(Status::unauthenticated(
                "discovery needs the workload's certificate; have one by CreateCertificate",
            ));
        };
        let opened = Opened::<P> {
            publisher: Arc::clone(&self.publisher),
            peer,
            requests: request.into_inner(),
            shutdown: self.shutdown.clone(),
        };
        Ok(Response::new(opened.responses().boxed()))
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Discovery {
    type StreamAggregatedResourcesStream = Responses<discovery::DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<discovery::DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<discovery::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        self.open::<StateOfTheWorld>(request)
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<discovery::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        self.open::<Delta>(request)
    }
}
