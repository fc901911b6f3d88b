//! The certificate authority: a root, an issuer signed by it, and the signing of workloads' requests.
//!
//! The identity in a certificate comes from the caller, who has attested it; whatever names, usages or times a request
//! asks for are overwritten.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, SerialNumber,
};

use crate::bundle::TrustBundle;
use crate::spiffe::{SpiffeId, TrustDomain};

mod csr;
mod files;
mod pem;
mod server;
#[cfg(test)]
mod tests;

pub use csr::{CsrError, MAX_CSR_BYTES};
pub use files::AuthorityError;
pub use pem::AuthorityPem;

/// Certificates are valid from this long before they are issued, for peers whose clocks are behind.
pub const BACKDATED_BY: Duration = Duration::from_secs(60);

/// The certificate authority of one trust domain.
pub struct Authority {
    trust_domain: TrustDomain,
    bundle: TrustBundle,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    issuer_pem: String,
    issuer_not_before: SystemTime,
    issuer_not_after: SystemTime,
}

/// A freshly signed certificate.
#[derive(Debug, Clone)]
pub struct IssuedCertificate {
    /// PEM: the leaf, then the issuer.
    pub chain_pem: Vec<String>,
    /// The first moment at which it is no longer valid, to the second.
    pub not_after: SystemTime,
}

impl Authority {
    /// Loads the CA of a folder, or creates what is missing.
    ///
    /// | file | content |
    /// | --- | --- |
    /// | `root.crt` | our root; further roots after it are trusted too, which is how a root is replaced |
    /// | `root.key` | the root's key; needed only to create an issuer, so it may be kept elsewhere |
    /// | `issuer.crt`, `issuer.key` | the CA certificate that signs workloads, itself signed by one of the roots |
    ///
    /// Files are created 0600 in a folder 0700, keys before their certificates, each atomically and durably.
    ///
    /// # Errors
    /// Names the file that can't be read or written, is broken, doesn't match its neighbour, belongs to another trust
    /// domain, or has expired. Nothing that exists is ever overwritten, except a key whose certificate was never written.
    pub fn load_or_create(dir: &Path, trust_domain: &TrustDomain) -> Result<Self, AuthorityError> {
        files::load_or_create(dir, trust_domain, SystemTime::now())
    }

    /// The CA of these texts. The error names them as [`Self::load_or_create`] names its files.
    ///
    /// # Errors
    /// Names the text that is broken, doesn't match its neighbour, belongs to another trust domain, or has expired.
    pub fn from_pem(pem: &AuthorityPem, trust_domain: &TrustDomain) -> Result<Self, AuthorityError> {
        pem.load(trust_domain, SystemTime::now())
    }

    /// How much of the issuer's life is spent, from 0 to 1. It is to be replaced while workloads' certificates that end
    /// after it could still be wanted.
    pub fn issuer_spent(&self, now: SystemTime) -> f64 {
        let life = self.issuer_not_after.duration_since(self.issuer_not_before).unwrap_or_default();
        let spent = now.duration_since(self.issuer_not_before).unwrap_or_default();
        if life.is_zero() { 1.0 } else { (spent.as_secs_f64() / life.as_secs_f64()).min(1.0) }
    }

    /// Signs a request (PKCS #10, PEM) for an attested identity. The certificate ends at the latest when the issuer does.
    ///
    /// # Errors
    /// See [`SignError`]: what is wrong with the request, or why this authority can't sign for it.
    pub fn sign(&self, csr_pem: &str, id: &SpiffeId, lifetime: Duration) -> Result<IssuedCertificate, SignError> {
        self.sign_at(csr_pem, id, lifetime, SystemTime::now())
    }

    /// The roots by which this authority's certificates are verified.
    pub fn bundle(&self) -> TrustBundle {
        self.bundle.clone()
    }

    /// The trust domain that this authority vouches for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    pub(crate) fn sign_at(
        &self,
        csr_pem: &str,
        id: &SpiffeId,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<IssuedCertificate, SignError> {
        if id.trust_domain() != &self.trust_domain {
            return Err(SignError::ForeignTrustDomain { id: id.clone(), ours: self.trust_domain.clone() });
        }
        if self.issuer_not_after <= now {
            return Err(SignError::IssuerExpired);
        }
        let public_key = csr::verified_public_key(csr_pem)?;
        let not_after = whole_seconds(now.checked_add(lifetime).unwrap_or(self.issuer_not_after));
        let not_after = not_after.min(self.issuer_not_after);
        let params = leaf_params(id, now - BACKDATED_BY, not_after)?;
        let leaf = params.signed_by(&public_key, &self.issuer).map_err(SignError::Crypto)?;
        Ok(IssuedCertificate { chain_pem: vec![leaf.pem(), self.issuer_pem.clone()], not_after })
    }
}

/// Everything that stands in a workload's certificate but its key.
fn leaf_params(id: &SpiffeId, not_before: SystemTime, not_after: SystemTime) -> Result<CertificateParams, SignError> {
    let uri = id.as_str().try_into().map_err(SignError::Crypto)?;
    let mut params = CertificateParams::default();
    params.not_before = not_before.into();
    params.not_after = not_after.into();
    params.serial_number = Some(random_serial());
    // No subject: the SAN is the identity, and is critical then (RFC 5280, 4.2.1.6).
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// 128 random bits, positive and of full length (RFC 5280, 4.1.2.2).
fn random_serial() -> SerialNumber {
    let number = rand::random::<u128>() >> 1 | 1 << 126;
    SerialNumber::from_slice(&number.to_be_bytes())
}

/// Certificates count in seconds.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.trust_domain)
    }
}

/// Why a request is not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The request itself is at fault: the client has to send another.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// The attested identity is of another trust domain.
    #[error("{id} is not of the trust domain {ours}, for which this CA signs")]
    ForeignTrustDomain {
        /// The attested identity.
        id: SpiffeId,
        /// The authority's trust domain.
        ours: TrustDomain,
    },
    /// The issuer has reached its end.
    #[error(
        "the CA's issuer certificate (issuer.crt) has expired; replace it, or remove it together with issuer.key so that the root signs a new one at the next start"
    )]
    IssuerExpired,
    /// The cryptographic library failed.
    #[error("signing the certificate failed")]
    Crypto(#[source] rcgen::Error),
}
