//! The CA of a cluster: the Secret `weft-ca`, which all replicas share.
//!
//! ```text
//! no Secret ──make root and issuer, create──> ours, or on a conflict the one of the replica that was first
//! a Secret without issuer, or one near its end ──root.key signs another, replace──> (on a conflict: read again)
//! the Secret changes ──watch──> every replica signs with what is in it now; a broken one is told, the last good one stays
//! ```

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;
use weft_certs::authority::{Authority, AuthorityError, AuthorityPem};
use weft_certs::spiffe::TrustDomain;

use super::CurrentAuthority;
use crate::cluster::Cluster;

/// The Secret's name.
pub const NAME: &str = "weft-ca";

const ROOT_CRT: &str = "root.crt";
const ROOT_KEY: &str = "root.key";
const ISSUER_CRT: &str = "issuer.crt";
const ISSUER_KEY: &str = "issuer.key";

/// From this part of its life on the issuer is replaced.
const SPENT: f64 = 2.0 / 3.0;
/// How often the issuer's age is looked at.
const LOOK: Duration = Duration::from_secs(3600);
/// The pause before another attempt.
const RETRY: Duration = Duration::from_secs(2);
/// How long a watch is open before another one goes on where it ended, seconds.
const WATCH_SECONDS: u32 = 90;
/// How long the API server may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why the Secret can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It is not as it should be.
    #[error("Secret {secret} can't be used")]
    Content {
        /// Namespace and name.
        secret: String,
        /// What is wrong with it; the keys of the Secret are named like files.
        source: AuthorityError,
    },
    /// Something is missing that can't be made.
    #[error("Secret {secret}: {key} is missing, {hint}")]
    Missing {
        /// Namespace and name.
        secret: String,
        /// The key.
        key: &'static str,
        /// What to do.
        hint: &'static str,
    },
}

