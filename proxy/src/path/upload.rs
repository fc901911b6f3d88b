//! The sending of a request's body beside the waiting for its answer.

use tokio::task::{AbortHandle, spawn_local};

/// A body that is being sent. It ends with this: with the waiting for an answer, or with the answer's own body.
pub(super) struct Upload(AbortHandle);

impl Upload {
    pub(super) fn start(sending: impl Future<Output = ()> + 'static) -> Self {
        Self(spawn_local(sending).abort_handle())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.abort();
    }
}
