//! The only place that builds rustls configurations: TLS 1.3, X25519MLKEM768 or X25519, ECDSA P-256, peers verified by
//! SPIFFE id and never by host name.
//!
//! A configuration holds the identity's handle, and so presents the certificate and believes the roots that are current
//! when a handshake happens: build it once, keep it, and rotation needs nothing more.

use std::sync::Arc;

use rustls::client::{ClientConfig, ResolvesClientCert, Resumption};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;

use crate::bundle::TrustBundle;
use crate::identity::WorkloadIdentity;
use crate::server::ServerCertificate;
use crate::spiffe::SpiffeId;

mod explain;
mod policy;
#[cfg(test)]
mod tests;
mod unverified;
mod verifier;
mod verify;

pub use crate::x509::{LeafError, PeerCertificate};
pub use explain::explain;
pub(crate) use policy::provider;
pub use policy::{Group, PolicyError, Suite, TlsPolicy, install_policy};
pub use unverified::unverified_client;
use verifier::{Clients, PeerVerifier, Roots};
pub use verify::VerifyError;
use verify::{Expected, Usage};

/// HTTP/2, the protocol of the mesh's transport and of gRPC.
const H2: &[u8] = b"h2";
/// HTTP/1.1, for clients which address us directly.
const HTTP_1_1: &[u8] = b"http/1.1";

/// Makes aws-lc-rs the cryptography of the whole process. The first thing in `main`; later calls change nothing.
pub fn install_provider() {
    // The error says that one is installed already, which is what we want.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// For the mesh's own door (15008): ALPN `h2`; clients must show a certificate of our trust domain.
pub fn mesh_server(identity: &WorkloadIdentity) -> Arc<ServerConfig> {
    server(identity, Clients::Required, &[H2])
}

/// For mesh clients without a sidecar that address us by SNI on 15006: ALPN `h2`, `http/1.1`; clients must show a
/// certificate of our trust domain.
pub fn direct_server(identity: &WorkloadIdentity) -> Arc<ServerConfig> {
    server(identity, Clients::Required, &[H2, HTTP_1_1])
}

/// For the control plane's door (15012): ALPN `h2`; clients may have no certificate yet, but a bad one is refused.
pub fn control_server(identity: &WorkloadIdentity) -> Arc<ServerConfig> {
    server(identity, Clients::Optional, &[H2])
}

/// For clients that know the server by its DNS name and show nothing: ALPN `h2`, `http/1.1`.
pub fn named_server(certificate: &ServerCertificate) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap_or_else(|_| unreachable!("the policy has TLS 1.3 suites and groups"))
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificate.clone()));
    config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
    Arc::new(config)
}

/// For a connection to a peer's 15008: ALPN `h2`; the peer must be exactly `expected`.
pub fn mesh_client(identity: &WorkloadIdentity, expected: &SpiffeId) -> Arc<ClientConfig> {
    client(Roots::Current(identity.clone()), Some(identity), expected)
}

/// For a connection to the control plane: ALPN `h2`; it must be exactly `expected`. With an identity, our certificate is
/// shown and the identity's current roots are believed; without, `bundle` is.
pub fn control_client(
    identity: Option<&WorkloadIdentity>,
    bundle: &TrustBundle,
    expected: &SpiffeId,
) -> Arc<ClientConfig> {
    let roots = identity.map_or_else(|| Roots::Fixed(bundle.clone()), |identity| Roots::Current(identity.clone()));
    client(roots, identity, expected)
}

/// The SNI to send to a peer. An id that can't be written as a DNS name is addressed without SNI.
pub fn server_name(expected: &SpiffeId) -> ServerName<'static> {
    ServerName::try_from(expected.server_name())
        .unwrap_or_else(|_| ServerName::IpAddress(std::net::IpAddr::from([0, 0, 0, 0]).into()))
}

/// The peer of a finished handshake, from the certificates that rustls keeps of it.
///
/// # Errors
/// When the peer showed no certificate; or one that is no workload's, which a handshake by this module's
/// configurations never lets through.
pub fn peer_certificate(certificates: Option<&[CertificateDer<'_>]>) -> Result<PeerCertificate, PeerIdError> {
    let leaf = certificates.and_then(<[_]>::first).ok_or(PeerIdError::NoCertificate)?;
    Ok(PeerCertificate::parse(leaf)?)
}

/// The SPIFFE id in [`peer_certificate`].
///
/// # Errors
/// The same.
pub fn peer_id(certificates: Option<&[CertificateDer<'_>]>) -> Result<SpiffeId, PeerIdError> {
    peer_certificate(certificates).map(|certificate| certificate.id)
}

/// Why a connection has no peer identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerIdError {
    /// The peer showed no certificate.
    #[error("the peer showed no certificate")]
    NoCertificate,
    /// The peer's certificate is not a workload's.
    #[error(transparent)]
    Leaf(#[from] LeafError),
}

/// Verifies a certificate of our own as the peers will.
pub(crate) fn verify_own(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    id: &SpiffeId,
    now: rustls::pki_types::UnixTime,
) -> Result<(), VerifyError> {
    let expected = Expected::Id(id.clone());
    verify::chain(leaf, intermediates, bundle, Usage::Client, &expected, now)?;
    verify::chain(leaf, intermediates, bundle, Usage::Server, &expected, now)?;
    Ok(())
}

fn server(identity: &WorkloadIdentity, clients: Clients, alpn: &[&[u8]]) -> Arc<ServerConfig> {
    let roots = Roots::Current(identity.clone());
    let expected = Expected::Domain(identity.id().trust_domain().clone());
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap_or_else(|_| unreachable!("the policy has TLS 1.3 suites and groups"))
        .with_client_cert_verifier(Arc::new(PeerVerifier::new(roots, expected, clients)))
        .with_cert_resolver(Arc::new(Current(identity.clone())));
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    if !policy::current().resumption {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Arc::new(config)
}

fn client(roots: Roots, identity: Option<&WorkloadIdentity>, expected: &SpiffeId) -> Arc<ClientConfig> {
    let verifier = PeerVerifier::new(roots, Expected::Id(expected.clone()), Clients::Required);
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap_or_else(|_| unreachable!("the policy has TLS 1.3 suites and groups"))
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(Current(identity.clone()))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![H2.to_vec()];
    if !policy::current().resumption {
        config.resumption = Resumption::disabled();
    }
    Arc::new(config)
}

/// Presents the certificate that is current at the moment of the handshake.
#[derive(Debug)]
struct Current(WorkloadIdentity);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.certified_key())
    }
}

impl ResolvesClientCert for Current {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.certified_key())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
