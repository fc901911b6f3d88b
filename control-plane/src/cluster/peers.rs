//! How replicas tell each other what their proxies do: each writes a ConfigMap `weft-report-POD`.
//!
//! A proxy is connected to one replica, which alone knows what it holds and reports. The one that leads has to know it of
//! all, and so has every one that people ask. Through the API server it needs no door of its own and no credentials, and two
//! writes a second at most, when something changed; without a change one every 10 s says that the replica is still there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, Patch, PatchParams};
use kube::core::ObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;

use super::Cluster;
use super::rollouts::{self, PeerRollouts, Replicas, Rollouts};
use crate::mesh::{EndpointState, Manifests, ObjectName};
use crate::traffic::shift::peers::{self, Others, Sightings};

mod presence;

use presence::Presence;

/// The Service by which proxies reach the replicas.
const SERVICE: &str = "weft-control";
/// The label of a report; its value is the pod.
const LABEL: &str = "weft.dev/report-of";
/// The keys.
const SHIFTS: &str = "shifts.json";
const ROUTES: &str = "routes.json";
/// The key that differs with every write.
const WRITTEN: &str = "written";
/// At most so often a report is written.
const PERIOD: Duration = Duration::from_millis(500);
/// At least so often it is written, so that others know that we are there.
const BEAT: Duration = Duration::from_secs(10);
/// How long the API server may take.
const CALL: Duration = Duration::from_secs(5);

/// The reports of all replicas.
pub struct PeerReports {
    cluster: Cluster,
    manifests: watch::Receiver<Arc<Manifests>>,
    others: watch::Sender<Arc<Others>>,
    our_rollouts: watch::Receiver<Arc<Rollouts>>,
    rollouts: watch::Sender<Arc<Replicas>>,
}

/// What a replica tells.
#[derive(Clone, Debug, Default, PartialEq)]
struct Report {
    shifts: Arc<Sightings>,
    routes: Arc<Rollouts>,
}

/// A replica's report as it was read.
#[derive(Clone, Debug)]
struct Told {
    report: Report,
    /// Differs from that of the report before. Empty: of a replica that says no such thing.
    beat: String,
}

/// The reports that are there, by pod.
type Reports = BTreeMap<String, Told>;

/// What comes in of the other replicas, and what goes out to them.
#[derive(Debug)]
pub struct Exchange {
    /// What they see of shifts.
    pub shifts: watch::Receiver<Arc<Others>>,
    /// What their proxies hold of routes.
    pub rollouts: Arc<PeerRollouts>,
}

impl PeerReports {
    /// Nothing is followed yet. `manifests` tell which replicas there are.
    pub fn new(cluster: Cluster, manifests: watch::Receiver<Arc<Manifests>>) -> (Self, Exchange) {
        let (others, shifts) = watch::channel(Arc::default());
        let (ours, our_rollouts) = watch::channel(Arc::default());
        let (rollouts, theirs) = watch::channel(Arc::default());
        let exchange = Exchange { shifts, rollouts: Arc::new(PeerRollouts { ours, theirs }) };
        (Self { cluster, manifests, others, our_rollouts, rollouts }, exchange)
    }

    /// Writes what this replica sees and reads what others do, until it is dropped.
    pub async fn run(self, ours: watch::Receiver<Arc<Sightings>>) {
        let reports = watch::Sender::new(Reports::new());
        let seen = reports.subscribe();
        let Self { cluster, manifests, others, our_rollouts, rollouts } = self;
        let replicas = rollouts.subscribe();
        tokio::join!(
            follow(cluster.clone(), reports),
            know(cluster.clone(), manifests, seen, (others, rollouts)),
            tell(cluster, (ours, our_rollouts), replicas)
        );
    }
}

/// Puts together which replicas there are and what they tell.
async fn know(
    cluster: Cluster,
    mut manifests: watch::Receiver<Arc<Manifests>>,
    mut reports: watch::Receiver<Reports>,
    (others, rollouts): (watch::Sender<Arc<Others>>, watch::Sender<Arc<Replicas>>),
) {
    let mut presence = Presence::default();
    loop {
        let alive = alive(&manifests.borrow_and_update(), &cluster);
        let is_alone = alive.is_empty();
        let (new, replicas) = presence.look(Instant::now(), alive, &reports.borrow_and_update());
        rollouts.send_if_modified(|known| {
            let differs = **known != replicas;
            if differs {
                *known = Arc::new(replicas);
            }
            differs
        });
        others.send_if_modified(|known| {
            let differs = **known != new;
            if differs {
                *known = Arc::new(new);
            }
            differs
        });
        // Changes of the mesh are many; which replicas there are need not be known at once.
        tokio::time::sleep(PERIOD / 5).await;
        let changed = tokio::select! {
            changed = manifests.changed() => changed.is_ok(),
            changed = reports.changed() => changed.is_ok(),
            // Who has become silent meanwhile?
            () = tokio::time::sleep(BEAT), if !is_alone => true,
        };
        if !changed {
            return;
        }
    }
}

