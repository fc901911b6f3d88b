//! The webhooks' certificate: signed by the mesh's own CA for the Service's DNS names, held in memory alone, renewed at
//! half of its life and when the CA changes. Each replica has one of its own.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use weft_certs::authority::Authority;
use weft_certs::key::KeyPair;
use weft_certs::server::ServerCertificate;

use super::WebhookError;
use crate::ca::CurrentAuthority;
use crate::ca::own::changed;

/// The pause after a failed renewal.
const RETRY: Duration = Duration::from_secs(5);
/// The longest sleep between two looks at the clock.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The certificate, and what it takes to renew it.
pub(crate) struct Certificate {
    authority: CurrentAuthority,
    lifetime: Duration,
    names: Vec<String>,
    served: ServerCertificate,
    renew_at: SystemTime,
}

impl Certificate {
    /// Certifies `weft-control` in this namespace.
    ///
    /// # Errors
    /// When the CA can't sign.
    pub(crate) fn issue(
        mut authority: CurrentAuthority,
        namespace: &str,
        lifetime: Duration,
    ) -> Result<Self, WebhookError> {
        let names =
            vec![format!("weft-control.{namespace}.svc"), format!("weft-control.{namespace}.svc.cluster.local")];
        let current = Arc::clone(&authority.borrow_and_update());
        let (key, chain, renew_at) = sign(&current, &names, lifetime)?;
        Ok(Self { authority, lifetime, names, served: ServerCertificate::new(&key, &chain)?, renew_at })
    }

    /// What handshakes use.
    pub(crate) fn served(&self) -> ServerCertificate {
        self.served.clone()
    }

    /// Renews it, for ever.
    pub(crate) async fn keep_fresh(mut self) {
        loop {
            let left = self.renew_at.duration_since(SystemTime::now()).unwrap_or_default();
            tokio::select! {
                () = tokio::time::sleep(left.min(LONGEST_SLEEP)) => {
                    if left > LONGEST_SLEEP {
                        continue;
                    }
                }
                () = changed(&mut self.authority) => {}
            }
            if let Err(error) = self.renew() {
                tracing::error!(%error, "can't renew the webhooks' certificate, trying on");
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    fn renew(&mut self) -> Result<(), WebhookError> {
        let authority = Arc::clone(&self.authority.borrow_and_update());
        let (key, chain, renew_at) = sign(&authority, &self.names, self.lifetime)?;
        self.served.replace(&key, &chain)?;
        self.renew_at = renew_at;
        tracing::info!("the webhooks' certificate is renewed");
        Ok(())
    }
}

/// A key, its chain, and when to renew it.
fn sign(
    authority: &Authority,
    names: &[String],
    lifetime: Duration,
) -> Result<(KeyPair, Vec<String>, SystemTime), WebhookError> {
    let key = KeyPair::generate()?;
    let issued = authority.sign_server(&key.csr_pem()?, names, lifetime)?;
    let now = SystemTime::now();
    let life = issued.not_after.duration_since(now).unwrap_or_default();
    Ok((key, issued.chain_pem, now + life / 2))
}
