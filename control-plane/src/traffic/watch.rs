//! Following the splits: first all as they are, then what changes. A slow watcher gets the newest state of each.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::{Stream, stream};
use tokio::sync::watch;
use weft_api::traffic::{Split, SplitEvent, split_event::Kind};

use super::rollout::{Board, Entry};
use super::to_api;
use crate::mesh::ObjectName;

/// What a watcher was told, and what it will be told next.
struct Watcher {
    board: watch::Receiver<Arc<Board>>,
    /// Empty: all namespaces.
    namespace: String,
    told: Arc<Board>,
    queue: VecDeque<SplitEvent>,
}

/// The events of a namespace, or with an empty name of all, until the board is gone.
pub(super) fn events(
    mut board: watch::Receiver<Arc<Board>>,
    namespace: String,
) -> impl Stream<Item = SplitEvent> + Send + 'static {
    let first = Arc::clone(&board.borrow_and_update());
    let mut watcher = Watcher { board, namespace, told: Arc::default(), queue: VecDeque::new() };
    watcher.tell(first);
    watcher.queue.push_back(event(Kind::Synced, None));
    stream::unfold(watcher, |mut watcher| async {
        loop {
            if let Some(event) = watcher.queue.pop_front() {
                return Some((event, watcher));
            }
            watcher.board.changed().await.ok()?;
            let next = Arc::clone(&watcher.board.borrow_and_update());
            watcher.tell(next);
        }
    })
}

impl Watcher {
    fn tell(&mut self, next: Arc<Board>) {
        let followed = |service: &ObjectName| self.namespace.is_empty() || *self.namespace == *service.namespace;
        let split = |entry: &Entry| Some(to_api(&entry.record, entry.rollout.clone()));
        for (service, entry) in next.iter().filter(|(service, _)| followed(service)) {
            if self.told.get(service) != Some(entry) {
                self.queue.push_back(event(Kind::Set, split(entry)));
            }
        }
        for (service, entry) in self.told.iter().filter(|(service, _)| followed(service)) {
            if !next.contains_key(service) {
                self.queue.push_back(event(Kind::Deleted, split(entry)));
            }
        }
        self.told = next;
    }
}

fn event(kind: Kind, split: Option<Split>) -> SplitEvent {
    SplitEvent { kind: kind.into(), split }
}
