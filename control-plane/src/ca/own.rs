//! The control plane's own identity, `spiffe://TRUST-DOMAIN/ns/weft-system/sa/weft-control`: signed in this process.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use weft_certs::authority::{Authority, IssuedCertificate, SignError};
use weft_certs::identity::{IdentityError, WorkloadIdentity};
use weft_certs::key::{KeyError, KeyPair};
use weft_certs::spiffe::{SpiffeError, SpiffeId};

use super::CurrentAuthority;

/// The longest sleep between two looks at the clock, which may be set, or stand still while the machine is suspended.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// The pause after a failed renewal.
const RETRY: Duration = Duration::from_secs(5);

/// Why the control plane can't certify itself.
#[derive(Debug, thiserror::Error)]
pub enum OwnIdentityError {
    /// The trust domain leaves no room for the name.
    #[error(transparent)]
    Id(#[from] SpiffeError),
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The CA can't sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// What it signed does not verify: its files disagree.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Certifies the control plane.
///
/// # Errors
/// When the CA can't sign; see [`OwnIdentityError`].
pub fn certify(authority: &Authority, lifetime: Duration) -> Result<WorkloadIdentity, OwnIdentityError> {
    let id = SpiffeId::control_plane(authority.trust_domain())?;
    let (key, issued) = sign(authority, &id, lifetime)?;
    Ok(WorkloadIdentity::from_parts(id, &key, &issued.chain_pem, authority.bundle())?)
}

/// Renews the certificate at the jittered half of its life, and when the authority is another one, for ever. Open
/// connections stay.
pub async fn keep_fresh(identity: WorkloadIdentity, mut authority: CurrentAuthority, lifetime: Duration) {
    let mut replaced = false;
    loop {
        let left = identity.renew_at(rand::random()).duration_since(SystemTime::now()).unwrap_or_default();
        if !replaced && !left.is_zero() {
            // Until a moment by the wall clock; the moment is drawn anew each time, which only adds jitter.
            replaced = tokio::select! {
                () = tokio::time::sleep(left.min(LONGEST_SLEEP)) => false,
                () = changed(&mut authority) => true,
            };
            continue;
        }
        let current = Arc::clone(&authority.borrow_and_update());
        replaced = false;
        if let Err(error) = renew(&identity, &current, lifetime) {
            tracing::error!(%error, "can't renew the control plane's own certificate, trying on");
            tokio::time::sleep(RETRY).await;
            replaced = true;
        }
    }
}

/// Waits for another authority; for ever, where there can be none.
pub(crate) async fn changed(authority: &mut CurrentAuthority) {
    if authority.changed().await.is_err() {
        std::future::pending().await
    }
}

fn renew(identity: &WorkloadIdentity, authority: &Authority, lifetime: Duration) -> Result<(), OwnIdentityError> {
    let (key, issued) = sign(authority, identity.id(), lifetime)?;
    Ok(identity.replace(&key, &issued.chain_pem, authority.bundle())?)
}

fn sign(
    authority: &Authority,
    id: &SpiffeId,
    lifetime: Duration,
) -> Result<(KeyPair, IssuedCertificate), OwnIdentityError> {
    let key = KeyPair::generate()?;
    let issued = authority.sign(&key.csr_pem()?, id, lifetime)?;
    Ok((key, issued))
}
