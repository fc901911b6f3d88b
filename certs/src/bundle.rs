//! Trust bundles: the roots that a workload believes. Several at a time, so that a root can be replaced while both the
//! old and the new one are valid.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, TrustAnchor};

use crate::x509;

#[cfg(test)]
mod tests;

/// A non-empty set of root certificates. Cheap to clone.
#[derive(Clone)]
pub struct TrustBundle(Arc<Roots>);

struct Roots {
    certificates: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
}

/// When the certificates of a PEM text end, in their order. Nothing is verified.
///
/// # Errors
/// When the text is no PEM, or one of them can't be read; with what the decoder said.
pub fn ends(pem: &[u8]) -> Result<Vec<std::time::SystemTime>, BundleError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|cause| BundleError::Pem(cause.to_string()))?;
    let end = |(index, certificate): (usize, &CertificateDer<'_>)| {
        let parsed = x509::parse(certificate).map_err(|reason| BundleError::Root { number: index + 1, reason })?;
        Ok(x509::system_time(parsed.validity().not_after))
    };
    certificates.iter().enumerate().map(end).collect()
}

impl TrustBundle {
    /// Reads the certificates of a PEM text. Other PEM sections are passed over; duplicates are kept once.
    ///
    /// # Errors
    /// When there is no certificate, or one of them is not a CA certificate. The error counts from 1.
    pub fn from_pem(pem: &[u8]) -> Result<Self, BundleError> {
        let certificates = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|cause| BundleError::Pem(cause.to_string()))?;
        Self::from_certificates(certificates)
    }

    pub(crate) fn from_certificates(certificates: Vec<CertificateDer<'static>>) -> Result<Self, BundleError> {
        let mut roots = Roots { certificates: Vec::new(), anchors: Vec::new() };
        for (index, certificate) in certificates.into_iter().enumerate() {
            let malformed = |reason: String| BundleError::Root { number: index + 1, reason };
            x509::check_ca(&certificate).map_err(malformed)?;
            let anchor = webpki::anchor_from_trusted_cert(&certificate)
                .map_err(|cause| malformed(cause.to_string()))?
                .to_owned();
            if !roots.certificates.contains(&certificate) {
                roots.certificates.push(certificate);
                roots.anchors.push(anchor);
            }
        }
        if roots.certificates.is_empty() {
            return Err(BundleError::Empty);
        }
        Ok(Self(Arc::new(roots)))
    }

    /// The roots as one PEM text.
    pub fn to_pem(&self) -> String {
        self.pem_roots().concat()
    }

    /// The roots, each as a PEM text of its own.
    pub fn pem_roots(&self) -> Vec<String> {
        self.0.certificates.iter().map(x509::to_pem).collect()
    }

    /// How many roots there are; at least one.
    pub fn root_count(&self) -> usize {
        self.0.certificates.len()
    }

    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0.certificates
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.0.anchors
    }
}

impl PartialEq for TrustBundle {
    /// The same roots, in whatever order.
    fn eq(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.0.certificates, &other.0.certificates);
        Arc::ptr_eq(&self.0, &other.0) || ours.len() == theirs.len() && ours.iter().all(|root| theirs.contains(root))
    }
}

impl Eq for TrustBundle {}

impl std::fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TrustBundle({} roots)", self.root_count())
    }
}

/// Why a text is not a trust bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// There is no certificate in it.
    #[error("the trust bundle has no certificate; expected one or more PEM sections 'CERTIFICATE'")]
    Empty,
    /// It is not PEM.
    #[error("the trust bundle is not PEM: {0}")]
    Pem(String),
    /// One of the certificates can't be a root.
    #[error("certificate {number} of the trust bundle can't be a root: {reason}")]
    Root {
        /// Its place in the text, from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
}
