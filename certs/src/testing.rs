//! For tests: a CA that signs whatever it is asked to, and handshakes in memory.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::DuplexStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::bundle::TrustBundle;
use crate::identity::WorkloadIdentity;
use crate::key::KeyPair;
use crate::spiffe::{SpiffeId, TrustDomain};
use crate::x509;

pub(crate) const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
pub(crate) const API: &str = "spiffe://cluster.local/ns/shop/sa/api";

pub(crate) fn domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

pub(crate) fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// A root CA that lets tests forge certificates.
pub(crate) struct Forge {
    issuer: Issuer<'static, rcgen::KeyPair>,
    root: CertificateDer<'static>,
}

/// A key with a chain for it.
pub(crate) struct Forged {
    pub(crate) key: rcgen::KeyPair,
    pub(crate) chain: Vec<CertificateDer<'static>>,
}

impl Forge {
    pub(crate) fn new() -> Self {
        Self::named("a root")
    }

    pub(crate) fn named(name: &str) -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), root }
    }

    /// Signs with any key, under any name.
    pub(crate) fn signing_with(params: CertificateParams, key: rcgen::KeyPair, root: CertificateDer<'static>) -> Self {
        Self { issuer: Issuer::new(params, key), root }
    }

    pub(crate) fn bundle(&self) -> TrustBundle {
        TrustBundle::from_certificates(vec![self.root.clone()]).unwrap()
    }

    /// A certificate as a workload's should be, after `change`.
    pub(crate) fn leaf(&self, id: &str, change: impl FnOnce(&mut CertificateParams)) -> Forged {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        self.leaf_for(key, id, change)
    }

    pub(crate) fn leaf_for(
        &self,
        key: rcgen::KeyPair,
        id: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Forged {
        let now = SystemTime::now();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = (now - Duration::from_secs(60)).into();
        params.not_after = (now + Duration::from_secs(3600)).into();
        params.subject_alt_names = vec![uri(id)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Forged { key, chain: vec![leaf] }
    }

    /// An identity as it should be.
    pub(crate) fn identity(&self, id: &str) -> WorkloadIdentity {
        let (key, chain) = self.leaf(id, |_| {}).into_parts();
        WorkloadIdentity::from_parts(self::id(id), &key, &chain, self.bundle()).unwrap()
    }
}

impl Forged {
    pub(crate) fn into_parts(self) -> (KeyPair, Vec<String>) {
        let chain = self.chain.iter().map(x509::to_pem).collect();
        (KeyPair::from_rcgen(self.key), chain)
    }

    /// Not by `CertifiedKey::from_der`, which refuses some forgeries.
    fn certified(&self) -> Arc<SingleCertAndKey> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(self.key.serialize_der()).into();
        let key = provider.key_provider.load_private_key(key).unwrap();
        Arc::new(CertifiedKey::new(self.chain.clone(), key).into())
    }

    /// A server that shows the forged certificate and lets anybody in.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(self.certified());
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }

    /// A client that shows the forged certificate, whatever it is asked for, to a server that it believes.
    pub(crate) fn client(&self, server: &TrustBundle) -> Arc<ClientConfig> {
        let mut config = (*crate::tls::control_client(None, server, &id(API))).clone();
        config.client_auth_cert_resolver = self.certified();
        Arc::new(config)
    }
}

pub(crate) type Handshake = (io::Result<client::TlsStream<DuplexStream>>, io::Result<server::TlsStream<DuplexStream>>);

/// Client and server shake hands in memory.
pub(crate) async fn handshake(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Handshake {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from("api.shop.identity.cluster.local").unwrap();
    let accept = TlsAcceptor::from(server).accept(far);
    tokio::join!(TlsConnector::from(client).connect(name, near), accept)
}
