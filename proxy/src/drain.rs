//! Graceful shutdown: who watches a [`Drain`] finishes what it has and takes on no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

/// Starts the drain.
#[derive(Clone)]
pub(crate) struct Drainer(watch::Sender<bool>);

/// Tells that the drain has begun. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Drain(watch::Receiver<bool>);

/// The two stages of the drain of all workers. To finish what it was asked, the application may have to ask others: so what
/// it opens is drained last.
#[derive(Clone)]
pub(crate) struct Stages {
    /// Of connections to the application.
    pub(crate) inbound: Drain,
    /// Of connections that the application opens; begins when no worker has one to it any more.
    pub(crate) outbound: Drain,
    last: Arc<Last>,
}

/// Begins the second stage.
struct Last {
    /// The workers that still have connections to the application.
    workers: AtomicUsize,
    outbound: Drainer,
}

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

impl Stages {
    /// Of a drain and so many workers.
    pub(crate) fn new(inbound: Drain, workers: usize) -> Self {
        let (drainer, outbound) = channel();
        Self { inbound, outbound, last: Arc::new(Last { workers: AtomicUsize::new(workers), outbound: drainer }) }
    }

    /// A worker has no connection to the application any more; each tells it once.
    pub(crate) fn inbound_ended(&self) {
        if self.last.workers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.last.outbound.start();
        }
    }
}

#[cfg(test)]
mod tests;
