//! Whether this replica of the control plane leads: one alone writes statuses and runs shifts.

use tokio::sync::watch;

/// Follows whether this replica leads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leading(Option<watch::Receiver<bool>>);

impl Leading {
    /// Of a control plane that has no replicas.
    pub fn always() -> Self {
        Self(None)
    }

    /// As a lease says. Nobody leads any more when the sender is gone.
    pub fn of(lease: watch::Receiver<bool>) -> Self {
        Self(Some(lease))
    }

    /// Whether it leads now.
    pub fn now(&self) -> bool {
        self.0.as_ref().is_none_or(|lease| *lease.borrow() && lease.has_changed().is_ok())
    }

    /// Waits until it may have changed; forever where it can't.
    pub async fn changed(&mut self) {
        let changed = match &mut self.0 {
            Some(lease) => lease.changed().await.is_ok(),
            None => false,
        };
        if !changed {
            std::future::pending().await
        }
    }
}
