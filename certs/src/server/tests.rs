use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::authority::Authority;

const NAME: &str = "weft-control.weft-system.svc";

/// A handshake by a client that goes by DNS names, as Kubernetes' API server does.
async fn handshake(certificate: &ServerCertificate, authority: &Authority, name: &str) -> std::io::Result<()> {
    let mut roots = RootCertStore::empty();
    for root in authority.bundle().pem_roots() {
        roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    }
    let client = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let server = TlsAcceptor::from(tls::named_server(certificate));
    let serving = tokio::spawn(async move { server.accept(ours).await.map(drop) });
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connected = TlsConnector::from(Arc::new(client)).connect(name, theirs).await.map(drop);
    drop(serving.await);
    connected
}

fn signed(authority: &Authority) -> (KeyPair, Vec<String>) {
    let key = KeyPair::generate().unwrap();
    let names = [NAME.to_owned()];
    let issued = authority.sign_server(&key.csr_pem().unwrap(), &names, Duration::from_secs(600)).unwrap();
    (key, issued.chain_pem)
}

#[tokio::test]
async fn clients_that_trust_the_root_know_it_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::load_or_create(folder.path(), &"cluster.local".parse().unwrap()).unwrap();
    let (key, chain) = signed(&authority);
    let certificate = ServerCertificate::new(&key, &chain).unwrap();
    handshake(&certificate, &authority, NAME).await.unwrap();
    assert!(handshake(&certificate, &authority, "other.weft-system.svc").await.is_err());

    let (key, chain) = signed(&authority);
    certificate.replace(&key, &chain).unwrap();
    handshake(&certificate, &authority, NAME).await.unwrap();
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::load_or_create(folder.path(), &"cluster.local".parse().unwrap()).unwrap();
    let (_, chain) = signed(&authority);
    assert!(ServerCertificate::new(&KeyPair::generate().unwrap(), &chain).is_err());
}
