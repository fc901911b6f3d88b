//! The identity of a running workload: key, certificate and trust bundle, swapped as a whole.
//!
//! ```text
//! KeyPair::generate -> csr_pem -> (control plane signs) -> from_parts -> WorkloadIdentity
//!                                                                             |  renew_at
//!                      new KeyPair, new CSR, signed with the old certificate <-+
//!                                           '-> replace: the next handshake uses it, open connections don't notice
//! ```

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use crate::bundle::{BundleError, TrustBundle};
use crate::key::KeyPair;
use crate::spiffe::SpiffeId;
use crate::tls::{self, VerifyError};
use crate::x509;

#[cfg(test)]
mod tests;

/// A handle on the identity; clones see the same swaps.
#[derive(Clone)]
pub struct WorkloadIdentity(Arc<Shared>);

struct Shared {
    id: SpiffeId,
    current: ArcSwap<Svid>,
    swapped: watch::Sender<SystemTime>,
}

/// One certificate with what belongs to it (SPIFFE calls it an X509-SVID).
struct Svid {
    key: Arc<CertifiedKey>,
    bundle: TrustBundle,
    /// When we got it, by our own clock: the certificate itself is backdated.
    obtained: SystemTime,
    not_after: SystemTime,
}

impl WorkloadIdentity {
    /// Takes a key, the chain that was issued for it (PEM: leaf first, then what leads to a root) and the roots.
    ///
    /// # Errors
    /// When the leaf is not for this id or key, the bundle doesn't verify it, or it is not valid now.
    pub fn from_parts(
        id: SpiffeId,
        key: &KeyPair,
        chain_pem: &[String],
        bundle: TrustBundle,
    ) -> Result<Self, IdentityError> {
        let svid = Svid::verified(&id, key, chain_pem, bundle, SystemTime::now())?;
        let swapped = watch::Sender::new(svid.not_after);
        Ok(Self(Arc::new(Shared { id, current: ArcSwap::from_pointee(svid), swapped })))
    }

    /// Swaps in a new key, chain and bundle. Handshakes from now on use them; open connections stay as they are.
    ///
    /// # Errors
    /// As [`from_parts`](Self::from_parts); the old ones stay then.
    pub fn replace(&self, key: &KeyPair, chain_pem: &[String], bundle: TrustBundle) -> Result<(), IdentityError> {
        let svid = Svid::verified(&self.0.id, key, chain_pem, bundle, SystemTime::now())?;
        let not_after = svid.not_after;
        self.0.current.store(Arc::new(svid));
        self.0.swapped.send_replace(not_after);
        Ok(())
    }

    /// Whose identity it is; never changes.
    pub fn id(&self) -> &SpiffeId {
        &self.0.id
    }

    /// The roots that are believed now.
    pub fn bundle(&self) -> TrustBundle {
        self.0.current.load().bundle.clone()
    }

    /// The end of the current certificate.
    pub fn not_after(&self) -> SystemTime {
        self.0.current.load().not_after
    }

    /// When to renew: at half of the remaining life as it was when the certificate came, give or take a tenth of that
    /// life, so that workloads which started together don't renew together. `random` is uniform in 0..1.
    pub fn renew_at(&self, random: f64) -> SystemTime {
        let svid = self.0.current.load();
        svid.obtained + svid.life().mul_f64(0.4 + 0.2 * random.clamp(0.0, 1.0))
    }

    /// How much of the current certificate's life is over: 0 when it came, 1 and more when it has expired.
    pub fn spent(&self, now: SystemTime) -> f64 {
        let svid = self.0.current.load();
        let used = now.duration_since(svid.obtained).unwrap_or_default();
        if svid.life().is_zero() { 1.0 } else { used.as_secs_f64() / svid.life().as_secs_f64() }
    }

    /// Tells of each swap; the value is the end of the then current certificate.
    pub fn subscribe(&self) -> watch::Receiver<SystemTime> {
        self.0.swapped.subscribe()
    }

    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        self.0.current.load().key.clone()
    }
}

impl Svid {
    fn verified(
        id: &SpiffeId,
        key: &KeyPair,
        chain_pem: &[String],
        bundle: TrustBundle,
        now: SystemTime,
    ) -> Result<Self, IdentityError> {
        let chain = certificates(chain_pem)?;
        let (leaf, intermediates) = chain.split_first().ok_or(IdentityError::Empty)?;
        let unix_now = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        tls::verify_own(leaf, intermediates, &bundle, id, unix_now)?;
        let not_after =
            x509::parse(leaf).map(|leaf| x509::system_time(leaf.validity().not_after)).map_err(IdentityError::Pem)?;
        let key = CertifiedKey::from_der(chain, key.to_der(), &tls::provider()).map_err(IdentityError::Key)?;
        Ok(Self { key: Arc::new(key), bundle, obtained: now, not_after })
    }

    fn life(&self) -> Duration {
        self.not_after.duration_since(self.obtained).unwrap_or_default()
    }
}

/// Separates what `CreateCertificate` answers (leaf, what leads to a root, all roots) into the chain to present and the
/// roots to believe: a root is its own issuer.
///
/// # Errors
/// When a text is not PEM, or there is no leaf or no root.
pub fn split_roots(cert_chain: &[String]) -> Result<(Vec<String>, TrustBundle), IdentityError> {
    let all = certificates(cert_chain)?;
    let (leaf, rest) = all.split_first().ok_or(IdentityError::Empty)?;
    let mut chain = vec![x509::to_pem(leaf)];
    let mut roots = Vec::new();
    for certificate in rest {
        let parsed = x509::parse(certificate).map_err(IdentityError::Pem)?;
        if parsed.subject() == parsed.issuer() {
            roots.push(certificate.clone());
        } else {
            chain.push(x509::to_pem(certificate));
        }
    }
    Ok((chain, TrustBundle::from_certificates(roots)?))
}

fn certificates(pem: &[String]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    pem.iter()
        .flat_map(|text| CertificateDer::pem_slice_iter(text.as_bytes()))
        .collect::<Result<_, _>>()
        .map_err(|cause| IdentityError::Pem(cause.to_string()))
}

impl std::fmt::Debug for WorkloadIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WorkloadIdentity({})", self.0.id)
    }
}

/// Why an issued certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The chain has no certificate.
    #[error("the control plane sent no certificate")]
    Empty,
    /// The chain can't be read.
    #[error("the certificate chain can't be read: {0}")]
    Pem(String),
    /// The roots can't be used.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The certificate is not for us, not now, or not by a CA that we believe.
    #[error("our own certificate does not verify: {0}")]
    Verify(#[from] VerifyError),
    /// The certificate is for another key.
    #[error("the certificate doesn't belong to our key")]
    Key(#[source] rustls::Error),
}
