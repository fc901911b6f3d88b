//! Which of the secure choices TLS makes: for benchmarks and for the cautious. The default is right for a mesh.

use std::str::FromStr;
use std::sync::{Arc, LazyLock, OnceLock};

use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};

use super::verify::SIGNATURES;

/// The key exchange groups and cipher suites on offer, most preferred first, and whether sessions are resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPolicy {
    /// Key exchange groups.
    pub groups: Vec<Group>,
    /// TLS 1.3 cipher suites.
    pub suites: Vec<Suite>,
    /// Resumption spares a signature, but a resumed session is not verified anew: it outlives the peer's certificate and
    /// the roots. Off by default.
    pub resumption: bool,
}

/// A key exchange group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Hybrid of X25519 and ML-KEM-768, safe against later decryption by a quantum computer. 1.2 KiB more each way.
    X25519MlKem768,
    /// X25519 alone.
    X25519,
    /// NIST P-256.
    Secp256r1,
}

/// A TLS 1.3 cipher suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// `TLS_AES_128_GCM_SHA256`: the fastest where the CPU has AES instructions.
    Aes128Gcm,
    /// `TLS_AES_256_GCM_SHA384`.
    Aes256Gcm,
    /// `TLS_CHACHA20_POLY1305_SHA256`: the fastest where it has none.
    ChaCha20Poly1305,
}

impl Default for TlsPolicy {
    fn default() -> Self {
        Self {
            groups: vec![Group::X25519MlKem768, Group::X25519],
            suites: vec![Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305],
            resumption: false,
        }
    }
}

impl FromStr for Group {
    type Err = PolicyError;

    /// Reads the IANA name, in any case.
    fn from_str(text: &str) -> Result<Self, PolicyError> {
        [("X25519MLKEM768", Self::X25519MlKem768), ("X25519", Self::X25519), ("secp256r1", Self::Secp256r1)]
            .into_iter()
            .find_map(|(name, group)| name.eq_ignore_ascii_case(text).then_some(group))
            .ok_or_else(|| PolicyError::UnknownGroup(text.to_owned()))
    }
}

/// Sets the policy of the whole process. Call it once, before the first configuration is built.
///
/// # Errors
/// When a list is empty, or it comes too late.
pub fn install_policy(policy: TlsPolicy) -> Result<(), PolicyError> {
    if policy.groups.is_empty() || policy.suites.is_empty() {
        return Err(PolicyError::Empty);
    }
    POLICY.set(policy).map_err(|_| PolicyError::TooLate)
}

/// Why a policy is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not a group that we know.
    #[error("{0:?} is not a key exchange group; there are X25519MLKEM768, X25519 and secp256r1")]
    UnknownGroup(String),
    /// Nothing to choose from.
    #[error("the TLS policy has no group or no cipher suite")]
    Empty,
    /// A configuration was built already.
    #[error("the TLS policy is in use already; set it before the first TLS configuration is built")]
    TooLate,
}

static POLICY: OnceLock<TlsPolicy> = OnceLock::new();

pub(super) fn current() -> &'static TlsPolicy {
    POLICY.get_or_init(TlsPolicy::default)
}

/// The cryptography of the mesh: less than what [`install_provider`](super::install_provider) gives to the rest of the
/// process.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(build(current())));
    PROVIDER.clone()
}

fn build(policy: &TlsPolicy) -> CryptoProvider {
    CryptoProvider {
        cipher_suites: policy.suites.iter().map(suite).collect(),
        kx_groups: policy.groups.iter().map(group).collect(),
        signature_verification_algorithms: SIGNATURES,
        ..default_provider()
    }
}

fn group(group: &Group) -> &'static dyn SupportedKxGroup {
    match group {
        Group::X25519MlKem768 => kx_group::X25519MLKEM768,
        Group::X25519 => kx_group::X25519,
        Group::Secp256r1 => kx_group::SECP256R1,
    }
}

fn suite(suite: &Suite) -> SupportedCipherSuite {
    match suite {
        Suite::Aes128Gcm => cipher_suite::TLS13_AES_128_GCM_SHA256,
        Suite::Aes256Gcm => cipher_suite::TLS13_AES_256_GCM_SHA384,
        Suite::ChaCha20Poly1305 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    }
}
