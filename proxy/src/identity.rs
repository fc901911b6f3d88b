//! Holds and renews the workload's certificate.
//!
//! ```text
//! obtain:      token ──────────────────> control plane ──> WorkloadIdentity
//! keep_fresh:  still-valid certificate ─> control plane ──> swapped in, at a jittered half-life
//!              (if that fails: token)                        open connections don't notice
//! ```

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use weft_api::istio_ca::IstioCertificateRequest;
use weft_api::istio_ca::istio_certificate_service_client::IstioCertificateServiceClient;
use weft_certs::bundle::{BundleError, TrustBundle};
use weft_certs::identity::{IdentityError, WorkloadIdentity, split_roots};
use weft_certs::key::{KeyError, KeyPair};
use weft_certs::spiffe::SpiffeId;

use crate::config::Config;
use crate::control_channel::{self, Target};

mod backoff;
#[cfg(test)]
mod tests;

use backoff::Backoff;

/// How long the control plane may take to sign, connecting included.
const SIGN_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest sleep between two looks at the clock, which may be set, or stand still while the machine is suspended.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What obtaining and renewing a certificate needs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where the control plane is.
    pub(crate) target: Target,
    /// Who we are.
    pub(crate) id: SpiffeId,
    /// The roots to believe before there is an identity, PEM. Read anew for each use.
    pub(crate) trust_bundle: PathBuf,
    /// The service account's token. Read anew for each use.
    pub(crate) token_file: PathBuf,
}

impl Settings {
    /// The part of the configuration that concerns the identity.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            target: Target::of(config),
            id: config.identity.spiffe_id.clone(),
            trust_bundle: config.control_plane.trust_bundle.clone(),
            token_file: config.identity.token_file.clone(),
        }
    }
}

/// Obtains the first certificate. Tries until it succeeds, and logs the likely cause each time that it changes.
pub(crate) async fn obtain(settings: &Settings) -> WorkloadIdentity {
    let mut backoff = Backoff::new();
    let mut logged = String::new();
    loop {
        let attempt = async {
            let issued = request_by_token(settings).await?;
            Ok::<_, RequestError>(issued.into_identity(&settings.id)?)
        };
        match attempt.await {
            Ok(identity) => {
                tracing::info!(id = %settings.id, not_after = %humantime::format_rfc3339_seconds(identity.not_after()),
                    "the control plane has certified this workload");
                return identity;
            }
            Err(error) => {
                let cause = error.to_string();
                if cause != logged {
                    tracing::warn!(%cause, "no certificate yet, trying on");
                    logged = cause;
                }
            }
        }
        tokio::time::sleep(backoff.next(Backoff::LONGEST, rand::random())).await;
    }
}

/// Renews the certificate at the jittered half of its life, for ever. Failures are retried, and logged louder as the
/// end comes nearer: at warning level from three quarters of the life on, at error level from nine tenths.
pub(crate) async fn keep_fresh(identity: WorkloadIdentity, settings: Settings) {
    loop {
        sleep_until(identity.renew_at(rand::random())).await;
        renew(&identity, &settings).await;
        tracing::info!(not_after = %humantime::format_rfc3339_seconds(identity.not_after()), "certificate renewed");
    }
}

async fn renew(identity: &WorkloadIdentity, settings: &Settings) {
    let mut backoff = Backoff::new();
    let mut logged = None;
    while let Err(error) = try_renew(identity, settings).await {
        let now = SystemTime::now();
        let complaint = (Loudness::of(identity.spent(now)), error.to_string());
        if logged.as_ref() != Some(&complaint) {
            complaint.0.log(identity, &complaint.1);
            logged = Some(complaint);
        }
        // The nearer the end, the more often: short-lived certificates must not die during one pause.
        let left = identity.not_after().duration_since(now).unwrap_or_default();
        tokio::time::sleep(backoff.next(left / 8, rand::random())).await;
    }
}

/// One attempt, by certificate and then by token.
async fn try_renew(identity: &WorkloadIdentity, settings: &Settings) -> Result<(), RequestError> {
    // A connection of its own: the control plane goes by the certificate of the handshake, which must be the current one.
    let channel = control_channel::channel(&settings.target, identity);
    let by_certificate = match request(channel, None).await {
        Ok(issued) => issued.replace(identity),
        Err(error) => Err(error),
    };
    let Err(first) = by_certificate else { return Ok(()) };
    let by_token = match request_by_token(settings).await {
        Ok(issued) => issued.replace(identity),
        Err(error) => Err(error),
    };
    by_token.map_err(|second| RequestError::Both(Box::new(first), Box::new(second)))
}

