//! The certificate service: attests who is calling, and signs a certificate for exactly that workload.
//!
//! ```text
//! CreateCertificate ─> attest: the connection's certificate, else the token ─> SPIFFE id ─┐
//!                  CSR ─> weft-certs: key proven, P-256; its names are ignored  ───────────────┴─> leaf, issuer, roots
//! ```

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use weft_api::istio_ca::istio_certificate_service_server::{IstioCertificateService, IstioCertificateServiceServer};
use weft_api::istio_ca::{IstioCertificateRequest, IstioCertificateResponse};
use weft_certs::authority::{Authority, MAX_CSR_BYTES, SignError};
use weft_certs::spiffe::{SpiffeId, TrustDomain};

mod attest;
pub mod own;
pub mod secret;
#[cfg(test)]
mod tests;

pub use attest::{
    Attestor, ByCertificate, ByJoinToken, ByTokenReview, ClusterReviews, Counted, JoinTokens, Review, ReviewError,
    Reviews,
};

/// The certificate authority as it is. Another one when its keys are replaced, or when it trusts other roots.
pub type CurrentAuthority = watch::Receiver<Arc<Authority>>;

/// The shortest lifetime that is given. Half of it is what a proxy has to renew.
pub const MIN_LIFETIME: Duration = Duration::from_secs(5);

/// The longest request that is read; metadata beside the CSR is small.
const MAX_REQUEST_BYTES: usize = MAX_CSR_BYTES + 16 * 1024;

/// `istio.v1.auth.IstioCertificateService`.
pub struct CertificateService {
    authority: CurrentAuthority,
    trust_domain: TrustDomain,
    attestors: Vec<Box<dyn Attestor>>,
    lifetime: Duration,
    issued: Counter,
}

impl CertificateService {
    /// A service that attests by the connection's certificate, and else by token.
    ///
    /// `lifetime` is the default and the most that is given; `issued` counts certificates.
    pub fn new(authority: CurrentAuthority, by_token: Box<dyn Attestor>, lifetime: Duration, issued: Counter) -> Self {
        let trust_domain = authority.borrow().trust_domain().clone();
        let attestors: Vec<Box<dyn Attestor>> = vec![Box::new(ByCertificate), by_token];
        Self { authority, trust_domain, attestors, lifetime, issued }
    }

    /// The tonic service, which refuses requests of more than a CSR's size. Serve it over
    /// [`tls_listener`](crate::tls_listener), which tells it the peer's certificate.
    pub fn into_server(self) -> IstioCertificateServiceServer<Self> {
        IstioCertificateServiceServer::new(self).max_decoding_message_size(MAX_REQUEST_BYTES)
    }

    async fn attest(&self, request: &Request<IstioCertificateRequest>) -> Result<SpiffeId, Status> {
        for attestor in &self.attestors {
            if let Some(id) = attestor.attest(request.metadata(), request.extensions()).await? {
                return self.permit(id);
            }
        }
        Err(Status::unauthenticated(
            "no credentials: show a certificate that is still valid, or a token as 'authorization: Bearer TOKEN'",
        ))
    }

    /// The control plane certifies itself in its own process; nobody else may have that name.
    fn permit(&self, id: SpiffeId) -> Result<SpiffeId, Status> {
        let reserved = SpiffeId::control_plane(&self.trust_domain);
        if reserved.is_ok_and(|reserved| reserved == id) {
            return Err(Status::permission_denied(format!(
                "{id} is the control plane's own identity; it is not given out"
            )));
        }
        Ok(id)
    }

    /// What was asked for, within what is given. `seconds` as on the wire: 0 is the default.
    fn lifetime(&self, seconds: i64) -> Result<Duration, Status> {
        match u64::try_from(seconds) {
            Ok(0) => Ok(self.lifetime),
            Ok(seconds) => Ok(Duration::from_secs(seconds).min(self.lifetime).max(MIN_LIFETIME)),
            Err(_) => Err(Status::invalid_argument(format!(
                "validity_duration: {seconds} is negative; give seconds, or 0 for the default"
            ))),
        }
    }
}

#[tonic::async_trait]
impl IstioCertificateService for CertificateService {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let id = self.attest(&request).await.inspect_err(|status| {
            tracing::info!(code = ?status.code(), cause = status.message(), "refused a certificate");
        })?;
        let request = request.into_inner();
        let lifetime = self.lifetime(request.validity_duration)?;
        let authority = Arc::clone(&self.authority.borrow());
        let issued = authority.sign(&request.csr, &id, lifetime).map_err(|error| refusal(&id, &error))?;
        self.issued.inc();
        tracing::debug!(%id, not_after = %humantime::format_rfc3339_seconds(issued.not_after), "issued a certificate");
        let mut cert_chain = issued.chain_pem;
        cert_chain.extend(authority.bundle().pem_roots());
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}

fn refusal(id: &SpiffeId, error: &SignError) -> Status {
    match error {
        SignError::Csr(cause) => Status::invalid_argument(format!("csr: {cause}")),
        SignError::ForeignTrustDomain { .. } => Status::permission_denied(error.to_string()),
        SignError::IssuerExpired | SignError::Crypto(_) => {
            tracing::error!(%id, %error, "can't sign certificates");
            Status::internal(format!("{error}; the control plane's log has more"))
        }
    }
}

impl std::fmt::Debug for CertificateService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CertificateService({})", self.trust_domain)
    }
}
