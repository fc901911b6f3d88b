//! SPIFFE ids: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`, parsed once and strictly.
//!
//! The SPIFFE-ID standard allows any path; the mesh knows this one shape alone, the one of Istio and Linkerd, and
//! refuses everything else, so that two texts which differ never name the same workload.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::{CONTROL_PLANE_NAMESPACE, CONTROL_PLANE_SERVICE_ACCOUNT};

#[cfg(test)]
mod tests;

/// The longest SPIFFE id, in bytes (SPIFFE-ID, section 2.3).
pub const MAX_ID_BYTES: usize = 2048;
/// The longest trust domain, in bytes (SPIFFE-ID, section 2.1).
pub const MAX_TRUST_DOMAIN_BYTES: usize = 255;

const SCHEME: &str = "spiffe://";

/// The name of a trust domain, for example `cluster.local`: lower-case letters, digits, `.`, `-`, `_`; at most 255 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The name, without scheme.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let refuse = |reason| Err(SpiffeError::new("trust domain", text, reason));
        if text.is_empty() {
            return refuse("it is empty");
        }
        if text.len() > MAX_TRUST_DOMAIN_BYTES {
            return refuse("it is longer than 255 bytes");
        }
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return refuse("it has upper-case letters; trust domains are lower case");
        }
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) {
            return refuse("only lower-case letters, digits, '.', '-' and '_' may stand in it");
        }
        Ok(Self(text.into()))
    }
}

/// The identity of a workload. Cheap to clone, compare and hash.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId(Arc<Parts>);

#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Parts {
    uri: String,
    trust_domain: TrustDomain,
    namespace: String,
    service_account: String,
}

impl SpiffeId {
    /// The identity of `service_account` in `namespace`.
    ///
    /// # Errors
    /// When either is not a segment of a SPIFFE path (letters, digits, `.`, `-`, `_`; neither `.` nor `..`), or when the
    /// whole would be longer than 2048 bytes.
    pub fn new(trust_domain: &TrustDomain, namespace: &str, service_account: &str) -> Result<Self, SpiffeError> {
        check_segment("namespace", namespace)?;
        check_segment("service account", service_account)?;
        let uri = format!("{SCHEME}{trust_domain}/ns/{namespace}/sa/{service_account}");
        if uri.len() > MAX_ID_BYTES {
            return Err(SpiffeError::new("SPIFFE id", &uri, "it is longer than 2048 bytes"));
        }
        Ok(Self(Arc::new(Parts {
            uri,
            trust_domain: trust_domain.clone(),
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
        })))
    }

    /// The control plane's own identity in a trust domain.
    ///
    /// # Errors
    /// When the trust domain leaves no room for it, which none of at most 255 bytes does.
    pub fn control_plane(trust_domain: &TrustDomain) -> Result<Self, SpiffeError> {
        Self::new(trust_domain, CONTROL_PLANE_NAMESPACE, CONTROL_PLANE_SERVICE_ACCOUNT)
    }

    /// The trust domain that vouches for this identity.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.0.trust_domain
    }

    /// The Kubernetes namespace.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// The Kubernetes service account.
    pub fn service_account(&self) -> &str {
        &self.0.service_account
    }

    /// The whole URI, as it stands in certificates.
    pub fn as_str(&self) -> &str {
        &self.0.uri
    }

    /// The SNI by which a mesh client addresses this workload: `SA.NS.identity.TRUST-DOMAIN`.
    pub fn server_name(&self) -> String {
        format!("{}.{}.identity.{}", self.service_account(), self.namespace(), self.trust_domain())
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let refuse = |reason| SpiffeError::new("SPIFFE id", text, reason);
        if text.len() > MAX_ID_BYTES {
            return Err(refuse("it is longer than 2048 bytes"));
        }
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| refuse("it does not begin with 'spiffe://'"))?;
        let mut segments = rest.split('/');
        let (Some(domain), Some("ns"), Some(namespace), Some("sa"), Some(account), None) =
            (segments.next(), segments.next(), segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(refuse("it is not of the form spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT"));
        };
        Self::new(&domain.parse()?, namespace, account)
    }
}

/// A segment of a SPIFFE path (SPIFFE-ID, section 2.2).
fn check_segment(what: &'static str, text: &str) -> Result<(), SpiffeError> {
    let refuse = |reason| Err(SpiffeError::new(what, text, reason));
    if text.is_empty() {
        return refuse("it is empty");
    }
    if text == "." || text == ".." {
        return refuse("'.' and '..' are not names");
    }
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) {
        return refuse("only letters, digits, '.', '-' and '_' may stand in it");
    }
    Ok(())
}

/// Why a text is not a SPIFFE id or a part of one. Says which part, the value (shortened, control characters escaped)
/// and the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is refused: {reason}")]
pub struct SpiffeError {
    what: &'static str,
    value: String,
    reason: &'static str,
}

impl SpiffeError {
    fn new(what: &'static str, value: &str, reason: &'static str) -> Self {
        let mut shown: String = value.chars().take(120).collect();
        if shown.len() < value.len() {
            shown.push('…');
        }
        Self { what, value: shown, reason }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
