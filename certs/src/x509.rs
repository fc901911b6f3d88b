//! Reading certificates: the names, times and usages that the mesh cares for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY};
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::spiffe::{SpiffeError, SpiffeId};

/// Why the names or usages of a leaf certificate are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// Not an X.509 certificate, or one with a broken or repeated extension.
    #[error("the certificate can't be read: {0}")]
    Malformed(String),
    /// It has no URI among its names, or several, or names of kinds that no workload has.
    #[error("the certificate's subject alternative names are refused: {0}")]
    Names(String),
    /// The URI is not a SPIFFE id.
    #[error("the certificate's URI name is refused: {0}")]
    Id(#[from] SpiffeError),
    /// It may sign other certificates, or not sign handshakes.
    #[error("the certificate's usages are refused: {0}")]
    Usage(&'static str),
}

/// What a workload's certificate says of its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Whose it is.
    pub id: SpiffeId,
    /// When it ends. A connection may outlive it; credentials must not.
    pub not_after: SystemTime,
}

impl PeerCertificate {
    /// Reads a leaf, and refuses names and usages that an X509-SVID can't have (SPIFFE X509-SVID, sections 2 to 4).
    /// Nothing is verified yet.
    pub(crate) fn parse(der: &CertificateDer<'_>) -> Result<Self, LeafError> {
        let certificate = parse(der).map_err(LeafError::Malformed)?;
        check_leaf_usage(&certificate)?;
        Ok(Self { id: spiffe_name(&certificate)?, not_after: system_time(certificate.validity().not_after) })
    }
}

fn check_leaf_usage(certificate: &X509Certificate<'_>) -> Result<(), LeafError> {
    let malformed = |cause: x509_parser::error::X509Error| LeafError::Malformed(cause.to_string());
    if certificate.basic_constraints().map_err(malformed)?.is_some_and(|constraints| constraints.value.ca) {
        return Err(LeafError::Usage("it is a CA certificate; a workload's must not be"));
    }
    if certificate.extended_key_usage().map_err(malformed)?.is_none() {
        return Err(LeafError::Usage("it has no extended key usage; serverAuth and clientAuth are wanted"));
    }
    match certificate.key_usage().map_err(malformed)? {
        Some(usage) if usage.value.key_cert_sign() || usage.value.crl_sign() => {
            Err(LeafError::Usage("it may sign certificates or revocation lists"))
        }
        Some(usage) if usage.value.digital_signature() => Ok(()),
        _ => Err(LeafError::Usage("its key usage is not digitalSignature")),
    }
}

/// The one URI among the names. DNS names beside it are harmless, since nothing is ever verified by host name; any other
/// kind (otherName, e-mail, directory name, ...) has no place in a workload's certificate.
fn spiffe_name(certificate: &X509Certificate<'_>) -> Result<SpiffeId, LeafError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|cause| LeafError::Malformed(cause.to_string()))?
        .ok_or_else(|| LeafError::Names("there are none".into()))?;
    let mut found = None;
    for name in &names.value.general_names {
        match name {
            GeneralName::URI(uri) if found.is_none() => found = Some(*uri),
            GeneralName::URI(_) => return Err(LeafError::Names("there is more than one URI".into())),
            GeneralName::DNSName(_) => {}
            other => return Err(LeafError::Names(format!("a name of kind {} is among them", kind(other)))),
        }
    }
    Ok(found.ok_or_else(|| LeafError::Names("there is no URI".into()))?.parse()?)
}

fn kind(name: &GeneralName<'_>) -> &'static str {
    match name {
        GeneralName::OtherName(..) => "otherName",
        GeneralName::RFC822Name(_) => "rfc822Name",
        GeneralName::DNSName(_) => "dNSName",
        GeneralName::X400Address(_) => "x400Address",
        GeneralName::DirectoryName(_) => "directoryName",
        GeneralName::EDIPartyName(_) => "ediPartyName",
        GeneralName::URI(_) => "uniformResourceIdentifier",
        GeneralName::IPAddress(_) => "iPAddress",
        GeneralName::RegisteredID(_) => "registeredID",
        GeneralName::Invalid(..) => "unknown",
    }
}

/// Parses one certificate with nothing after it.
pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err("bytes follow the certificate".into()),
        Err(cause) => Err(cause.to_string()),
    }
}

/// Checks that a certificate may sign others.
pub(crate) fn check_ca(der: &CertificateDer<'_>) -> Result<(), String> {
    let certificate = parse(der)?;
    if !certificate.is_ca() {
        return Err("it is not a CA certificate (basic constraints)".into());
    }
    match certificate.key_usage() {
        Ok(Some(usage)) if !usage.value.key_cert_sign() => Err("its key usage lacks keyCertSign".into()),
        Ok(_) => Ok(()),
        Err(cause) => Err(cause.to_string()),
    }
}

/// Whether a public key is on the curve P-256.
pub(crate) fn is_p256(key: &SubjectPublicKeyInfo<'_>) -> bool {
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == Some(OID_EC_P256)
}

/// The PEM form of one certificate (RFC 7468), 64 characters a line.
pub(crate) fn to_pem(der: &CertificateDer<'_>) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::with_capacity(encoded.len() + encoded.len() / 64 + 64);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = encoded.as_str();
    while let Some((line, after)) = rest.split_at_checked(64) {
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    if !rest.is_empty() {
        pem.push_str(rest);
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// A certificate's time; before 1970 counts as 1970.
pub(crate) fn system_time(time: ASN1Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

/// A span of time for people: one unit, rounded down.
pub(crate) fn rough(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