/// The other replicas that proxies are sent to.
fn alive(manifests: &Manifests, cluster: &Cluster) -> BTreeSet<Arc<str>> {
    let service = ObjectName::new(Arc::clone(&cluster.namespace), SERVICE);
    let slices = manifests.endpoint_slices.values().filter(|slice| slice.service == service);
    let ready = |slice: &Arc<crate::mesh::EndpointSlice>| {
        let ready = slice.endpoints.iter().filter(|endpoint| endpoint.state == EndpointState::Ready);
        ready.map(|endpoint| endpoint.address).collect::<Vec<_>>()
    };
    let addresses: BTreeSet<_> = slices.flat_map(ready).collect();
    if addresses.is_empty() {
        return BTreeSet::new();
    }
    let first = ObjectName::new(Arc::clone(&cluster.namespace), "");
    let pods = manifests.pods.range_from(&first).take_while(|(name, _)| name.namespace == cluster.namespace);
    let pods = pods.filter(|(_, pod)| pod.addresses.iter().any(|address| addresses.contains(address)));
    pods.map(|(name, _)| Arc::clone(&name.name)).filter(|pod| *pod != cluster.pod).collect()
}

/// Follows the reports that are there.
async fn follow(cluster: Cluster, reports: watch::Sender<Reports>) {
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let config = watcher::Config::default().labels(LABEL);
    let mut events = watcher::watcher(maps, config).default_backoff().into_stream().boxed();
    let mut listed = Reports::new();
    loop {
        match events.try_next().await {
            Ok(Some(Event::Init)) => listed.clear(),
            Ok(Some(Event::InitApply(map))) => listed.extend(report(map)),
            Ok(Some(Event::InitDone)) => drop(reports.send_replace(std::mem::take(&mut listed))),
            Ok(Some(Event::Apply(map))) => reports.send_modify(|reports| reports.extend(report(map))),
            Ok(Some(Event::Delete(map))) => reports.send_modify(|reports| {
                if let Some((pod, _)) = report(map) {
                    reports.remove(&pod);
                }
            }),
            Ok(None) => return,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "the watch of the replicas' reports broke; it begins anew");
            }
        }
    }
}

fn report(map: ConfigMap) -> Option<(String, Told)> {
    let pod = map.metadata.labels?.remove(LABEL)?;
    let mut data = map.data?;
    let beat = data.remove(WRITTEN).unwrap_or_default();
    let mut take = |key| data.remove(key).unwrap_or_else(|| "[]".to_owned());
    match (peers::decode(&take(SHIFTS)), rollouts::decode(&take(ROUTES))) {
        (Ok(shifts), Ok(routes)) => {
            let report = Report { shifts: Arc::new(shifts), routes: Arc::new(routes) };
            Some((pod, Told { report, beat }))
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(pod, %error, "a replica's report is not understood");
            None
        }
    }
}

/// Writes what this replica sees, as long as there is another to read it, be it one that tells nothing itself.
async fn tell(
    cluster: Cluster,
    (mut shifts, mut routes): (watch::Receiver<Arc<Sightings>>, watch::Receiver<Arc<Rollouts>>),
    mut replicas: watch::Receiver<Arc<Replicas>>,
) {
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let owner = owner(&cluster).await;
    let mut told: Option<(Report, Instant)> = None;
    loop {
        let alone = replicas.borrow_and_update().is_empty();
        let ours = Report { shifts: shifts.borrow_and_update().clone(), routes: routes.borrow_and_update().clone() };
        let mut failed = false;
        let due = told.as_ref().is_none_or(|(report, at)| *report != ours || at.elapsed() >= BEAT);
        if !alone && due {
            let map = written(&cluster, owner.clone(), &ours);
            let name = map.metadata.name.clone().unwrap_or_default();
            let (parameters, patch) = (PatchParams::apply("weft-traffic").force(), Patch::Apply(&map));
            let call = tokio::time::timeout(CALL, maps.patch(&name, &parameters, &patch)).await;
            match call.unwrap_or_else(|late| Err(kube::Error::Service(Box::new(late)))) {
                Ok(_) => told = Some((ours, Instant::now())),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "what this replica sees could not be written; trying again");
                    failed = true;
                }
            }
        }
        tokio::time::sleep(PERIOD).await;
        let changed = tokio::select! {
            changed = shifts.changed() => changed.is_ok(),
            changed = routes.changed() => changed.is_ok(),
            changed = replicas.changed() => changed.is_ok(),
            () = tokio::time::sleep(if failed { PERIOD } else { BEAT }) => true,
        };
        if !changed {
            return;
        }
    }
}

/// The pod goes, its report goes.
async fn owner(cluster: &Cluster) -> Option<OwnerReference> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let pod = tokio::time::timeout(CALL, pods.get_opt(&cluster.pod)).await.ok()?.ok()??;
    let (api_version, kind) = ("v1".to_owned(), "Pod".to_owned());
    Some(OwnerReference { api_version, kind, name: pod.metadata.name?, uid: pod.metadata.uid?, ..<_>::default() })
}

fn written(cluster: &Cluster, owner: Option<OwnerReference>, report: &Report) -> ConfigMap {
    let labels = [(LABEL, &*cluster.pod), ("app.kubernetes.io/managed-by", "weft")];
    let metadata = ObjectMeta {
        name: Some(format!("weft-report-{}", cluster.pod)),
        namespace: Some(cluster.namespace.to_string()),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        owner_references: owner.map(|owner| vec![owner]),
        ..ObjectMeta::default()
    };
    let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let (shifts, routes) = (peers::encode(&report.shifts), rollouts::encode(&report.routes));
    let data = [(SHIFTS, shifts), (ROUTES, routes), (WRITTEN, now)];
    let data = Some(data.map(|(key, value)| (key.to_owned(), value)).into());
    ConfigMap { metadata, data, ..ConfigMap::default() }
}
