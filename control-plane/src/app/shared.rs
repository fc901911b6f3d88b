//! What the replicas of the control plane share; one without a cluster has it for itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::StartError;
use super::serve::ServeError;
use super::state::StateFolder;
use crate::cluster::Cluster;
use crate::cluster::leader::Election;
use crate::cluster::peers::PeerReports;
use crate::cluster::rollouts::PeerRollouts;
use crate::leading::Leading;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::traffic::shift::peers::Peers;
use crate::traffic::{ClusterStore, DiskStore, Store};

/// How long to wait before saying what is waited for.
const WAITING: Duration = Duration::from_secs(10);

/// The truth about traffic, and who does what one does for all.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) leading: Leading,
    pub(super) peers: Option<Arc<Peers>>,
    pub(super) rollouts: Option<Arc<PeerRollouts>>,
}

/// Where tasks go.
pub(super) struct Tasks<'a> {
    pub(super) shutdown: &'a CancellationToken,
    pub(super) servers: &'a mut JoinSet<Result<(), ServeError>>,
    pub(super) background: &'a mut JoinSet<()>,
}

impl Shared {
    /// Of the only replica.
    ///
    /// # Errors
    /// When the store can't be opened.
    pub(super) fn alone(state: &StateFolder) -> Result<Self, StartError> {
        let store = Arc::new(DiskStore::open(&state.path().join("weft.redb"))?);
        Ok(Self { store, leading: Leading::always(), peers: None, rollouts: None })
    }

    /// Of the replicas of a cluster. Returns when the splits and shifts were read.
    pub(super) async fn of(cluster: &Cluster, registry: &Registry, metrics: &Metrics, tasks: Tasks<'_>) -> Self {
        let (election, leads) = Election::new(cluster, metrics.leader.clone());
        let (leading, shutdown) = (Leading::of(leads), tasks.shutdown.clone());
        // With the servers, whose end is waited for: the lease is to be released.
        tasks.servers.spawn(async move {
            election.run(shutdown).await;
            Ok(())
        });
        let store = ClusterStore::new(cluster.client.clone(), registry.manifests.clone());
        let synced = watch::Sender::new(false);
        let mut is_synced = synced.subscribe();
        tasks.background.spawn(Arc::clone(&store).follow(synced));
        tasks.background.spawn(Arc::clone(&store).keep(leading.clone()));
        while tokio::time::timeout(WAITING, is_synced.wait_for(|synced| *synced)).await.is_err() {
            tracing::warn!(
                "not ready: splits (HTTPRoute) and shifts (TrafficShift) were not read from the API server yet"
            );
        }
        let (reports, theirs) = PeerReports::new(cluster.clone(), registry.manifests.clone());
        let peers = Arc::new(Peers::new(theirs.shifts));
        tasks.background.spawn(reports.run(peers.ours()));
        Self { store, leading, peers: Some(peers), rollouts: Some(theirs.rollouts) }
    }
}
