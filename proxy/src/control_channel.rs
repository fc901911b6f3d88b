//! The connection to the control plane: TCP with the proxy's mark, TLS with the identity that is current at the
//! handshake, HTTP/2 with keepalive.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rand::seq::SliceRandom as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use weft_certs::bundle::TrustBundle;
use weft_certs::identity::WorkloadIdentity;
use weft_certs::spiffe::SpiffeId;
use weft_certs::tls;

use crate::config::{Config, HostPort};
use crate::path::socket;
use crate::resolver;

#[cfg(test)]
mod tests;

/// How long the control plane may take to accept a connection, and again to finish the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the look-up of the control plane's name may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// The most addresses of a name that are tried for one connection.
const MOST_ADDRESSES: usize = 8;
/// A silent connection is pinged at this interval...
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// ... and given up after as long without an answer: so a replica that died without a word is left within 5 s.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Where the control plane is and who it must be.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Its address for discovery and certificates.
    pub(crate) address: HostPort,
    /// The SPIFFE id that it must show.
    pub(crate) spiffe_id: SpiffeId,
    /// `SO_MARK` of the socket, so that the redirect rules let it pass.
    pub(crate) mark: Option<u32>,
}

impl Target {
    /// The control plane of the configuration.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            address: config.control_plane.address.clone(),
            spiffe_id: config.control_plane.spiffe_id.clone(),
            mark: config.socket_mark,
        }
    }
}

/// A channel that shows our certificate. It connects when it is first used, and again after it was lost, each time with
/// the certificate and the roots that are current then.
pub(crate) fn channel(target: &Target, identity: &WorkloadIdentity) -> Channel {
    connect_lazily(target, tls::control_client(Some(identity), &identity.bundle(), &target.spiffe_id))
}

/// A channel for a proxy that has no certificate yet: it believes `bundle` and shows nothing.
pub(crate) fn channel_without_certificate(target: &Target, bundle: &TrustBundle) -> Channel {
    connect_lazily(target, tls::control_client(None, bundle, &target.spiffe_id))
}

/// What is behind a failed call, for people: the innermost error that tonic keeps, else the control plane's own words.
pub(crate) fn cause(status: &tonic::Status) -> String {
    let mut innermost = None;
    let mut next = status.source();
    while let Some(error) = next {
        innermost = Some(error);
        next = error.source();
    }
    innermost.map_or_else(|| status.message().to_owned(), ToString::to_string)
}

fn connect_lazily(target: &Target, config: Arc<rustls::ClientConfig>) -> Channel {
    let target = target.clone();
    let connector = TlsConnector::from(config);
    endpoint(&target.address).connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let (target, connector) = (target.clone(), connector.clone());
        async move { connect(&target, &connector).await.map(TokioIo::new) }
    }))
}

/// TLS is the connector's business, so the scheme is `http` for tonic.
fn endpoint(address: &HostPort) -> Endpoint {
    let authority = http::uri::Authority::try_from(address.to_string());
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(http::uri::Scheme::HTTP);
    uri.authority = authority.ok();
    uri.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    Endpoint::from(Uri::from_parts(uri).unwrap_or_default())
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}

/// Looks the name up and tries its addresses, beginning with any of them, until one answers as the control plane.
async fn connect(target: &Target, connector: &TlsConnector) -> io::Result<TlsStream<TcpStream>> {
    let addresses = lookup(&target.address).await?;
    let mut failed = None;
    for address in addresses {
        match connect_to(address, target, connector).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = Some(error),
        }
    }
    let nowhere = || io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", target.address));
    Err(failed.unwrap_or_else(nowhere))
}

/// The addresses of the control plane, in random order, so that proxies spread over its replicas.
async fn lookup(target: &HostPort) -> io::Result<Vec<SocketAddr>> {
    let HostPort { host, port } = target;
    let failed = |kind, cause: &dyn std::fmt::Display| {
        let hint = "is the name right, and does the pod's DNS work?";
        io::Error::new(kind, format!("can't resolve the control plane's name {host}: {cause}; {hint}"))
    };
    let mut addresses = tokio::time::timeout(LOOKUP_TIMEOUT, resolver::lookup(host, *port))
        .await
        .map_err(|_| failed(io::ErrorKind::TimedOut, &"no answer in time"))?
        .map_err(|error| failed(io::ErrorKind::NotFound, &error))?;
    addresses.shuffle(&mut rand::rng());
    addresses.truncate(MOST_ADDRESSES);
    Ok(addresses)
}

async fn connect_to(
    address: SocketAddr,
    target: &Target,
    connector: &TlsConnector,
) -> io::Result<TlsStream<TcpStream>> {
    let connected = socket::connect(address, target.mark, CONNECT_TIMEOUT).await;
    let stream = connected.and_then(|stream| socket::expect_reader(&stream).map(|()| stream)).map_err(|cause| {
        io::Error::new(cause.kind(), format!("can't reach the control plane at {address}: {cause}"))
    })?;
    let handshake = connector.connect(tls::server_name(&target.spiffe_id), stream);
    match tokio::time::timeout(CONNECT_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(io::Error::new(
            error.kind(),
            format!("no TLS with the control plane at {address}: {}", tls::explain(&error)),
        )),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("{address} accepted the connection but not the TLS handshake in time; is it the control plane?"),
        )),
    }
}
