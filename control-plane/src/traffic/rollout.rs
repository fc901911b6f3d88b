//! How far the connected proxies are with each split.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use weft_api::traffic::Rollout;

use super::{Record, Splits};
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

/// How far the connected proxies are with a split. None is, before the split is part of the published mesh.
pub fn of(publisher: &Publisher, split: &Split) -> Rollout {
    of_version(publisher, &split.service, split.version)
}

/// How far the connected proxies are with a version of a Service's split; 0: with there being none.
pub fn of_version(publisher: &Publisher, service: &ObjectName, version: u64) -> Rollout {
    let mesh = publisher.mesh();
    let published = mesh.split_of(service).map_or(version == 0, |known| version > 0 && known.version >= version);
    let holders = publisher.route_holders(service);
    Rollout { proxies: holders.all, current: if published { holders.current } else { 0 } }
}

/// Keeps a board up to date, until the store is gone.
pub async fn track(
    mut splits: watch::Receiver<Arc<Splits>>,
    publisher: Arc<Publisher>,
    board: watch::Sender<Arc<Board>>,
) {
    let mut stepped = BTreeSet::new();
    loop {
        let current = Arc::clone(&splits.borrow_and_update());
        board.send_if_modified(|board| update(board, &current, &stepped, &publisher));
        tokio::time::sleep(TICK).await;
        tokio::select! {
            changed = splits.changed() => match changed {
                Ok(()) => stepped = BTreeSet::new(),
                Err(_) => return,
            },
            services = publisher.progress() => stepped = services,
        }
    }
}

/// Returns whether anything differs.
fn update(board: &mut Arc<Board>, splits: &Splits, stepped: &BTreeSet<ObjectName>, publisher: &Publisher) -> bool {
    let mut new = Board::new();
    for (service, record) in splits {
        let known = board.get(service).filter(|known| Arc::ptr_eq(&known.record, record) && !stepped.contains(service));
        let entry = known
            .cloned()
            .unwrap_or_else(|| Entry { record: Arc::clone(record), rollout: of(publisher, &record.split) });
        new.insert(service.clone(), entry);
    }
    if **board == new {
        return false;
    }
    *board = Arc::new(new);
    true
}
