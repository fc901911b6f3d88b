//! The trust bundle in every namespace: the ConfigMap `weft-trust-bundle`, from which pods have the roots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use kube::core::ObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tokio::time::sleep;
use weft_certs::authority::Authority;

use super::Cluster;
use crate::leading::Leading;
use crate::mesh::Namespaces;

/// The ConfigMap's name.
pub const CONFIG_MAP: &str = "weft-trust-bundle";
/// Its key.
pub const KEY: &str = "trust-bundle.pem";
/// How long the API server may take for a write.
const CALL: Duration = Duration::from_secs(5);
/// How long to wait after a write that failed, and between looks.
const PAUSE: Duration = Duration::from_secs(2);

/// Writes the bundle into every namespace, as long as this replica leads.
pub struct BundlePublisher {
    cluster: Cluster,
    namespaces: watch::Receiver<Arc<Namespaces>>,
    authority: watch::Receiver<Arc<Authority>>,
    leading: Leading,
}

/// What each namespace has, as the watch tells; `None`: not read yet.
type Present = Option<BTreeMap<String, String>>;

impl BundlePublisher {
    /// Nothing is written yet.
    pub fn new(
        cluster: Cluster,
        namespaces: watch::Receiver<Arc<Namespaces>>,
        authority: watch::Receiver<Arc<Authority>>,
        leading: Leading,
    ) -> Self {
        Self { cluster, namespaces, authority, leading }
    }

    /// Publishes until it is dropped.
    pub async fn run(mut self) {
        let present = watch::Sender::new(Present::None);
        let seen = present.subscribe();
        tokio::join!(follow(self.cluster.clone(), present), self.write(seen));
    }

    async fn write(&mut self, mut present: watch::Receiver<Present>) {
        loop {
            let bundle = self.authority.borrow_and_update().bundle().to_pem();
            let missing = self.missing(&present, &bundle);
            let failed = self.leading.now() && self.write_all(missing, &bundle).await;
            if failed {
                sleep(PAUSE).await;
                continue;
            }
            // A burst of namespaces is one look.
            sleep(Duration::from_millis(100)).await;
            let changed = tokio::select! {
                changed = present.changed() => changed.is_ok(),
                changed = self.namespaces.changed() => changed.is_ok(),
                // A CA that nobody can change any more stays as it is.
                Ok(()) = self.authority.changed() => true,
                () = self.leading.changed() => true,
            };
            if !changed {
                return;
            }
        }
    }

    /// The namespaces that lack it, or have another one.
    fn missing(&mut self, present: &watch::Receiver<Present>, bundle: &str) -> Vec<Arc<str>> {
        let namespaces = Arc::clone(&self.namespaces.borrow_and_update());
        let present = present.borrow();
        let Some(present) = present.as_ref() else { return Vec::new() };
        let lacks = |namespace: &&Arc<str>| present.get(&***namespace).is_none_or(|known| *known != *bundle);
        // In those that are on their way out nothing can be made any more.
        let alive = namespaces.iter().filter(|(_, namespace)| !namespace.terminating).map(|(name, _)| name);
        alive.filter(lacks).cloned().collect()
    }

    /// Returns whether something failed that is to be tried again.
    async fn write_all(&self, namespaces: Vec<Arc<str>>, bundle: &str) -> bool {
        let mut failed = false;
        for namespace in namespaces {
            if !self.leading.now() {
                return false;
            }
            if let Err(error) = self.write_one(&namespace, bundle).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%namespace, error, "the trust bundle could not be written; trying again");
                failed = true;
            }
        }
        failed
    }

    async fn write_one(&self, namespace: &str, bundle: &str) -> Result<(), kube::Error> {
        let label = ("app.kubernetes.io/managed-by".to_owned(), "weft".to_owned());
        let metadata = ObjectMeta {
            name: Some(CONFIG_MAP.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some([label].into()),
            ..ObjectMeta::default()
        };
        let data = Some([(KEY.to_owned(), bundle.to_owned())].into());
        let map = ConfigMap { metadata, data, ..ConfigMap::default() };
        let maps: Api<ConfigMap> = Api::namespaced(self.cluster.client.clone(), namespace);
        // Whoever else wrote there: pods take these for their roots.
        let parameters = PatchParams::apply("weft-control").force();
        let patch = Patch::Apply(&map);
        let written = tokio::time::timeout(CALL, maps.patch(CONFIG_MAP, &parameters, &patch)).await;
        match written.unwrap_or_else(|late| Err(kube::Error::Service(Box::new(late)))) {
            Ok(_) => {
                tracing::debug!(namespace, "the trust bundle was written");
                Ok(())
            }
            // The namespace is gone, or about to be.
            Err(kube::Error::Api(status)) if matches!(status.code, 404) || is_ending(&status) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn is_ending(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403 && causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// Follows what is there, of all namespaces.
async fn follow(cluster: Cluster, present: watch::Sender<Present>) {
    let maps: Api<ConfigMap> = Api::all(cluster.client);
    let config = watcher::Config::default().fields(&format!("metadata.name={CONFIG_MAP}"));
    let mut events = watcher::watcher(maps, config).default_backoff().into_stream().boxed();
    let mut listed = BTreeMap::new();
    loop {
        match events.try_next().await {
            Ok(Some(Event::Init)) => listed.clear(),
            Ok(Some(Event::InitApply(map))) => listed.extend(content(map)),
            Ok(Some(Event::InitDone)) => drop(present.send_replace(Some(std::mem::take(&mut listed)))),
            Ok(Some(Event::Apply(map))) => {
                present.send_modify(|present| present.get_or_insert_default().extend(content(map)))
            }
            Ok(Some(Event::Delete(map))) => present.send_modify(|present| {
                if let (Some(present), Some((namespace, _))) = (present, content(map)) {
                    present.remove(&namespace);
                }
            }),
            Ok(None) => return,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the watch of the trust bundles broke; it begins anew");
            }
        }
    }
}

fn content(map: ConfigMap) -> Option<(String, String)> {
    let bundle = map.data.and_then(|mut data| data.remove(KEY)).unwrap_or_default();
    Some((map.metadata.namespace?, bundle))
}