/// Why it could not be brought into being this time.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    /// Trying again does not help.
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the API server can't be asked: {0}")]
    Api(#[from] kube::Error),
    #[error("the API server gave no answer within {} s", TIMEOUT.as_secs())]
    Late(#[from] tokio::time::error::Elapsed),
}

/// Keeps the CA that is in the Secret.
pub struct SecretAuthority {
    secrets: Api<Secret>,
    secret: String,
    trust_domain: TrustDomain,
    current: watch::Sender<Arc<Authority>>,
    /// What it was made of.
    pem: AuthorityPem,
}

impl SecretAuthority {
    /// Reads the Secret, or makes it. Waits for the API server as long as it takes.
    ///
    /// # Errors
    /// When the Secret is there and can't be used: nothing that exists is overwritten.
    pub async fn open(cluster: &Cluster, trust_domain: &TrustDomain) -> Result<Self, SecretError> {
        let secrets = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let secret = format!("{}/{NAME}", cluster.namespace);
        loop {
            match attempt(&secrets, &secret, trust_domain).await {
                Ok((pem, authority)) => {
                    let current = watch::Sender::new(Arc::new(authority));
                    return Ok(Self { secrets, secret, trust_domain: trust_domain.clone(), current, pem });
                }
                Err(AttemptError::Secret(error)) => return Err(error),
                Err(error) => tracing::warn!(%secret, %error, "not ready: the CA's Secret can't be read, trying on"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// The CA as it is, and as it changes.
    pub fn subscribe(&self) -> CurrentAuthority {
        self.current.subscribe()
    }

    /// Takes in what becomes of the Secret, and replaces the issuer in time, for ever.
    pub async fn run(mut self) {
        let config = watcher::Config::default().fields(&format!("metadata.name={NAME}")).timeout(WATCH_SECONDS);
        let mut events = pin!(watcher(self.secrets.clone(), config));
        let mut looks = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(Event::Apply(secret) | Event::InitApply(secret))) => self.take_in(&secret),
                    Some(Ok(Event::Delete(_))) => tracing::error!(
                        secret = %self.secret,
                        "the CA's Secret is gone; this replica signs on with what it holds. Bring the Secret back: after a \
                         restart there would be another root, which nobody trusts"
                    ),
                    Some(Ok(Event::Init | Event::InitDone)) => {}
                    Some(Err(error)) => {
                        tracing::debug!(%error, "can't watch the CA's Secret, trying on");
                        tokio::time::sleep(RETRY).await;
                    }
                    None => return,
                },
                _ = looks.tick() => self.look().await,
            }
        }
    }

    fn take_in(&mut self, secret: &Secret) {
        let pem = match pem(secret) {
            Ok(pem) => pem,
            Err(key) => {
                tracing::error!(secret = %self.secret, key, "the CA's Secret lacks a key; the last good CA stays in force");
                return;
            }
        };
        if pem == self.pem {
            return;
        }
        match Authority::from_pem(&pem, &self.trust_domain) {
            Ok(authority) => {
                let roots = authority.bundle().root_count();
                tracing::info!(secret = %self.secret, roots, "the CA's Secret changed; certificates are signed with it");
                self.pem = pem;
                self.current.send_replace(Arc::new(authority));
            }
            Err(error) => {
                tracing::error!(secret = %self.secret, %error, "the CA's Secret can't be used; the last good CA stays in force");
            }
        }
    }

    /// Replaces the issuer when it is old enough. Whichever replica comes first does; the watch tells the others.
    async fn look(&mut self) {
        let spent = self.current.borrow().issuer_spent(SystemTime::now());
        if spent < SPENT {
            return;
        }
        match self.renew().await {
            Ok(true) => {
                tracing::info!(secret = %self.secret, "the root signed a new issuer, long before the old one's end")
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(secret = %self.secret, %error, spent, "the CA's issuer is old and can't be replaced yet");
            }
        }
    }

    /// Returns whether it did: somebody else may have.
    async fn renew(&self) -> Result<bool, AttemptError> {
        let Some(mut secret) = get(&self.secrets).await? else { return Ok(false) };
        let known = pem(&secret).ok();
        if known.as_ref() != Some(&self.pem) {
            return Ok(false);
        }
        let root_key = self.pem.root_key.clone().ok_or_else(|| SecretError::Missing {
            secret: self.secret.clone(),
            key: ROOT_KEY,
            hint: "so nothing can sign a new issuer; put a new issuer.crt with its issuer.key there yourself",
        })?;
        let made = AuthorityPem::with_issuer(self.pem.root_crt.clone(), root_key, &self.trust_domain);
        let made = made.map_err(|source| SecretError::Content { secret: self.secret.clone(), source })?;
        fill(&mut secret, &made);
        replace(&self.secrets, &secret).await
    }
}

/// Reads the Secret, after making what is missing of it.
async fn attempt(
    secrets: &Api<Secret>,
    name: &str,
    trust_domain: &TrustDomain,
) -> Result<(AuthorityPem, Authority), AttemptError> {
    let content = |source| SecretError::Content { secret: name.to_owned(), source };
    loop {
        let Some(mut secret) = get(secrets).await? else {
            let made = AuthorityPem::create(trust_domain).map_err(content)?;
            let mut secret = Secret { metadata: metadata(), type_: Some("Opaque".to_owned()), ..Secret::default() };
            fill(&mut secret, &made);
            let created = tokio::time::timeout(TIMEOUT, secrets.create(&PostParams::default(), &secret)).await?;
            match created {
                Ok(_) => tracing::info!(secret = %name, %trust_domain, "made a root CA and an issuer"),
                Err(error) if is_conflict(&error) => tracing::info!(secret = %name, "another replica made the CA"),
                Err(error) => return Err(error.into()),
            }
            continue;
        };
        match pem(&secret) {
            Ok(pem) => {
                let authority = Authority::from_pem(&pem, trust_domain).map_err(content)?;
                return Ok((pem, authority));
            }
            Err(key @ (ISSUER_CRT | ISSUER_KEY)) => {
                let (root, root_key) = (text(&secret, ROOT_CRT), text(&secret, ROOT_KEY));
                // An issuer without its key may have its key elsewhere: it is not ours to replace.
                let is_whole = text(&secret, ISSUER_CRT).is_none() && text(&secret, ISSUER_KEY).is_none();
                let (Some(root), Some(root_key), true) = (root, root_key, is_whole) else {
                    return Err(missing(name, key, "and it can't be made without root.crt and root.key").into());
                };
                let made = AuthorityPem::with_issuer(root, root_key, trust_domain).map_err(content)?;
                fill(&mut secret, &made);
                replace(secrets, &secret).await?;
            }
            Err(key) => return Err(missing(name, key, "and what exists is not overwritten; bring it back").into()),
        }
    }
}

fn missing(secret: &str, key: &'static str, hint: &'static str) -> SecretError {
    SecretError::Missing { secret: secret.to_owned(), key, hint }
}

fn metadata() -> ObjectMeta {
    let labels = [("app.kubernetes.io/part-of", "weft"), ("app.kubernetes.io/managed-by", "weft-control")];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    ObjectMeta { name: Some(NAME.to_owned()), labels: Some(labels.into()), ..ObjectMeta::default() }
}

async fn get(secrets: &Api<Secret>) -> Result<Option<Secret>, AttemptError> {
    Ok(tokio::time::timeout(TIMEOUT, secrets.get_opt(NAME)).await??)
}

/// Replaces the Secret as it was read; returns whether nobody else was faster.
async fn replace(secrets: &Api<Secret>, secret: &Secret) -> Result<bool, AttemptError> {
    let replaced = tokio::time::timeout(TIMEOUT, secrets.replace(NAME, &PostParams::default(), secret)).await?;
    match replaced {
        Ok(_) => Ok(true),
        Err(error) if is_conflict(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Somebody else was faster.
fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.0.clone()).ok().filter(|text| !text.trim().is_empty())
}

/// # Errors
/// With the key that is missing, or is no text.
fn pem(secret: &Secret) -> Result<AuthorityPem, &'static str> {
    let required = |key| text(secret, key).ok_or(key);
    Ok(AuthorityPem {
        root_crt: required(ROOT_CRT)?,
        root_key: text(secret, ROOT_KEY),
        issuer_crt: required(ISSUER_CRT)?,
        issuer_key: required(ISSUER_KEY)?,
    })
}

/// Puts the CA into a Secret. What else is in it stays.
fn fill(secret: &mut Secret, pem: &AuthorityPem) {
    let mut data = BTreeMap::from([
        (ROOT_CRT, pem.root_crt.clone()),
        (ISSUER_CRT, pem.issuer_crt.clone()),
        (ISSUER_KEY, pem.issuer_key.clone()),
    ]);
    data.extend(pem.root_key.clone().map(|key| (ROOT_KEY, key)));
    let data = data.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())));
    secret.data.get_or_insert_default().extend(data);
}

#[cfg(test)]
mod tests;
