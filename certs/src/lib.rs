//! Who a workload is, and how it proves it: SPIFFE ids, keys, certificates, trust bundles, TLS.
//!
//! In the order in which a workload meets them:
//! - [`spiffe`]: the name, `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`;
//! - [`key`]: a private key that never leaves the process, and the request to certify it;
//! - [`authority`]: the CA, which signs that request for a name that somebody else has attested;
//! - [`bundle`]: the roots that a workload believes;
//! - [`identity`]: key, certificate and bundle of a running workload, swapped as a whole when they are renewed;
//! - [`tls`]: the only place that builds rustls configurations. They read the current identity at each handshake.
//!
//! Everything is ECDSA P-256 with SHA-256 over TLS 1.3, by aws-lc-rs.

pub mod authority;
pub mod bundle;
pub mod identity;
pub mod key;
pub mod server;
pub mod spiffe;
pub mod tls;
mod x509;

/// The namespace of the control plane's own SPIFFE id.
pub const CONTROL_PLANE_NAMESPACE: &str = "weft-system";
/// The service account of the control plane's own SPIFFE id.
pub const CONTROL_PLANE_SERVICE_ACCOUNT: &str = "weft-control";

#[cfg(test)]
mod testing;
