//! What is known of the addresses that the application dials.

mod holdings;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use tokio::sync::{mpsc, oneshot};

use super::state::ResourceState;
use super::values::{Destination, Inbound};

pub(super) use holdings::{Admission, Holdings};

/// How many look-ups may queue for the control thread; more wait for their turn.
const QUEUE: usize = 1024;
/// The table is cut into this many parts, so that one more address copies only its own part.
const SHARDS: usize = 64;

/// What the control plane says about an address.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// It is this destination.
    Known(Arc<Destination>),
    /// There is no such destination in the mesh.
    Unknown,
    /// No answer in time, or none that can be used: the control plane is away, a resource that this destination needs
    /// is bad and has no earlier version, or too many destinations are in use.
    Unavailable,
}

/// A handle to the snapshots; cheap to clone, for all threads.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    timeout: Duration,
}

/// What is asked of the control thread.
#[derive(Debug)]
pub(super) enum Command {
    /// Subscribe to this address, and answer when there is an answer.
    Want(SocketAddr, oneshot::Sender<Answer>),
    /// Show the state of all resources.
    Resources(oneshot::Sender<Vec<ResourceState>>),
}

/// Numbers about discovery, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counts {
    /// Whether the xDS stream is open.
    pub(crate) connected: bool,
    /// Destinations that are held now, unknown ones too.
    pub(crate) destinations: usize,
    /// Destinations given up before they expired, to make room.
    pub(crate) evicted: u64,
    /// Look-ups that ended without an answer.
    pub(crate) unavailable: u64,
    /// Resources that were refused.
    pub(crate) refused_resources: u64,
}

impl Directory {
    /// A directory where each look-up waits at most this long, and the other end of it.
    pub(super) fn new(timeout: Duration) -> (Self, Arc<Shared>, mpsc::Receiver<Command>) {
        let (commands, received) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared::default());
        (Self { shared: shared.clone(), commands, timeout }, shared, received)
    }

    /// What a dialled address is. At once if it is held; else it is subscribed to, and the answer waited for, at most
    /// for the discovery time-out.
    pub(crate) async fn destination(&self, dialled: SocketAddr) -> Answer {
        // An IPv4 address that came in by an IPv6 socket is the same address; scope and flow label are no part of it.
        let dialled = SocketAddr::new(dialled.ip().to_canonical(), dialled.port());
        match self.shared.lookup(dialled) {
            Some(answer) => answer,
            None => Box::pin(self.ask(dialled)).await,
        }
    }

    async fn ask(&self, dialled: SocketAddr) -> Answer {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.commands.send(Command::Want(dialled, answer)).await.ok()?;
            answered.await.ok()
        };
        let answer = tokio::time::timeout(self.timeout, asked).await.ok().flatten().unwrap_or(Answer::Unavailable);
        if matches!(answer, Answer::Unavailable) {
            self.shared.unavailable.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    /// What applies to connections that come to this pod; strict for every port until the control plane has spoken.
    pub(crate) fn inbound(&self) -> Arc<Inbound> {
        self.shared.inbound.load_full()
    }

    /// Whether the control plane has described the inbound side, one of the conditions of readiness.
    pub(crate) fn inbound_held(&self) -> bool {
        self.shared.inbound_held.load(Ordering::Acquire)
    }

    /// Numbers for metrics.
    pub(crate) fn counts(&self) -> Counts {
        let shared = &self.shared;
        Counts {
            connected: shared.connected.load(Ordering::Relaxed),
            destinations: shared.destinations.load(Ordering::Relaxed),
            evicted: shared.evicted.load(Ordering::Relaxed),
            unavailable: shared.unavailable.load(Ordering::Relaxed),
            refused_resources: shared.refused_resources.load(Ordering::Relaxed),
        }
    }

    /// Each resource that is subscribed to, for the state dump, sorted by kind and name. Empty if the control thread
    /// does not answer within the discovery time-out.
    pub(crate) async fn resources(&self) -> Vec<ResourceState> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.commands.send(Command::Resources(answer)).await.ok()?;
            answered.await.ok()
        };
        tokio::time::timeout(self.timeout, asked).await.ok().flatten().unwrap_or_default()
    }
}

/// What the threads see. Written by the control thread alone.
#[derive(Debug)]
pub(super) struct Shared {
    shards: [ArcSwap<Shard>; SHARDS],
    hasher: RandomState,
    inbound: ArcSwap<Inbound>,
    inbound_held: AtomicBool,
    pub(super) connected: AtomicBool,
    pub(super) destinations: AtomicUsize,
    pub(super) evicted: AtomicU64,
    unavailable: AtomicU64,
    pub(super) refused_resources: AtomicU64,
}

type Shard = HashMap<SocketAddr, Arc<Entry>, RandomState>;

/// An address that has been answered.
#[derive(Debug)]
pub(super) struct Entry {
    /// `None`: unknown.
    destination: Option<Arc<Destination>>,
    /// Since the control thread last looked.
    used: AtomicBool,
}

impl Entry {
    fn new(destination: Option<Arc<Destination>>) -> Arc<Self> {
        Arc::new(Self { destination, used: AtomicBool::new(true) })
    }

    /// Whether it was used since this was last asked, or is being used by a connection.
    fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed) || self.is_held()
    }

    /// Whether a connection is using it.
    fn is_held(&self) -> bool {
        self.destination.as_ref().is_some_and(|destination| Arc::strong_count(destination) > 1)
    }

    fn answer(&self) -> Answer {
        self.destination.clone().map_or(Answer::Unknown, Answer::Known)
    }
}

impl Default for Shared {
    fn default() -> Self {
        let hasher = RandomState::default();
        Self {
            shards: std::array::from_fn(|_| ArcSwap::from_pointee(Shard::with_hasher(hasher.clone()))),
            hasher,
            inbound: ArcSwap::default(),
            inbound_held: AtomicBool::new(false),
            connected: AtomicBool::new(false),
            destinations: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            unavailable: AtomicU64::new(0),
            refused_resources: AtomicU64::new(0),
        }
    }
}

impl Shared {
    fn lookup(&self, dialled: SocketAddr) -> Option<Answer> {
        let shard = self.shard(dialled)?.load();
        let entry = shard.get(&dialled)?;
        // Written only when it changes, so that threads which dial the same address don't fight for its cache line.
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some(entry.answer())
    }

    pub(super) fn publish_inbound(&self, inbound: Arc<Inbound>) {
        self.inbound.store(inbound);
        self.inbound_held.store(true, Ordering::Release);
    }

    fn set(&self, dialled: SocketAddr, entry: Option<Arc<Entry>>) {
        let Some(shard) = self.shard(dialled) else { return };
        let mut next = Shard::clone(&shard.load());
        match entry {
            Some(entry) => next.insert(dialled, entry),
            None => next.remove(&dialled),
        };
        shard.store(Arc::new(next));
    }

    fn shard(&self, dialled: SocketAddr) -> Option<&ArcSwap<Shard>> {
        use std::hash::BuildHasher as _;
        // The low bits choose the bucket within a shard, the high bits the shard.
        let high = self.hasher.hash_one(dialled) >> 58;
        self.shards.get(usize::try_from(high).ok()?)
    }
}

#[cfg(test)]
mod tests;
