//! The private key of a workload: made in memory, never written anywhere.

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// An ECDSA P-256 key pair.
pub struct KeyPair(rcgen::KeyPair);

impl KeyPair {
    /// Makes a new key.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map(Self).map_err(KeyError)
    }

    /// A certificate signing request (PKCS #10, PEM) for this key. It carries no name: the CA takes the identity from
    /// attestation alone.
    ///
    /// # Errors
    /// When signing fails.
    pub fn csr_pem(&self) -> Result<String, KeyError> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.serialize_request(&self.0).and_then(|csr| csr.pem()).map_err(KeyError)
    }

    #[cfg(test)]
    pub(crate) fn from_rcgen(key: rcgen::KeyPair) -> Self {
        Self(key)
    }

    pub(crate) fn to_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.0.serialize_der()).into()
    }
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyPair(P-256)")
    }
}

/// The cryptographic library could not make a key or sign with it.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a P-256 key or sign with it")]
pub struct KeyError(#[source] rcgen::Error);
