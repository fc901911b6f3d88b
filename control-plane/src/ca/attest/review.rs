//! Tokens of a cluster: projected into pods by Kubernetes, and reviewed by the API server that made them.
//!
//! ```text
//! token ─> known and reviewed lately? ──no──> TokenReview (audience weft) ─> a pod's token, of a service account
//!                    └─────────yes────────────────────────────────────────────────┴─> is the pod still there? ─> id
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::sync::{Semaphore, watch};
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Status};
use weft_certs::spiffe::{SpiffeId, TrustDomain};

use super::{Attestor, bearer};
use crate::mesh::{Mesh, ObjectName, TokenDigest};

/// What tokens for Weft are made for; others are of no use here.
const AUDIENCE: &str = "weft";

/// The longest token that is reviewed.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// How many tokens are remembered.
const MAX_KNOWN: usize = 20_000;
/// How long a review is taken for granted. An older one counts while the API server can't be asked.
const FRESH: Duration = Duration::from_secs(60);
/// How many reviews may be under way at a time; others wait.
const MAX_REVIEWS: usize = 64;
/// How long a review may take, waiting included.
const TIMEOUT: Duration = Duration::from_secs(8);
/// How long a pod that the API server vouches for may be missing in what we know of the cluster.
const LAG: Duration = Duration::from_secs(3);

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// What the API server says of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// The service account.
    pub service_account: ObjectName,
    /// The pod that the token is bound to, in the same namespace.
    pub pod: ObjectName,
    /// Which pod of that name.
    pub pod_uid: Arc<str>,
}

/// Why there is no review.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    /// The token proves nothing.
    #[error("{0}")]
    Refused(String),
    /// The API server can't be asked.
    #[error("the API server can't be asked about the token: {0}")]
    Unavailable(String),
}

/// Whoever reviews tokens.
#[tonic::async_trait]
pub trait Reviews: Send + Sync {
    /// Whose token this is.
    ///
    /// # Errors
    /// When it is nobody's, or that can't be found out.
    async fn review(&self, token: &str) -> Result<Review, ReviewError>;
}

/// The API server of a cluster.
pub struct ClusterReviews {
    api: Api<TokenReview>,
}

impl ClusterReviews {
    /// Asks the API server of this client, which needs the right to create TokenReviews.
    pub fn new(client: kube::Client) -> Self {
        Self { api: Api::all(client) }
    }
}

#[tonic::async_trait]
impl Reviews for ClusterReviews {
    async fn review(&self, token: &str) -> Result<Review, ReviewError> {
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: Some(vec![AUDIENCE.to_owned()]) };
        let asked = TokenReview { spec, ..TokenReview::default() };
        let answer = self.api.create(&PostParams::default(), &asked).await;
        let answer = answer.map_err(|error| ReviewError::Unavailable(error.to_string()))?;
        read(answer.status.unwrap_or_default())
    }
}

/// What an answer says.
fn read(status: TokenReviewStatus) -> Result<Review, ReviewError> {
    let refused = |text: String| Err(ReviewError::Refused(text));
    if !status.authenticated.unwrap_or(false) {
        let why = status.error.filter(|why| !why.is_empty()).unwrap_or_else(|| "no reason is given".to_owned());
        return refused(format!(
            "the API server doesn't accept the token ({why}); is it current, and made for the audience {AUDIENCE:?}?"
        ));
    }
    if !status.audiences.unwrap_or_default().iter().any(|audience| audience == AUDIENCE) {
        return refused(format!("the token is not made for the audience {AUDIENCE:?}"));
    }
    let user = status.user.unwrap_or_default();
    let name = user.username.unwrap_or_default();
    let account = name.strip_prefix("system:serviceaccount:").and_then(|name| name.split_once(':'));
    let Some((namespace, account)) = account else {
        return refused(format!("the token is {name:?}'s, which is no service account"));
    };
    let extra = |key| user.extra.as_ref().and_then(|extra| extra.get(key)?.first()).filter(|text| !text.is_empty());
    let (Some(pod), Some(uid)) = (extra(POD_NAME), extra(POD_UID)) else {
        return refused(format!(
            "the token of service account {namespace}/{account} is not bound to a pod; a projected volume gives one that is"
        ));
    };
    Ok(Review {
        service_account: ObjectName::new(namespace, account),
        pod: ObjectName::new(namespace, pod.as_str()),
        pod_uid: uid.as_str().into(),
    })
}

/// A token that was reviewed.
#[derive(Clone, Debug)]
struct Known {
    review: Review,
    at: Instant,
    /// The token's own end.
    expires: SystemTime,
}

/// Joining: a token that Kubernetes projected into a pod of the cluster.
pub struct ByTokenReview {
    reviews: Box<dyn Reviews>,
    /// The cluster as it is known here.
    mesh: watch::Receiver<Arc<Mesh>>,
    trust_domain: TrustDomain,
    known: Mutex<HashMap<TokenDigest, Known>>,
    room: Semaphore,
    lag: Duration,
    counted: Counted,
}

