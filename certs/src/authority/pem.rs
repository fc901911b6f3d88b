//! The CA's keys and certificates as texts: made, checked, and made into an authority.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::{Authority, AuthorityError, BACKDATED_BY, random_serial};
use crate::bundle::TrustBundle;
use crate::spiffe::TrustDomain;
use crate::x509;

/// Root and issuer live ten years: their end is an outage of the mesh, not a routine.
const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// From this long before a CA certificate's end on, each load warns.
const WARN_BEFORE_END: Duration = Duration::from_secs(30 * 24 * 3600);

/// The CA's keys and certificates, each a PEM text; see [`Authority::load_or_create`] for what is in each.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorityPem {
    /// Our root, and further ones that are trusted too.
    pub root_crt: String,
    /// The root's key; it may be kept elsewhere.
    pub root_key: Option<String>,
    /// The certificate that signs workloads.
    pub issuer_crt: String,
    /// Its key.
    pub issuer_key: String,
}

impl AuthorityPem {
    /// Makes a root and an issuer.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn create(trust_domain: &TrustDomain) -> Result<Self, AuthorityError> {
        let now = SystemTime::now();
        let (root_crt, root_key) = create_root(trust_domain, now)?;
        Self::with_issuer(root_crt, root_key, trust_domain)
    }

    /// Has a root sign a new issuer.
    ///
    /// # Errors
    /// When the key is not the root's, or one of the two is broken; the error names it `root.crt` or `root.key`.
    pub fn with_issuer(root_crt: String, root_key: String, trust_domain: &TrustDomain) -> Result<Self, AuthorityError> {
        let (root, key) = (Named::of("root.crt", root_crt), Named::of("root.key", root_key));
        let (issuer_crt, issuer_key) = create_issuer(&root, &key, trust_domain, SystemTime::now())?;
        Ok(Self { root_crt: root.text, root_key: Some(key.text), issuer_crt, issuer_key })
    }

    pub(super) fn load(&self, domain: &TrustDomain, now: SystemTime) -> Result<Authority, AuthorityError> {
        let root = Named::of("root.crt", self.root_crt.clone());
        let issuer = Named::of("issuer.crt", self.issuer_crt.clone());
        load(&root, &issuer, &Named::of("issuer.key", self.issuer_key.clone()), domain, now)
    }
}

impl std::fmt::Debug for AuthorityPem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthorityPem")
    }
}

/// A text, and what it is called in errors.
pub(super) struct Named {
    pub(super) name: PathBuf,
    pub(super) text: String,
}

impl Named {
    fn of(name: &str, text: String) -> Self {
        Self { name: name.into(), text }
    }
}

/// A root: certificate and key.
pub(super) fn create_root(domain: &TrustDomain, now: SystemTime) -> Result<(String, String), AuthorityError> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let root = ca_params(domain, "Weft root CA", BasicConstraints::Constrained(1), now)?.self_signed(&key)?;
    Ok((root.pem(), key.serialize_pem()))
}

/// An issuer that a root signs: certificate and key.
pub(super) fn create_issuer(
    root_crt: &Named,
    root_key: &Named,
    domain: &TrustDomain,
    now: SystemTime,
) -> Result<(String, String), AuthorityError> {
    let signer = key(root_key)?;
    let root = certificate(root_crt)?;
    check_key(&root_key.name, &signer, &parse(&root_crt.name, &root)?)?;
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let issuer = ca_params(domain, "Weft issuer CA", BasicConstraints::Constrained(0), now)?
        .signed_by(&key, &Issuer::from_ca_cert_der(&root, &signer)?)?;
    Ok((issuer.pem(), key.serialize_pem()))
}

/// The authority that these make, if they fit together and are valid now.
pub(super) fn load(
    root_crt: &Named,
    issuer_crt: &Named,
    issuer_key: &Named,
    domain: &TrustDomain,
    now: SystemTime,
) -> Result<Authority, AuthorityError> {
    let bundle =
        TrustBundle::from_pem(root_crt.text.as_bytes()).map_err(|cause| fault(&root_crt.name, &cause.to_string()))?;
    let issuer_der = certificate(issuer_crt)?;
    let issuer = parse(&issuer_crt.name, &issuer_der)?;
    x509::check_ca(&issuer_der).map_err(|reason| fault(&issuer_crt.name, &reason))?;
    check_validity(&issuer_crt.name, &issuer, now)?;
    check_trust_domain(&issuer_crt.name, &issuer, domain)?;
    let key = key(issuer_key)?;
    check_key(&issuer_key.name, &key, &issuer)?;

    let Some(root_der) = bundle.certificates().iter().find(|root| signed_by(&issuer, root)) else {
        return Err(fault(&issuer_crt.name, "no certificate of root.crt has signed it"));
    };
    let root = parse(&root_crt.name, root_der)?;
    check_validity(&root_crt.name, &root, now)?;
    check_trust_domain(&root_crt.name, &root, domain)?;
    Ok(Authority {
        trust_domain: domain.clone(),
        issuer_pem: x509::to_pem(&issuer_der),
        issuer_not_before: x509::system_time(issuer.validity().not_before),
        issuer_not_after: x509::system_time(issuer.validity().not_after)
            .min(x509::system_time(root.validity().not_after)),
        issuer: Issuer::from_ca_cert_der(&issuer_der, key)?,
        bundle,
    })
}

