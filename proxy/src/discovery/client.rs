//! The one task that speaks with the control plane; it runs on the control thread.

use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tonic::transport::Channel;

use super::directory::Directory;

/// What discovery is told at its start.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `node.id`: `POD.NAMESPACE`.
    pub(crate) node_id: String,
    /// How long a look-up waits for the control plane.
    pub(crate) timeout: Duration,
    /// How many destinations are held at most. [`Settings::CAPACITY`] unless told.
    pub(crate) capacity: usize,
    /// After how long without use a destination is unsubscribed. [`Settings::IDLE`] unless told.
    pub(crate) idle: Duration,
}

impl Settings {
    /// The default bound on destinations.
    pub(crate) const CAPACITY: usize = 10_000;
    /// The default expiry of unused destinations.
    pub(crate) const IDLE: Duration = Duration::from_secs(600);
}

/// The xDS client. [`Client::run`] belongs on the control thread.
#[derive(Debug)]
pub(crate) struct Client {}

impl Client {
    /// A client, and the handle through which all threads see what it learns.
    pub(crate) fn new(_settings: Settings) -> (Directory, Self) {
        (Directory {}, Self {})
    }

    /// Speaks with the control plane until all handles are gone; reconnects by itself.
    ///
    /// `certificate_expires` tells when the certificate ends; each change is told to the control plane.
    pub(crate) async fn run(self, _channel: Channel, _certificate_expires: watch::Receiver<SystemTime>) {}
}
