//! The CA's files: created once, then only read.

use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::{Authority, BACKDATED_BY, random_serial};
use crate::bundle::TrustBundle;
use crate::spiffe::TrustDomain;
use crate::x509;

/// Root and issuer live ten years: their end is an outage of the mesh, not a routine.
const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// From this long before a CA certificate's end on, each start warns.
const WARN_BEFORE_END: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why the CA can't be loaded or created. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file can't be read or written.
    #[error("can't {action} {}", path.display())]
    Io {
        /// `read`, `write`, ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The cryptographic library failed to make a key or a certificate.
    #[error("making the CA's keys and certificates failed")]
    Crypto(#[from] rcgen::Error),
}

pub(super) fn load_or_create(dir: &Path, domain: &TrustDomain, now: SystemTime) -> Result<Authority, AuthorityError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error("create the folder", dir))?;
    let files = Files::of(dir);
    if read(&files.root_crt)?.is_none() {
        if read(&files.issuer_crt)?.is_some() {
            return Err(fault(
                &files.root_crt,
                "it is missing, but issuer.crt exists; bring back the root certificate",
            ));
        }
        files.create_root(domain, now)?;
    }
    if read(&files.issuer_crt)?.is_none() {
        files.create_issuer(domain, now)?;
    }
    files.load(domain, now)
}

struct Files {
    root_crt: PathBuf,
    root_key: PathBuf,
    issuer_crt: PathBuf,
    issuer_key: PathBuf,
}

impl Files {
    fn of(dir: &Path) -> Self {
        Self {
            root_crt: dir.join("root.crt"),
            root_key: dir.join("root.key"),
            issuer_crt: dir.join("issuer.crt"),
            issuer_key: dir.join("issuer.key"),
        }
    }

    fn create_root(&self, domain: &TrustDomain, now: SystemTime) -> Result<(), AuthorityError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let root = ca_params(domain, "Weft root CA", BasicConstraints::Constrained(1), now)?.self_signed(&key)?;
        write(&self.root_key, &key.serialize_pem())?;
        write(&self.root_crt, &root.pem())?;
        tracing::info!(file = %self.root_crt.display(), trust_domain = %domain, "created a root CA");
        Ok(())
    }

    fn create_issuer(&self, domain: &TrustDomain, now: SystemTime) -> Result<(), AuthorityError> {
        let Some(root_key) = read_key(&self.root_key)? else {
            return Err(fault(&self.root_key, "it is missing and there is no issuer.crt, so nothing can sign"));
        };
        let root = read_certificate(&self.root_crt)?;
        check_key(&self.root_key, &root_key, &parse(&self.root_crt, &root)?)?;
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let issuer = ca_params(domain, "Weft issuer CA", BasicConstraints::Constrained(0), now)?
            .signed_by(&key, &Issuer::from_ca_cert_der(&root, &root_key)?)?;
        write(&self.issuer_key, &key.serialize_pem())?;
        write(&self.issuer_crt, &issuer.pem())?;
        tracing::info!(file = %self.issuer_crt.display(), "the root signed a new issuer");
        Ok(())
    }

    fn load(&self, domain: &TrustDomain, now: SystemTime) -> Result<Authority, AuthorityError> {
        let bundle = TrustBundle::from_pem(read_some(&self.root_crt)?.as_bytes())
            .map_err(|cause| fault(&self.root_crt, &cause.to_string()))?;
        let issuer_der = read_certificate(&self.issuer_crt)?;
        let issuer = parse(&self.issuer_crt, &issuer_der)?;
        x509::check_ca(&issuer_der).map_err(|reason| fault(&self.issuer_crt, &reason))?;
        check_validity(&self.issuer_crt, &issuer, now)?;
        check_trust_domain(&self.issuer_crt, &issuer, domain)?;
        let Some(key) = read_key(&self.issuer_key)? else {
            return Err(fault(&self.issuer_key, "it is missing; issuer.crt is of no use without its key"));
        };
        check_key(&self.issuer_key, &key, &issuer)?;

        let Some(root_der) = bundle.certificates().iter().find(|root| signed_by(&issuer, root)) else {
            return Err(fault(&self.issuer_crt, "no certificate of root.crt has signed it"));
        };
        let root = parse(&self.root_crt, root_der)?;
        check_validity(&self.root_crt, &root, now)?;
        check_trust_domain(&self.root_crt, &root, domain)?;
        Ok(Authority {
            trust_domain: domain.clone(),
            issuer: Issuer::from_ca_cert_der(&issuer_der, key)?,
            issuer_pem: x509::to_pem(&issuer_der),
            issuer_not_after: x509::system_time(issuer.validity().not_after)
                .min(x509::system_time(root.validity().not_after)),
            bundle,
        })
    }
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

fn read_key(path: &Path) -> Result<Option<KeyPair>, AuthorityError> {
    let Some(pem) = read(path)? else { return Ok(None) };
    let broken = |cause: rcgen::Error| fault(path, &format!("it is not a PEM private key (PKCS #8): {cause}"));
    let key = KeyPair::from_pem(&pem).map_err(broken)?;
    if !key.is_compatible(&rcgen::PKCS_ECDSA_P256_SHA256) {
        return Err(fault(path, "it is not an ECDSA P-256 key, the only kind that the mesh uses"));
    }
    Ok(Some(key))
}

/// The first certificate of a file.
fn read_certificate(path: &Path) -> Result<CertificateDer<'static>, AuthorityError> {
    CertificateDer::from_pem_slice(read_some(path)?.as_bytes())
        .map_err(|cause| fault(path, &format!("it is not a PEM certificate: {cause}")))
}

fn read_some(path: &Path) -> Result<String, AuthorityError> {
    read(path)?.ok_or_else(|| fault(path, "it is missing"))
}

fn read(path: &Path) -> Result<Option<String>, AuthorityError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(io_error("read", path)(cause)),
    }
}

/// Writes a file 0600 so that after a crash there is either all of it or none.
fn write(path: &Path, content: &str) -> Result<(), AuthorityError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let attempt = || -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(".tmp-")
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(dir)?;
        file.write_all(content.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        std::fs::File::open(dir)?.sync_all()
    };
    attempt().map_err(io_error("write", path))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AuthorityError {
    let path = path.to_owned();
    move |source| AuthorityError::Io { action, path, source }
}

fn fault(path: &Path, reason: &str) -> AuthorityError {
    AuthorityError::File { path: path.to_owned(), reason: reason.to_owned() }
}
