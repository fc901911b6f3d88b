//! What the proxies were sent, and which changes have reached all that wait for them.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use parking_lot::Mutex;
use tokio::sync::watch;

/// Shared by all proxies and whoever changes the mesh.
#[derive(Debug, Default)]
pub(crate) struct Board {
    state: Mutex<State>,
    /// Proxies that hold all that they need.
    synced: watch::Sender<usize>,
    /// Changes that have not reached all yet.
    open: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    /// By Service.
    open: HashMap<u32, Vec<Change>>,
    /// What is measured now, if anything is.
    phase: Option<Phase>,
    retries: u64,
}

/// A change of a Service's endpoints under way.
#[derive(Debug)]
struct Change {
    /// What its endpoints have since, and hadn't before.
    mark: String,
    begun: Instant,
    /// The proxies that dial the Service and don't have it yet.
    waiting: HashSet<u32>,
}

/// What came of some changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phase {
    /// The Services that were changed.
    touched: HashSet<u32>,
    /// How long each took to its last proxy.
    pub(crate) latencies: Vec<Duration>,
    /// The resources that were sent.
    pub(crate) pushes: u64,
    /// Of these, the ones that no proxy needed: of what was not changed, or the same again.
    pub(crate) needless: u64,
}

/// A resource that a proxy was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent<'a> {
    pub(crate) proxy: u32,
    /// The Service whose endpoints these are; `None`: it is another kind of resource, or a removal.
    pub(crate) endpoints_of: Option<u32>,
    /// Whether the proxy had this very version.
    pub(crate) known: bool,
    pub(crate) content: &'a [u8],
}

impl Board {
    /// Begins to measure.
    pub(crate) fn begin(&self) {
        self.state.lock().phase = Some(Phase::default());
    }

    /// Ends the measurement.
    pub(crate) fn end(&self) -> Phase {
        self.state.lock().phase.take().unwrap_or_default()
    }

    /// Notes a change that is about to be made.
    pub(crate) fn change(&self, service: u32, mark: String, interested: HashSet<u32>) {
        let mut state = self.state.lock();
        if let Some(phase) = &mut state.phase {
            phase.touched.insert(service);
        }
        if !interested.is_empty() {
            let change = Change { mark, begun: Instant::now(), waiting: interested };
            state.open.entry(service).or_default().push(change);
            self.open.send_modify(|open| *open += 1);
        }
    }

    /// Notes what a proxy was sent.
    pub(crate) fn sent(&self, sent: Sent<'_>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let State { open, phase, .. } = &mut *state;
        let mut finished = Vec::new();
        if let Some(changes) = sent.endpoints_of.and_then(|service| open.get_mut(&service)) {
            for change in changes.iter_mut().filter(|change| contains(sent.content, change.mark.as_bytes())) {
                change.waiting.remove(&sent.proxy);
            }
            let done = changes.extract_if(.., |change| change.waiting.is_empty());
            finished.extend(done.map(|change| now.duration_since(change.begun)));
        }
        if let Some(phase) = phase {
            phase.pushes += 1;
            let touched = sent.endpoints_of.is_some_and(|service| phase.touched.contains(&service));
            phase.needless += u64::from(!touched || sent.known);
            phase.latencies.extend(&finished);
        }
        drop(state);
        if !finished.is_empty() {
            self.open.send_modify(|open| *open -= finished.len());
        }
    }

    /// Waits until all changes have reached their proxies.
    ///
    /// # Errors
    /// Where that takes longer than `limit`.
    pub(crate) async fn settled(&self, limit: Duration) -> Result<()> {
        let mut open = self.open.subscribe();
        let settled = tokio::time::timeout(limit, open.wait_for(|open| *open == 0)).await.map(drop);
        settled.with_context(|| format!("{} changes did not reach all proxies within {limit:?}", *self.open.borrow()))
    }

    /// A proxy holds all that it needs.
    pub(crate) fn synced(&self) {
        self.synced.send_modify(|synced| *synced += 1);
    }

    /// A proxy that held all is gone.
    pub(crate) fn lost(&self) {
        self.synced.send_modify(|synced| *synced -= 1);
    }

    /// Waits until so many proxies hold all that they need.
    ///
    /// # Errors
    /// Where that takes longer than `limit`.
    pub(crate) async fn all_synced(&self, proxies: usize, limit: Duration) -> Result<()> {
        let mut synced = self.synced.subscribe();
        let all = tokio::time::timeout(limit, synced.wait_for(|synced| *synced == proxies)).await.map(drop);
        let retries = self.state.lock().retries;
        all.with_context(|| format!("{} of {proxies} in {limit:?}, {retries} attempts failed", *self.synced.borrow()))
    }

    /// A proxy's stream could not be opened, or ended; the first few say why.
    pub(crate) fn retry(&self, proxy: u32, error: &anyhow::Error) {
        let mut state = self.state.lock();
        state.retries += 1;
        if state.retries <= 3 {
            eprintln!("proxy {proxy}: {error:#}; it tries again");
        }
    }
}

fn contains(content: &[u8], mark: &[u8]) -> bool {
    content.windows(mark.len()).any(|window| window == mark)
}
