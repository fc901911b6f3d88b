//! What the other peers prove themselves with: a CA that is forgotten at once, and a leaf for each pod. All ECDSA P-256.

use std::path::PathBuf;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use weft_cli::world::{Pod, World};

/// The files, in the world's folder.
#[derive(Clone, Debug)]
pub(super) struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes the CA, and a leaf with its pod's SPIFFE id for each pod.
    pub(super) fn create(world: &World, pods: [&Pod; 2]) -> Result<Self> {
        let this = Self { folder: world.folder().join("certificates") };
        std::fs::create_dir(&this.folder)?;
        let mut authority = named("bench");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        write(this.authority(), &authority.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(authority, key);
        for pod in pods {
            let mut leaf = named(pod.name());
            leaf.subject_alt_names = vec![SanType::URI(pod.identity().as_str().try_into()?)];
            leaf.is_ca = IsCa::ExplicitNoCa;
            leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let chain = leaf.signed_by(&key, &issuer)?.pem();
            write(this.identity(pod), &(chain + &key.serialize_pem()))?;
        }
        Ok(this)
    }

    /// The CA's certificate.
    pub(super) fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A pod's certificate and key, in one file.
    pub(super) fn identity(&self, pod: &Pod) -> PathBuf {
        self.folder.join(format!("{}.pem", pod.name()))
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn write(path: PathBuf, text: &str) -> Result<()> {
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
