//! What the proxies were sent, and which changes have reached all that wait for them.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use parking_lot::{Mutex, MutexGuard};
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
    /// The proxies whose pods are being replaced: changes don't wait for them.
    away: HashSet<u32>,
    /// What is measured now, if anything is.
    phase: Option<Phase>,
    retries: u64,
}

/// A change of a Service's endpoints under way.
#[derive(Debug)]
struct Change {
    /// What its endpoints have since, and hadn't before, as it is encoded.
    mark: Vec<u8>,
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
    /// What was sent to proxies that held all they need.
    pub(crate) pushes: u64,
    /// Of this, the ones that nobody needed: endpoints that did not change or that the proxy does not dial, the same
    /// again, other kinds of resources, or nothing at all.
    pub(crate) needless: u64,
}

/// What a proxy was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent<'a> {
    pub(crate) proxy: u32,
    /// Whether the proxy holds all that it needs already.
    pub(crate) is_push: bool,
    /// The Service whose endpoints these are, in a version that is new to the proxy, which dials it; else `None`.
    pub(crate) endpoints_of: Option<u32>,
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

    /// Notes a change that is about to be made: a Service gets an endpoint at this address.
    pub(crate) fn change(&self, service: u32, address: &str, interested: HashSet<u32>) {
        let mut state = self.state.lock();
        if let Some(phase) = &mut state.phase {
            phase.touched.insert(service);
        }
        let waiting = &interested - &state.away;
        if !waiting.is_empty() {
            let change = Change { mark: encoded(address), begun: Instant::now(), waiting };
            state.open.entry(service).or_default().push(change);
            self.open.send_modify(|open| *open += 1);
        }
    }

    /// Notes what a proxy was sent.
    pub(crate) fn sent(&self, sent: Sent<'_>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        if let Some(phase) = state.phase.as_mut().filter(|_| sent.is_push) {
            phase.pushes += 1;
            let touched = sent.endpoints_of.is_some_and(|service| phase.touched.contains(&service));
            phase.needless += u64::from(!touched);
        }
        let changes = sent.endpoints_of.and_then(|service| state.open.get_mut(&service));
        let Some(changes) = changes else { return };
        for change in changes.iter_mut().filter(|change| contains(sent.content, &change.mark)) {
            change.waiting.remove(&sent.proxy);
        }
        let finished = finished(changes, now);
        self.finish(state, &finished);
    }

    /// Notes that a pod is about to be replaced: its proxy is gone until it holds all it needs again.
    pub(crate) fn leave(&self, proxy: u32) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.away.insert(proxy);
        let mut all = Vec::new();
        for changes in state.open.values_mut() {
            for change in changes.iter_mut() {
                change.waiting.remove(&proxy);
            }
            all.extend(finished(changes, now));
        }
        self.finish(state, &all);
    }

    fn finish(&self, mut state: MutexGuard<'_, State>, finished: &[Duration]) {
        if let Some(phase) = &mut state.phase {
            phase.latencies.extend(finished);
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
    pub(crate) fn synced(&self, proxy: u32) {
        self.state.lock().away.remove(&proxy);
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

    /// How often a proxy's stream could not be opened, or ended by itself.
    pub(crate) fn retries(&self) -> u64 {
        self.state.lock().retries
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

/// Takes those out that wait for nobody any more; how long each took.
fn finished(changes: &mut Vec<Change>, now: Instant) -> Vec<Duration> {
    let done = changes.extract_if(.., |change| change.waiting.is_empty());
    done.map(|change| now.duration_since(change.begun)).collect()
}

/// An address as protobuf has it, after its length: so 10.0.0.1 is not found in 10.0.0.10.
fn encoded(address: &str) -> Vec<u8> {
    // An IPv4 address is shorter than what needs a second byte for its length.
    [&[address.len() as u8], address.as_bytes()].concat()
}

fn contains(content: &[u8], mark: &[u8]) -> bool {
    content.windows(mark.len()).any(|window| window == mark)
}
