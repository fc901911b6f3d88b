//! The three servers, with their time-outs and bounds.

use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::pb::health_server::{Health, HealthServer};
use weft_api::istio_ca::istio_certificate_service_server::IstioCertificateServiceServer;
use weft_api::streams::discovery::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use weft_api::streams::load_reporting::load_reporting_service_server::LoadReportingServiceServer;
use weft_certs::identity::WorkloadIdentity;
use weft_certs::server::ServerCertificate;
use weft_certs::tls;

use crate::ca::CertificateService;
use crate::load::LoadReporting;
use crate::tls_listener;
use crate::xds::Discovery;

/// A silent connection is pinged after this long.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// A ping without answer ends the connection after this long.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests of one connection at a time.
const MAX_REQUESTS: u32 = 128;
/// The largest header block, in bytes.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// Why a server is no more.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// gRPC and its connections.
    #[error("a server failed")]
    Grpc(#[from] tonic::transport::Error),
    /// Plain HTTP.
    #[error("the metrics server failed")]
    Http(#[from] std::io::Error),
    /// It ended without being told to.
    #[error("a server ended by itself")]
    Ended,
    /// A mistake in the control plane.
    #[error("a server panicked; this is a bug in weft-control")]
    Panicked(#[source] JoinError),
}

/// What proxies use.
pub(super) struct Xds<H> {
    pub(super) discovery: AggregatedDiscoveryServiceServer<Discovery>,
    pub(super) certificates: IstioCertificateServiceServer<CertificateService>,
    pub(super) load: LoadReportingServiceServer<LoadReporting>,
    pub(super) health: HealthServer<H>,
}

impl<H: Health> Xds<H> {
    /// Serves over TLS until `shutdown`.
    pub(super) async fn serve(
        self,
        listener: TcpListener,
        identity: WorkloadIdentity,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        let routes = Routes::new(self.discovery).add_service(self.certificates);
        let routes = routes.add_service(self.load).add_service(self.health);
        let incoming = tls_listener::incoming(listener, tls::control_server(&identity));
        server().add_routes(routes).serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned()).await?;
        Ok(())
    }
}

/// Serves the API until `shutdown`: with an identity over TLS, else plainly.
pub(super) async fn api(
    listener: TcpListener,
    router: Router,
    identity: Option<WorkloadIdentity>,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let server = server().accept_http1(true).add_routes(Routes::from(router));
    let stopped = shutdown.cancelled_owned();
    match identity {
        Some(identity) => {
            let incoming = tls_listener::incoming(listener, tls::control_server(&identity));
            server.serve_with_incoming_shutdown(incoming, stopped).await?;
        }
        None => {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            server.serve_with_incoming_shutdown(incoming, stopped).await?;
        }
    }
    Ok(())
}

/// Serves the webhooks over TLS until `shutdown`.
pub(super) async fn webhooks(
    listener: TcpListener,
    router: Router,
    certificate: ServerCertificate,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let incoming = tls_listener::incoming(listener, tls::named_server(&certificate));
    let server = server().accept_http1(true).add_routes(Routes::from(router));
    server.serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned()).await?;
    Ok(())
}

/// Serves metrics and health until `shutdown`.
pub(super) async fn metrics(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await?;
    Ok(())
}

fn server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_REQUESTS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
}
