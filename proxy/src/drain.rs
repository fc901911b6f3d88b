//! Graceful shutdown: who watches a [`Drain`] finishes what it has and takes on no more.

use tokio::sync::watch;

/// Starts the drain.
#[derive(Clone)]
pub(crate) struct Drainer(watch::Sender<bool>);

/// Tells that the drain has begun. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Drain(watch::Receiver<bool>);

/// A drain that has not begun.
pub(crate) fn channel() -> (Drainer, Drain) {
    let (sender, receiver) = watch::channel(false);
    (Drainer(sender), Drain(receiver))
}

impl Drainer {
    /// Begins the drain; once is enough.
    pub(crate) fn start(&self) {
        self.0.send_replace(true);
    }
}

impl Drain {
    /// Ends when the drain begins.
    pub(crate) async fn started(&self) {
        let mut started = self.0.clone();
        if started.wait_for(|started| *started).await.is_err() {
            // Nobody is left who could begin one.
            std::future::pending::<()>().await;
        }
    }
}
