//! The API server's certificate, and the CA that it is signed by.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType};

/// Names by which pods know the API server.
const NAMES: [&str; 4] =
    ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];

/// Files that the components are given.
#[derive(Clone, Debug)]
pub(super) struct Certificates {
    /// The CA's certificate.
    pub(super) ca: PathBuf,
    /// The API server's certificate.
    pub(super) server: PathBuf,
    /// The API server's key.
    pub(super) server_key: PathBuf,
    /// The key that service accounts' tokens are signed with.
    pub(super) service_accounts: PathBuf,
    /// What such tokens are known by.
    pub(super) service_accounts_public: PathBuf,
}

impl Certificates {
    pub(super) fn create(folder: &Path, addresses: &[IpAddr]) -> Result<Self> {
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            anyhow::Ok(path)
        };
        let mut authority = named("weft-test-ca");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate()?;
        let certificate = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);

        let mut server = named("kube-apiserver");
        server.subject_alt_names = addresses.iter().map(|address| SanType::IpAddress(*address)).collect();
        for name in NAMES {
            server.subject_alt_names.push(SanType::DnsName(name.try_into()?));
        }
        let (server_key, tokens_key) = (KeyPair::generate()?, KeyPair::generate()?);
        Ok(Self {
            ca: write("ca.crt", certificate.pem())?,
            server: write("server.crt", server.signed_by(&server_key, &issuer)?.pem())?,
            server_key: write("server.key", server_key.serialize_pem())?,
            service_accounts: write("service-accounts.key", tokens_key.serialize_pem())?,
            service_accounts_public: write("service-accounts.pub", tokens_key.public_key_pem())?,
        })
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