/// How many tokens were looked at, by what came of it: `accepted`, `remembered`, `refused`, `unavailable`.
pub type Counted = Family<Vec<(String, String)>, Counter>;

impl ByTokenReview {
    /// Tokens for identities of a trust domain, in the hands of pods that are in the mesh.
    pub fn new(
        reviews: Box<dyn Reviews>,
        mesh: watch::Receiver<Arc<Mesh>>,
        trust_domain: TrustDomain,
        counted: Counted,
    ) -> Self {
        let room = Semaphore::new(MAX_REVIEWS);
        Self { reviews, mesh, trust_domain, known: Mutex::default(), room, lag: LAG, counted }
    }

    fn count(&self, result: &str) {
        self.counted.get_or_create(&vec![("result".to_owned(), result.to_owned())]).inc();
    }

    /// Whose token this is; of one that is known from what it was reviewed to be.
    async fn reviewed(&self, token: &str) -> Result<Review, ReviewError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(ReviewError::Refused(format!("the token has {} bytes; no cluster's has as many", token.len())));
        }
        let digest = TokenDigest::of(token);
        let known = self.known.lock().get(&digest).filter(|known| known.expires > SystemTime::now()).cloned();
        if let Some(known) = known.as_ref().filter(|known| known.at.elapsed() < FRESH) {
            self.count("remembered");
            return Ok(known.review.clone());
        }
        let review = async {
            let _permit = self.room.acquire().await.map_err(|error| ReviewError::Unavailable(error.to_string()))?;
            self.reviews.review(token).await
        };
        let late = |_| Err(ReviewError::Unavailable(format!("no answer within {} s", TIMEOUT.as_secs())));
        match (tokio::time::timeout(TIMEOUT, review).await.unwrap_or_else(late), known) {
            (Ok(review), _) => {
                self.count("accepted");
                self.remember(digest, token, &review);
                Ok(review)
            }
            (Err(ReviewError::Unavailable(_)), Some(known)) => {
                self.count("remembered");
                Ok(known.review)
            }
            (Err(error), _) => {
                self.known.lock().remove(&digest);
                self.count(if matches!(error, ReviewError::Refused(_)) { "refused" } else { "unavailable" });
                Err(error)
            }
        }
    }

    fn remember(&self, digest: TokenDigest, token: &str, review: &Review) {
        // What the API server vouched for tells the truth about its end.
        let Some(expires) = expiry(token) else { return };
        let mut known = self.known.lock();
        if known.len() >= MAX_KNOWN {
            let now = SystemTime::now();
            known.retain(|_, known| known.expires > now);
        }
        if known.len() < MAX_KNOWN || known.contains_key(&digest) {
            known.insert(digest, Known { review: review.clone(), at: Instant::now(), expires });
        }
    }

    /// The pod has to be there still, as the token says: with this uid, and as this service account.
    async fn check_pod(&self, review: &Review) -> Result<(), Status> {
        let Review { service_account, pod, pod_uid } = review;
        let mut mesh = self.mesh.clone();
        let known = mesh.wait_for(|mesh| mesh.pod(&pod.namespace, &pod.name).is_some_and(|pod| pod.uid == *pod_uid));
        let found = match tokio::time::timeout(self.lag, known).await {
            Ok(Ok(mesh)) => Arc::clone(&mesh),
            _ => {
                return Err(Status::unavailable(format!(
                    "pod {pod} with uid {pod_uid}, which the token is bound to, is not in the registry, or not any more"
                )));
            }
        };
        let account = found.pod(&pod.namespace, &pod.name).map(|pod| &pod.service_account);
        if account != Some(&service_account.name) || pod.namespace != service_account.namespace {
            return Err(Status::unauthenticated(format!(
                "pod {pod} does not run as service account {service_account}, whose token it shows"
            )));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Attestor for ByTokenReview {
    async fn attest(&self, metadata: &MetadataMap, _extensions: &Extensions) -> Result<Option<SpiffeId>, Status> {
        let Some(token) = bearer(metadata)? else { return Ok(None) };
        let review = self.reviewed(token).await.map_err(|error| match error {
            ReviewError::Refused(_) => Status::unauthenticated(error.to_string()),
            ReviewError::Unavailable(_) => Status::unavailable(error.to_string()),
        })?;
        self.check_pod(&review).await?;
        let Review { service_account, pod, .. } = &review;
        tracing::info!(%pod, %service_account, "a pod showed its token");
        SpiffeId::new(&self.trust_domain, &service_account.namespace, &service_account.name).map(Some).map_err(
            |error| Status::unauthenticated(format!("the token's service account can't have an identity: {error}")),
        )
    }
}

/// The claim `exp` of a JWT, whose signature is not looked at here.
fn expiry(token: &str) -> Option<SystemTime> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(claims.get("exp")?.as_u64()?))
}

impl std::fmt::Debug for ByTokenReview {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ByTokenReview({})", self.trust_domain)
    }
}

#[cfg(test)]
mod tests;