fn ca_params(
    domain: &TrustDomain,
    name: &str,
    constraints: BasicConstraints,
    now: SystemTime,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.not_before = (now - BACKDATED_BY).into();
    params.not_after = (now + CA_LIFETIME).into();
    params.serial_number = Some(random_serial());
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, domain.as_str());
    params.distinguished_name.push(DnType::CommonName, name);
    // A signing certificate's SPIFFE id is the trust domain itself (SPIFFE X509-SVID, section 3.2).
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://{domain}").as_str().try_into()?)];
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn signed_by(issuer: &X509Certificate<'_>, root: &CertificateDer<'_>) -> bool {
    x509::parse(root)
        .is_ok_and(|root| issuer.issuer() == root.subject() && issuer.verify_signature(Some(root.public_key())).is_ok())
}

fn check_validity(path: &Path, certificate: &X509Certificate<'_>, now: SystemTime) -> Result<(), AuthorityError> {
    let not_before = x509::system_time(certificate.validity().not_before);
    let not_after = x509::system_time(certificate.validity().not_after);
    if let Ok(ahead) = not_before.duration_since(now)
        && !ahead.is_zero()
    {
        let ahead = x509::rough(ahead);
        return Err(fault(
            path,
            &format!("it is valid only from {ahead} on; clock skew? compare this machine's clock"),
        ));
    }
    match not_after.duration_since(now) {
        Ok(left) if left < WARN_BEFORE_END => {
            tracing::warn!(file = %path.display(), left = x509::rough(left), "the CA certificate is near its end");
            Ok(())
        }
        Ok(_) => Ok(()),
        Err(over) => {
            let over = x509::rough(over.duration());
            Err(fault(path, &format!("it expired {over} ago; replace it, or if it didn't, mind this machine's clock")))
        }
    }
}

/// A CA that carries the SPIFFE id of a trust domain signs for that one alone. One without (made elsewhere) for any.
fn check_trust_domain(
    path: &Path,
    certificate: &X509Certificate<'_>,
    ours: &TrustDomain,
) -> Result<(), AuthorityError> {
    let names = certificate.subject_alternative_name().map_err(|cause| fault(path, &cause.to_string()))?;
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        if let GeneralName::URI(uri) = name
            && uri.strip_prefix("spiffe://").is_some_and(|domain| domain != ours.as_str())
        {
            return Err(fault(path, &format!("it belongs to {uri}, but the trust domain here is {ours}")));
        }
    }
    Ok(())
}

fn check_key(path: &Path, key: &KeyPair, certificate: &X509Certificate<'_>) -> Result<(), AuthorityError> {
    if *key.public_key_raw() == *certificate.public_key().subject_public_key.data {
        return Ok(());
    }
    Err(fault(path, "it is not the key of the certificate beside it"))
}

fn parse<'a>(path: &Path, der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, AuthorityError> {
    let certificate = x509::parse(der).map_err(|reason| fault(path, &reason))?;
    if !x509::is_p256(certificate.public_key()) {
        return Err(fault(path, "its key is not ECDSA P-256, the only kind that the mesh uses"));
    }
    Ok(certificate)
}

fn key(pem: &Named) -> Result<KeyPair, AuthorityError> {
    let broken = |cause: rcgen::Error| fault(&pem.name, &format!("it is not a PEM private key (PKCS #8): {cause}"));
    let key = KeyPair::from_pem(&pem.text).map_err(broken)?;
    if !key.is_compatible(&rcgen::PKCS_ECDSA_P256_SHA256) {
        return Err(fault(&pem.name, "it is not an ECDSA P-256 key, the only kind that the mesh uses"));
    }
    Ok(key)
}

/// The first certificate of a text.
fn certificate(pem: &Named) -> Result<CertificateDer<'static>, AuthorityError> {
    CertificateDer::from_pem_slice(pem.text.as_bytes())
        .map_err(|cause| fault(&pem.name, &format!("it is not a PEM certificate: {cause}")))
}

pub(super) fn fault(path: &Path, reason: &str) -> AuthorityError {
    AuthorityError::File { path: path.to_owned(), reason: reason.to_owned() }
}
