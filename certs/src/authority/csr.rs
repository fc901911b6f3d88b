//! Certificate signing requests: who made one holds the key in it. Nothing else that it says counts.

use rcgen::SubjectPublicKeyInfo;
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use crate::x509;

/// The longest request that is read, in bytes of PEM. One for a P-256 key has about 400.
pub const MAX_CSR_BYTES: usize = 16 * 1024;

/// Why a certificate signing request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// More than [`MAX_CSR_BYTES`].
    #[error("the CSR has {0} bytes; at most {MAX_CSR_BYTES} are read")]
    TooLong(usize),
    /// Not a PEM text with one PKCS #10 request.
    #[error("the CSR is not a PEM 'CERTIFICATE REQUEST' (PKCS #10): {0}")]
    Malformed(String),
    /// Not a P-256 key.
    #[error(
        "the CSR's key is not ECDSA P-256, the only kind that the mesh uses (in Istio's agent: ECC_SIGNATURE_ALGORITHM=ECDSA)"
    )]
    KeyType,
    /// Signed by another key than the one inside: the sender need not hold it.
    #[error("the CSR is not signed by the key that it holds")]
    Signature,
}

/// The public key of a request whose sender has proved to hold the private one.
pub(super) fn verified_public_key(csr_pem: &str) -> Result<SubjectPublicKeyInfo, CsrError> {
    if csr_pem.len() > MAX_CSR_BYTES {
        return Err(CsrError::TooLong(csr_pem.len()));
    }
    let der = CertificateSigningRequestDer::from_pem_slice(csr_pem.as_bytes())
        .map_err(|cause| CsrError::Malformed(cause.to_string()))?;
    let request = match X509CertificationRequest::from_der(&der) {
        Ok(([], request)) => request,
        Ok(_) => return Err(CsrError::Malformed("bytes follow the request".into())),
        Err(cause) => return Err(CsrError::Malformed(cause.to_string())),
    };
    let key = &request.certification_request_info.subject_pki;
    if !x509::is_p256(key) {
        return Err(CsrError::KeyType);
    }
    request.verify_signature().map_err(|_| CsrError::Signature)?;
    SubjectPublicKeyInfo::from_der(key.raw).map_err(|cause| CsrError::Malformed(cause.to_string()))
}
