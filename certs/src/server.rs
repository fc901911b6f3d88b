//! The certificate of a server that clients know by its DNS name; swapped while it serves.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::key::KeyPair;
use crate::tls;

#[cfg(test)]
mod tests;

/// A handle on the certificate; clones see the same swaps.
#[derive(Clone, Debug)]
pub struct ServerCertificate(Arc<ArcSwap<CertifiedKey>>);

/// Why a certificate can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ServerCertificateError {
    /// The chain is not PEM.
    #[error("the certificate's chain is no PEM")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// Key and leaf don't belong together, or can't be used.
    #[error("the certificate can't be used with its key")]
    Key(#[from] rustls::Error),
}

impl ServerCertificate {
    /// Takes a key and the chain that was issued for it (PEM: leaf first).
    ///
    /// # Errors
    /// When the leaf is not for this key.
    pub fn new(key: &KeyPair, chain_pem: &[String]) -> Result<Self, ServerCertificateError> {
        Ok(Self(Arc::new(ArcSwap::from_pointee(certified(key, chain_pem)?))))
    }

    /// Swaps in another key and chain. Handshakes from now on use them.
    ///
    /// # Errors
    /// As [`new`](Self::new); the old ones stay then.
    pub fn replace(&self, key: &KeyPair, chain_pem: &[String]) -> Result<(), ServerCertificateError> {
        self.0.store(Arc::new(certified(key, chain_pem)?));
        Ok(())
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn certified(key: &KeyPair, chain_pem: &[String]) -> Result<CertifiedKey, ServerCertificateError> {
    let chain = chain_pem.iter().map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()));
    let chain = chain.collect::<Result<Vec<_>, _>>()?;
    Ok(CertifiedKey::from_der(chain, key.to_der(), &tls::provider())?)
}
