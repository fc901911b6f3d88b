//! How far the connected proxies are with each split: those of this replica, and by their reports those of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use weft_api::traffic::Rollout;

use super::{Record, Splits};
use crate::cluster::rollouts::{PeerRollouts, Replicas};
use crate::mesh::{ObjectName, Split};
use crate::xds::Publisher;

/// Progress is told at most once in this time, so that thousands of ACKs make tens of events.
const TICK: Duration = Duration::from_millis(10);

/// Every split with its rollout, as watchers see it.
pub type Board = BTreeMap<ObjectName, Entry>;

/// A split and how far the proxies are with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The split.
    pub record: Arc<Record>,
    /// How far the proxies are.
    pub rollout: Rollout,
}

/// How far the connected proxies of this replica are with a version of a Service's split; 0: with there being none. None
/// is, before the split is part of the published mesh.
pub fn of_version(publisher: &Publisher, service: &ObjectName, version: u64) -> Rollout {
    let holders = publisher.route_holders(service);
    let current = if is_published(publisher, service, version) { holders.current } else { 0 };
    Rollout { proxies: holders.all, current, ..Rollout::default() }
}

fn is_published(publisher: &Publisher, service: &ObjectName, version: u64) -> bool {
    let mesh = publisher.mesh();
    mesh.split_of(service).map_or(version == 0, |known| version > 0 && known.version >= version)
}

/// Knows how far the proxies of all replicas are. Cheap to clone.
#[derive(Clone)]
pub struct Rollouts {
    publisher: Arc<Publisher>,
    /// `None`: there is no other replica, ever.
    peers: Option<Arc<PeerRollouts>>,
}

/// What this replica knows by itself.
#[derive(Clone)]
struct Own {
    rollout: Rollout,
    /// Of the routes that the split leads to; `None`: they are not published here yet, or there are no other replicas.
    digest: Option<u64>,
}

impl Rollouts {
    /// Of the proxies of this replica and of its peers, where there can be some.
    pub fn new(publisher: Arc<Publisher>, peers: Option<Arc<PeerRollouts>>) -> Self {
        Self { publisher, peers }
    }

    /// How far the connected proxies of all replicas are with a split. It is answered from what is known: no replica is
    /// waited for, and those that nothing is known of are named.
    pub fn of(&self, split: &Split) -> Rollout {
        self.with_theirs(&split.service, self.own(split))
    }

    /// Keeps a board up to date, until the store is gone.
    pub async fn track(self, mut splits: watch::Receiver<Arc<Splits>>, board: watch::Sender<Arc<Board>>) {
        let publisher = Arc::clone(&self.publisher);
        let mut peers = self.peers.as_ref().map(|peers| peers.follow());
        let mut tracker = Tracker { rollouts: self, known: BTreeMap::new() };
        let mut stepped = BTreeSet::new();
        loop {
            let current = Arc::clone(&splits.borrow_and_update());
            let new = tracker.look(&current, &stepped);
            board.send_if_modified(|board| {
                let differs = **board != new;
                if differs {
                    *board = Arc::new(new);
                }
                differs
            });
            stepped.clear();
            tokio::time::sleep(TICK).await;
            tokio::select! {
                changed = splits.changed() => if changed.is_err() { return },
                services = publisher.progress() => stepped = services,
                () = changed(peers.as_mut()) => {}
            }
        }
    }

    fn own(&self, split: &Split) -> Own {
        let (service, version) = (&split.service, split.version);
        let rollout = of_version(&self.publisher, service, version);
        let told = self.peers.is_some() && is_published(&self.publisher, service, version);
        Own { rollout, digest: told.then(|| self.publisher.route_digest(service)) }
    }

    fn with_theirs(&self, service: &ObjectName, own: Own) -> Rollout {
        match &self.peers {
            Some(peers) => peers.with_theirs(own.rollout, own.digest, service),
            None => own.rollout,
        }
    }
}

/// Looks this replica's proxies up again only where they took a step.
struct Tracker {
    rollouts: Rollouts,
    known: BTreeMap<ObjectName, (Arc<Record>, Own)>,
}

impl Tracker {
    /// The board as it is to be; proxies of the Services in `stepped` took a step.
    fn look(&mut self, splits: &Splits, stepped: &BTreeSet<ObjectName>) -> Board {
        let mut known = std::mem::take(&mut self.known);
        let mut new = Board::new();
        for (service, record) in splits {
            let same = known.remove(service).filter(|(of, _)| Arc::ptr_eq(of, record) && !stepped.contains(service));
            let own = same.map_or_else(|| self.rollouts.own(&record.split), |(_, own)| own);
            let rollout = self.rollouts.with_theirs(service, own.clone());
            new.insert(service.clone(), Entry { record: Arc::clone(record), rollout });
            self.known.insert(service.clone(), (Arc::clone(record), own));
        }
        new
    }
}

/// Waits until another replica tells something; forever where there are none.
async fn changed(peers: Option<&mut watch::Receiver<Arc<Replicas>>>) {
    let is_there = match peers {
        Some(peers) => peers.changed().await.is_ok(),
        None => false,
    };
    if !is_there {
        std::future::pending().await
    }
}
