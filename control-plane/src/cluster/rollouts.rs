//! How far the proxies of all replicas are with the routes of each Service.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::mesh::ObjectName;
use crate::xds::Publisher;

/// The most Services that a replica tells of: an object of the API server takes 1 MB.
const MOST: usize = 4_000;

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

/// What a replica's proxies hold, by Service.
pub type Rollouts = BTreeMap<ObjectName, Held>;

/// What every other replica's proxies hold.
pub(super) type PeersRollouts = Arc<Vec<Arc<Rollouts>>>;

/// Tells the other replicas of this one's proxies, and knows of theirs.
#[derive(Debug)]
pub struct PeerRollouts {
    pub(super) ours: watch::Sender<Arc<Rollouts>>,
    pub(super) theirs: watch::Receiver<PeersRollouts>,
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
    /// Tells of these Services, as far as proxies hold routes of them.
    pub(super) fn tell<'a>(&self, publisher: &Publisher, services: impl Iterator<Item = &'a ObjectName>) {
        let held = services.map(|service| (service.clone(), own(publisher, service)));
        let rollouts: Rollouts = held.filter(|(_, held)| held.proxies > 0).take(MOST).collect();
        self.ours.send_if_modified(|known| {
            let differs = **known != rollouts;
            if differs {
                *known = Arc::new(rollouts);
            }
            differs
        });
    }

    /// How many proxies of all replicas have a Service's current routes, and how many hold routes of it.
    pub(super) fn all(&self, publisher: &Publisher, service: &ObjectName) -> (u32, u32) {
        let own = own(publisher, service);
        let theirs = Arc::clone(&self.theirs.borrow());
        let theirs = theirs.iter().filter_map(|rollouts| rollouts.get(service));
        theirs.fold((own.current, own.proxies), |(current, proxies), held| add(own.digest, (current, proxies), held))
    }
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
mod tests {
    use super::*;

    #[test]
    fn a_replica_with_other_routes_has_no_current_proxies() {
        let same = Held { digest: 7, proxies: 3, current: 2 };
        assert_eq!(add(7, (1, 1), &same), (3, 4));
        assert_eq!(add(8, (1, 1), &same), (1, 4));
    }

    #[test]
    fn what_is_told_is_read_as_it_was() {
        let held = Held { digest: u64::MAX, proxies: 3, current: 2 };
        let rollouts = Rollouts::from([(ObjectName::new("shop", "api"), held)]);
        assert_eq!(decode(&encode(&rollouts)).unwrap(), rollouts);
    }
}
