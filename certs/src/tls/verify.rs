//! Is this certificate of a workload that we want to talk to? Pure: certificate, roots and time in, answer out.

use std::time::Duration;

use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::aws_lc_rs::ECDSA_P256_SHA256;
use webpki::{EndEntityCert, KeyUsage};

use crate::bundle::TrustBundle;
use crate::spiffe::{SpiffeId, TrustDomain};
use crate::x509::{LeafError, PeerCertificate, rough};

/// ECDSA on P-256 with SHA-256, in certificates and in handshakes, and nothing else.
pub(super) const SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[ECDSA_P256_SHA256],
    mapping: &[(SignatureScheme::ECDSA_NISTP256_SHA256, &[ECDSA_P256_SHA256])],
};

/// Who the peer has to be.
#[derive(Debug, Clone)]
pub(super) enum Expected {
    /// Exactly this workload.
    Id(SpiffeId),
    /// Any workload of this trust domain.
    Domain(TrustDomain),
}

/// The side of the handshake on which the certificate is shown.
#[derive(Debug, Clone, Copy)]
pub(super) enum Usage {
    Client,
    Server,
}

/// Verifies names, usages, chain, validity and identity; returns the identity.
pub(super) fn chain(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    usage: Usage,
    expected: &Expected,
    now: UnixTime,
) -> Result<SpiffeId, VerifyError> {
    let presented = PeerCertificate::parse(leaf)?.id;
    let purpose = match usage {
        Usage::Client => KeyUsage::client_auth(),
        Usage::Server => KeyUsage::server_auth(),
    };
    EndEntityCert::try_from(leaf)
        .and_then(|leaf| {
            leaf.verify_for_usage(SIGNATURES.all, bundle.anchors(), intermediates, now, purpose, None, None).map(drop)
        })
        .map_err(|cause| VerifyError::from_chain(cause, &presented, bundle))?;
    match expected {
        Expected::Id(expected) if presented != *expected => {
            Err(VerifyError::WrongIdentity { presented, expected: expected.clone() })
        }
        Expected::Domain(ours) if presented.trust_domain() != ours => {
            Err(VerifyError::ForeignTrustDomain { presented, ours: ours.clone() })
        }
        _ => Ok(presented),
    }
}

/// Why a peer's certificate is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum VerifyError {
    /// Its names or usages are not a workload's.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// It, or a certificate above it, is past its end.
    #[error(
        "the certificate chain of {id} expired {} ago; either it was not renewed, or the clocks disagree (skew) by that much",
        rough(*ago)
    )]
    Expired {
        /// The identity that it claims.
        id: SpiffeId,
        /// By our clock.
        ago: Duration,
    },
    /// It, or a certificate above it, is not valid yet. Ours are backdated, so the skew is a minute more.
    #[error(
        "the certificate chain of {id} is valid only {} from now: the clocks disagree (skew) by at least that much; is this machine's clock behind?",
        rough(*ahead)
    )]
    NotYetValid {
        /// The identity that it claims.
        id: SpiffeId,
        /// By our clock.
        ahead: Duration,
    },
    /// No root of the bundle leads to it.
    #[error(
        "the certificate of {id} is not signed by any of our {roots} roots; is the peer of another mesh, or our trust bundle out of date?"
    )]
    UnknownIssuer {
        /// The identity that it claims.
        id: SpiffeId,
        /// How many roots we believe.
        roots: usize,
    },
    /// A genuine certificate of somebody else.
    #[error("the peer is {presented}, but {expected} was expected; has the address changed hands?")]
    WrongIdentity {
        /// Who the peer is.
        presented: SpiffeId,
        /// Who it should be.
        expected: SpiffeId,
    },
    /// A genuine certificate of another trust domain.
    #[error("the peer is {presented}, but our trust domain is {ours}")]
    ForeignTrustDomain {
        /// Who the peer is.
        presented: SpiffeId,
        /// The only trust domain that we accept.
        ours: TrustDomain,
    },
    /// Anything else that X.509 path validation (RFC 5280) refuses.
    #[error("the certificate chain of {id} is refused: {cause}")]
    Chain {
        /// The identity that it claims.
        id: SpiffeId,
        /// The rule that is broken.
        cause: webpki::Error,
    },
}

impl VerifyError {
    fn from_chain(cause: webpki::Error, presented: &SpiffeId, bundle: &TrustBundle) -> Self {
        let id = presented.clone();
        let span = |from: UnixTime, to: UnixTime| Duration::from_secs(to.as_secs().saturating_sub(from.as_secs()));
        match cause {
            webpki::Error::CertExpired { time, not_after } => Self::Expired { id, ago: span(not_after, time) },
            webpki::Error::CertNotValidYet { time, not_before } => {
                Self::NotYetValid { id, ahead: span(time, not_before) }
            }
            webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
                Self::UnknownIssuer { id, roots: bundle.root_count() }
            }
            cause => Self::Chain { id, cause },
        }
    }
}
