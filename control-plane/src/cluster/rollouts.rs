//! How far the proxies of all replicas are with the routes of each Service.
//!
//! ```text
//! this replica's proxies ─ told every second ─> the report that the others read (peers)
//! the others' reports ──┬─> what people read of a split: who told nothing is named, not counted
//!                       └─> statuses
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use weft_api::traffic::Rollout;

use crate::mesh::{Manifests, Mesh, ObjectName};
use crate::xds::Publisher;

/// The most Services that a replica tells of: an object of the API server takes 1 MB.
const MOST: usize = 4_000;
/// How often it is looked what this replica's proxies hold.
const TICK: Duration = Duration::from_secs(1);

/// What a replica's proxies hold of a Service's routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Which routes they are to hold, as this replica knows them.
    digest: u64,
    /// The proxies that hold routes of the Service.
    proxies: u32,
    /// Those of them that hold these.
    current: u32,
}

/// What a replica's proxies hold, by Service: each that has a split, and others whose routes proxies hold.
pub type Rollouts = BTreeMap<ObjectName, Held>;

/// What is known of another replica.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replica {
    /// What it told last; `None`: nothing yet.
    pub(super) told: Option<Arc<Rollouts>>,
    /// Whether it has told nothing for long, not even that it is there.
    pub(super) is_silent: bool,
}

/// The other replicas, by pod.
pub type Replicas = BTreeMap<Arc<str>, Replica>;

/// Tells the other replicas of this one's proxies, and knows of theirs.
#[derive(Debug)]
pub struct PeerRollouts {
    pub(super) ours: watch::Sender<Arc<Rollouts>>,
    pub(super) theirs: watch::Receiver<Arc<Replicas>>,
}

/// A Service's row, as others read it.
#[derive(Serialize, Deserialize)]
struct Row(String, String, Held);

/// As JSON.
pub(super) fn encode(rollouts: &Rollouts) -> String {
    let row =
        |(service, held): (&ObjectName, &Held)| Row(service.namespace.to_string(), service.name.to_string(), *held);
    serde_json::to_string(&rollouts.iter().map(row).collect::<Vec<_>>()).unwrap_or_default()
}

/// From JSON.
pub(super) fn decode(text: &str) -> Result<Rollouts, serde_json::Error> {
    let rows = serde_json::from_str::<Vec<Row>>(text)?.into_iter();
    Ok(rows.map(|Row(namespace, service, held)| (ObjectName::new(namespace, service), held)).collect())
}

impl PeerRollouts {
    /// Tells of the Services that have routes, until it is dropped.
    pub async fn keep_telling(self: Arc<Self>, publisher: Arc<Publisher>, manifests: watch::Receiver<Arc<Manifests>>) {
        loop {
            let manifests = Arc::clone(&manifests.borrow());
            let rollouts = told(&publisher, &publisher.mesh(), &manifests);
            self.ours.send_if_modified(|known| {
                let differs = **known != rollouts;
                if differs {
                    *known = Arc::new(rollouts);
                }
                differs
            });
            tokio::time::sleep(TICK).await;
        }
    }

    /// What the other replicas tell, as it changes.
    pub fn follow(&self) -> watch::Receiver<Arc<Replicas>> {
        self.theirs.clone()
    }

    /// How far the proxies of all replicas are with a Service's split, where those of this one are as `own` says. `digest` is
    /// that of the split's routes; `None`: this replica has not published them yet.
    pub fn with_theirs(&self, own: Rollout, digest: Option<u64>, service: &ObjectName) -> Rollout {
        let theirs = Arc::clone(&self.theirs.borrow());
        sum(own, digest, service, &theirs)
    }

    /// How many proxies of all replicas have a Service's current routes, and how many hold routes of it.
    pub(super) fn all(&self, publisher: &Publisher, service: &ObjectName) -> (u32, u32) {
        let own = own(publisher, service);
        let theirs = Arc::clone(&self.theirs.borrow());
        let theirs = theirs.values().filter_map(|replica| replica.told.as_ref()?.get(service));
        theirs.fold((own.current, own.proxies), |(current, proxies), held| add(own.digest, (current, proxies), held))
    }
}

/// Splits come first, and also those that no proxy holds: so that others know that none does.
fn told(publisher: &Publisher, mesh: &Mesh, manifests: &Manifests) -> Rollouts {
    let splits = mesh.split_services().take(MOST);
    let mut told: Rollouts = splits.map(|service| (service.clone(), own(publisher, service))).collect();
    let routed = manifests.routes.values().flat_map(|route| route.parents.iter().map(|parent| &parent.service));
    for service in routed.collect::<BTreeSet<_>>() {
        if told.len() >= MOST {
            break;
        }
        if told.contains_key(service) {
            continue;
        }
        let held = own(publisher, service);
        if held.proxies > 0 {
            told.insert(service.clone(), held);
        }
    }
    told
}

fn sum(own: Rollout, digest: Option<u64>, service: &ObjectName, theirs: &Replicas) -> Rollout {
    let mut all = own;
    for (pod, replica) in theirs {
        let told = replica.told.as_ref().filter(|_| !replica.is_silent);
        let held = told.and_then(|told| told.get(service));
        // One without proxies that has not heard of the split yet may have some by the time it does.
        let Some(held) = held.filter(|held| held.proxies > 0 || digest == Some(held.digest)) else {
            all.silent_replicas.push(pod.to_string());
            continue;
        };
        let current = if digest == Some(held.digest) { held.current } else { 0 };
        all.current = all.current.saturating_add(current);
        all.proxies = all.proxies.saturating_add(held.proxies);
    }
    all
}

/// What a replica whose routes are others says of being current is about those.
fn add(digest: u64, (current, proxies): (u32, u32), held: &Held) -> (u32, u32) {
    let theirs = if held.digest == digest { held.current } else { 0 };
    (current.saturating_add(theirs), proxies.saturating_add(held.proxies))
}

fn own(publisher: &Publisher, service: &ObjectName) -> Held {
    let holders = publisher.route_holders(service);
    Held { digest: publisher.route_digest(service), proxies: holders.all, current: holders.current }
}

#[cfg(test)]
mod tests;
