//! What the registry read and what the API wrote, joined and published.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::mesh::{Manifests, Mesh, MeshOptions, ObjectName, Split};
use crate::traffic::Splits;
use crate::xds::Publisher;

/// Joins what the registry read with what the API wrote, whenever one of the two changes.
pub(super) struct Joiner {
    pub(super) manifests: watch::Receiver<Arc<Manifests>>,
    pub(super) splits: watch::Receiver<Arc<Splits>>,
    pub(super) options: MeshOptions,
}

impl Joiner {
    pub(super) fn mesh(&mut self) -> Mesh {
        let (manifests, splits) = self.current();
        Mesh::build(&manifests, &splits, &self.options)
    }

    fn current(&mut self) -> (Arc<Manifests>, BTreeMap<ObjectName, Arc<Split>>) {
        let manifests = Arc::clone(&self.manifests.borrow_and_update());
        let splits = Arc::clone(&self.splits.borrow_and_update());
        let splits = splits.iter().map(|(service, record)| (service.clone(), Arc::clone(&record.split))).collect();
        (manifests, splits)
    }

    pub(super) async fn run(mut self, publisher: Arc<Publisher>) {
        loop {
            let changed = tokio::select! {
                changed = self.manifests.changed() => changed,
                changed = self.splits.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            let began = Instant::now();
            let ((manifests, splits), publisher) = (self.current(), Arc::clone(&publisher));
            let publish = move || publisher.publish(publisher.mesh().next(&manifests, &splits));
            if let Err(error) = tokio::task::spawn_blocking(publish).await {
                tracing::error!(%error, "a change could not be published; the next one brings it along");
            }
            // A storm of changes takes half a core at most; what comes meanwhile is published together.
            tokio::time::sleep(began.elapsed()).await;
        }
    }
}
