//! Who is calling? Each source of evidence answers with an identity, with nothing, or with a refusal.

use std::sync::Arc;
use std::time::SystemTime;

use tonic::metadata::MetadataMap;
use tonic::{Extensions, Status};
use weft_certs::spiffe::{SpiffeId, TrustDomain};

use crate::mesh::ObjectName;
use crate::tls_listener::Peer;

mod review;

pub use review::{ByTokenReview, ClusterReviews, Counted, Review, ReviewError, Reviews};

/// A source of evidence about the caller.
#[tonic::async_trait]
pub trait Attestor: Send + Sync {
    /// The caller's identity; `None` when the call carries no evidence of this kind.
    ///
    /// # Errors
    /// `unauthenticated`, when it carries evidence and that is bad; `unavailable`, when that can't be found out now. Other
    /// sources are not asked then.
    async fn attest(&self, metadata: &MetadataMap, extensions: &Extensions) -> Result<Option<SpiffeId>, Status>;
}

/// Renewal: the certificate by which the connection was opened gives the right to another for the same identity.
#[derive(Debug)]
pub struct ByCertificate;

#[tonic::async_trait]
impl Attestor for ByCertificate {
    async fn attest(&self, _metadata: &MetadataMap, extensions: &Extensions) -> Result<Option<SpiffeId>, Status> {
        let Some(certificate) = extensions.get::<Peer>().and_then(|peer| peer.certificate.as_ref()) else {
            return Ok(None);
        };
        // The handshake has verified it, but that may be long ago.
        if certificate.not_after <= SystemTime::now() {
            return Err(Status::unauthenticated(format!(
                "the certificate of {} that opened this connection has expired since; connect anew with a current one, or with a join token",
                certificate.id
            )));
        }
        Ok(Some(certificate.id.clone()))
    }
}

/// Whose join token is whose; the registry knows.
pub trait JoinTokens: Send + Sync + 'static {
    /// The ServiceAccount that a token is bound to, if it is known and bound to only one. Must not tell by its timing
    /// how much of a token was right: compare digests, not texts.
    fn service_account(&self, token: &str) -> Option<ObjectName>;
}

/// Joining: a token bound to one service account.
pub struct ByJoinToken {
    /// Whose token is whose.
    pub tokens: Arc<dyn JoinTokens>,
    /// The trust domain of the identities.
    pub trust_domain: TrustDomain,
}

#[tonic::async_trait]
impl Attestor for ByJoinToken {
    async fn attest(&self, metadata: &MetadataMap, _extensions: &Extensions) -> Result<Option<SpiffeId>, Status> {
        let Some(token) = bearer(metadata)? else { return Ok(None) };
        let account = self.tokens.service_account(token).ok_or_else(|| {
            Status::unauthenticated(
                "unknown join token; is its Secret (type kubernetes.io/service-account-token) in the registry, and did the proxy read the current one?",
            )
        })?;
        SpiffeId::new(&self.trust_domain, &account.namespace, &account.name).map(Some).map_err(|error| {
            Status::unauthenticated(format!("the token's service account can't have an identity: {error}"))
        })
    }
}

/// The token that a call carries.
fn bearer(metadata: &MetadataMap) -> Result<Option<&str>, Status> {
    let Some(authorization) = metadata.get("authorization") else { return Ok(None) };
    let parts = authorization.to_str().ok().and_then(|value| value.split_once(' '));
    let token = parts.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    token.map(Some).ok_or_else(|| Status::unauthenticated("authorization: expected 'Bearer TOKEN'"))
}

impl std::fmt::Debug for ByJoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ByJoinToken({})", self.trust_domain)
    }
}