async fn request_by_token(settings: &Settings) -> Result<Issued, RequestError> {
    let bundle = read_bundle(&settings.trust_bundle).await?;
    let authorization = read_token(&settings.token_file).await?;
    request(control_channel::channel_without_certificate(&settings.target, &bundle), Some(authorization)).await
}

async fn request(channel: Channel, authorization: Option<MetadataValue<Ascii>>) -> Result<Issued, RequestError> {
    let key = KeyPair::generate()?;
    // 0: the control plane's default, which no request can exceed anyway.
    let body = IstioCertificateRequest { csr: key.csr_pem()?, validity_duration: 0, metadata: None };
    let mut request = tonic::Request::new(body);
    if let Some(authorization) = authorization {
        request.metadata_mut().insert("authorization", authorization);
    }
    let mut client = IstioCertificateServiceClient::new(channel);
    let answer = tokio::time::timeout(SIGN_TIMEOUT, client.create_certificate(request))
        .await
        .map_err(|_| RequestError::TimedOut)?
        .map_err(|status| RequestError::Call(control_channel::cause(&status)))?;
    let (chain, bundle) = split_roots(&answer.into_inner().cert_chain)?;
    Ok(Issued { key, chain, bundle })
}

/// What the control plane has signed, with the key that it is for.
struct Issued {
    key: KeyPair,
    chain: Vec<String>,
    bundle: TrustBundle,
}

impl Issued {
    fn into_identity(self, id: &SpiffeId) -> Result<WorkloadIdentity, IdentityError> {
        WorkloadIdentity::from_parts(id.clone(), &self.key, &self.chain, self.bundle)
    }

    fn replace(self, identity: &WorkloadIdentity) -> Result<(), RequestError> {
        Ok(identity.replace(&self.key, &self.chain, self.bundle)?)
    }
}

async fn read_bundle(path: &Path) -> Result<TrustBundle, RequestError> {
    let pem = tokio::fs::read(path).await.map_err(|source| RequestError::Read { path: path.to_owned(), source })?;
    TrustBundle::from_pem(&pem).map_err(|source| RequestError::Bundle { path: path.to_owned(), source })
}

async fn read_token(path: &Path) -> Result<MetadataValue<Ascii>, RequestError> {
    let token =
        tokio::fs::read_to_string(path).await.map_err(|source| RequestError::Read { path: path.to_owned(), source })?;
    let token = token.trim();
    let mut value = MetadataValue::try_from(format!("Bearer {token}"))
        .ok()
        .filter(|_| !token.is_empty())
        .ok_or_else(|| RequestError::Token { path: path.to_owned() })?;
    value.set_sensitive(true);
    Ok(value)
}

async fn sleep_until(moment: SystemTime) {
    while let Ok(left) = moment.duration_since(SystemTime::now())
        && !left.is_zero()
    {
        tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
    }
}

/// How loudly to complain that a certificate can't be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loudness {
    Info,
    Warning,
    Error,
    Expired,
}

impl Loudness {
    /// By the part of the certificate's life that is over.
    fn of(spent: f64) -> Self {
        match spent {
            spent if spent >= 1.0 => Self::Expired,
            spent if spent >= 0.9 => Self::Error,
            spent if spent >= 0.75 => Self::Warning,
            _ => Self::Info,
        }
    }

    fn log(self, identity: &WorkloadIdentity, cause: &str) {
        let not_after = humantime::format_rfc3339_seconds(identity.not_after());
        match self {
            Self::Info => tracing::info!(%not_after, cause, "can't renew the certificate yet, trying on"),
            Self::Warning => {
                tracing::warn!(%not_after, cause, "can't renew the certificate; a quarter of its life is left")
            }
            Self::Error => tracing::error!(%not_after, cause, "can't renew the certificate; it ends very soon"),
            Self::Expired => tracing::error!(%not_after, cause,
                "the certificate has expired: new connections to and from other pods fail until it is renewed"),
        }
    }
}

/// Why an attempt to get a certificate failed.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("can't read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Bundle { path: PathBuf, source: BundleError },
    #[error("{} is empty or holds more than a token", path.display())]
    Token { path: PathBuf },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the control plane did not sign in time ({} s)", SIGN_TIMEOUT.as_secs())]
    TimedOut,
    #[error("{0}")]
    Call(String),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("by our certificate: {0}; by the token: {1}")]
    Both(Box<RequestError>, Box<RequestError>),
}
