//! The objects of a cluster, each kind by a watch of its own.
//!
//! ```text
//! API server ─list, watch─> watch (one task a kind: JSON -> compact object) ─┐
//!                                                                           ├─> State ─each burst─> receivers
//!                           ...                                             ─┘
//! ```
//!
//! Only our own compact objects are kept. What did not change keeps its `Arc`, also when a kind is listed anew, so that
//! nothing is sent again. While the API server is away all stays as it was.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch as channel};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::manifest::Kind;
use super::{Fault, Generations, LONGEST_BURST, QUIET};
use crate::cluster::Cluster;
use crate::mesh::{Manifests, Namespaces};
use state::State;
use watch::Message;

mod object;
mod resource;
mod state;
mod watch;

/// How many objects wait to be taken in; watches wait for room.
const QUEUE: usize = 1024;
/// How often it is told what a start waits for.
const WAITING: Duration = Duration::from_secs(10);

/// The kinds that are watched: all but Secrets. The control plane of a cluster needs none of other people's.
fn kinds() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|kind| *kind != Kind::Secret)
}

/// The objects of a cluster. Dropping it ends the watches; the last state stays with its receivers.
#[derive(Debug)]
pub struct KubernetesRegistry {
    outlets: Receivers,
    /// The kinds that were not read yet.
    unread: channel::Receiver<BTreeSet<&'static str>>,
    _tasks: JoinSet<()>,
}

/// Where a state is read.
#[derive(Clone, Debug)]
struct Receivers {
    manifests: channel::Receiver<Arc<Manifests>>,
    faults: channel::Receiver<Arc<Vec<Fault>>>,
    namespaces: channel::Receiver<Arc<Namespaces>>,
    generations: channel::Receiver<Arc<Generations>>,
}

/// Where a state is written.
struct Senders {
    manifests: channel::Sender<Arc<Manifests>>,
    faults: channel::Sender<Arc<Vec<Fault>>>,
    namespaces: channel::Sender<Arc<Namespaces>>,
    generations: channel::Sender<Arc<Generations>>,
    unread: channel::Sender<BTreeSet<&'static str>>,
}

impl KubernetesRegistry {
    /// Begins to watch.
    pub fn start(cluster: &Cluster) -> Self {
        let (to, messages) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        for kind in kinds() {
            tasks.spawn(watch::follow(kind, cluster.client.clone(), to.clone()));
        }
        let (manifests, manifests_receiver) = channel::channel(Arc::default());
        let (faults, faults_receiver) = channel::channel(Arc::default());
        let (namespaces, namespaces_receiver) = channel::channel(Arc::default());
        let (generations, generations_receiver) = channel::channel(Arc::default());
        let (unread, unread_receiver) = channel::channel(kinds().map(Kind::name).collect());
        tasks.spawn(collect(messages, Senders { manifests, faults, namespaces, generations, unread }));
        let outlets = Receivers {
            manifests: manifests_receiver,
            faults: faults_receiver,
            namespaces: namespaces_receiver,
            generations: generations_receiver,
        };
        Self { outlets, unread: unread_receiver, _tasks: tasks }
    }

    /// Waits until each kind was read once, and says what it waits for.
    pub async fn synced(&mut self) {
        loop {
            let read = tokio::time::timeout(WAITING, self.unread.wait_for(BTreeSet::is_empty)).await.map(|_| ());
            if read.is_ok() {
                return;
            }
            let kinds = self.unread.borrow().iter().copied().collect::<Vec<_>>().join(", ");
            tracing::warn!(%kinds, "not ready: these were not read from the API server yet");
        }
    }

    /// The mesh's objects.
    pub fn manifests(&self) -> channel::Receiver<Arc<Manifests>> {
        self.outlets.manifests.clone()
    }

    /// What is wrong with them.
    pub fn faults(&self) -> channel::Receiver<Arc<Vec<Fault>>> {
        self.outlets.faults.clone()
    }

    /// The namespaces.
    pub fn namespaces(&self) -> channel::Receiver<Arc<Namespaces>> {
        self.outlets.namespaces.clone()
    }

    /// What has a status.
    pub fn generations(&self) -> channel::Receiver<Arc<Generations>> {
        self.outlets.generations.clone()
    }
}

/// Takes in what the watches say, and publishes after each burst.
async fn collect(mut messages: mpsc::Receiver<Message>, mut to: Senders) {
    let mut state = State::default();
    while let Some(message) = messages.recv().await {
        state.take(message);
        let last = Instant::now() + LONGEST_BURST;
        loop {
            let quiet = (Instant::now() + QUIET).min(last);
            match tokio::time::timeout_at(quiet, messages.recv()).await {
                Ok(Some(message)) => state.take(message),
                Ok(None) => return,
                Err(_) => break,
            }
            if Instant::now() >= last {
                break;
            }
        }
        // Tens of thousands of objects take a while to be looked through.
        let published = tokio::task::spawn_blocking(move || {
            to.publish(&mut state);
            (state, to)
        });
        match published.await {
            Ok(back) => (state, to) = back,
            Err(error) => {
                tracing::error!(%error, "the registry can't go on; the last state stays in force");
                return;
            }
        }
    }
}

impl Senders {
    /// Faults first: whoever sees a state can see what is wrong with it.
    fn publish(&self, state: &mut State) {
        let unread: BTreeSet<_> = kinds().filter(|kind| !state.was_read(*kind)).map(Kind::name).collect();
        let changes = state.changes();
        // Pods and endpoints change all the time, and faults hardly ever.
        if changes.others {
            replace(&self.faults, state.faults());
            replace(&self.generations, state.generations());
        }
        if changes.objects {
            replace(&self.namespaces, state.manifests().namespaces.clone());
            self.manifests.send_replace(Arc::new(state.manifests().clone()));
        }
        self.unread.send_if_modified(|current| std::mem::replace(current, unread.clone()) != unread);
    }
}

fn replace<T: PartialEq>(to: &channel::Sender<Arc<T>>, value: T) {
    to.send_if_modified(|current| {
        let differs = **current != value;
        if differs {
            *current = Arc::new(value);
        }
        differs
    });
}
