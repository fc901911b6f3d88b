//! A folder of Kubernetes' own manifests, read and watched.
//!
//! `docs/reference/files-registry.md` has the kinds and fields that are read.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::watch;

use super::{Fault, LONGEST_BURST, Origins, QUIET};
use crate::mesh::Manifests;
use folder::Folder;

mod folder;
pub(super) mod state;

/// How often the folder is looked at in case a change was not announced.
const POLL: Duration = Duration::from_secs(2);
/// That takes at most one in so many parts of the time: a folder of many files is looked at less often.
const LISTING_SHARE: u32 = 50;
/// From so many changes on the folder is listed rather than each path looked at.
const MOST_PATHS: usize = 1000;

/// A folder of manifests. Dropping it ends the watch; the last state stays with its receivers.
#[derive(Debug)]
pub struct FilesRegistry {
    faults: watch::Receiver<Arc<Vec<Fault>>>,
    origins: watch::Receiver<Arc<Origins>>,
    /// Keeps the watch thread alive: it ends when nobody can send to it any more.
    _watcher: Option<RecommendedWatcher>,
    _alive: Sender<Hint>,
}

/// Where something changed.
enum Hint {
    /// At these paths.
    Paths(Vec<PathBuf>),
    /// Nobody knows.
    Anywhere,
}

/// Why a folder cannot be a registry.
#[derive(Debug, thiserror::Error)]
#[error("the registry's folder {} cannot be read: {source}; WEFT_REGISTRY=files:DIR names it", dir.display())]
pub struct OpenError {
    dir: PathBuf,
    source: std::io::Error,
}

impl FilesRegistry {
    /// Reads a folder and all below it, then watches it on a thread of its own.
    ///
    /// # Errors
    /// When the folder cannot be listed or no thread be started. What is wrong with a single file is a fault.
    pub fn open(dir: PathBuf) -> Result<(Self, watch::Receiver<Arc<Manifests>>), OpenError> {
        let (events, changes) = mpsc::channel();
        // Watching begins before reading, so that no change falls between the two.
        let watcher = watch_folder(&dir, events.clone());
        let mut folder = Folder::new(dir.clone());
        let failed = |source| OpenError { dir, source };
        if let Err(source) = folder.read() {
            return Err(failed(source));
        }
        let (manifests, manifests_receiver) = watch::channel(Arc::new(folder.manifests()));
        let (faults, faults_receiver) = watch::channel(Arc::new(folder.faults()));
        let (origins, origins_receiver) = watch::channel(Arc::new(folder.origins()));
        let thread = std::thread::Builder::new().name("weft-registry".to_owned());
        thread.spawn(move || follow(&mut folder, &changes, &manifests, &faults, &origins)).map_err(failed)?;
        let (faults, origins) = (faults_receiver, origins_receiver);
        Ok((Self { faults, origins, _watcher: watcher, _alive: events }, manifests_receiver))
    }

    /// What is wrong with the folder's files at present, ordered by file and line.
    pub fn faults(&self) -> watch::Receiver<Arc<Vec<Fault>>> {
        self.faults.clone()
    }

    /// Where each object that is in force is written.
    pub fn origins(&self) -> watch::Receiver<Arc<Origins>> {
        self.origins.clone()
    }
}

/// Asks the kernel to announce changes. Without it the folder is looked at now and then all the same.
fn watch_folder(dir: &std::path::Path, events: Sender<Hint>) -> Option<RecommendedWatcher> {
    let announce = move |event: notify::Result<notify::Event>| {
        let hint = match event {
            Ok(event) if !is_change(event.kind) => return,
            Ok(event) if event.need_rescan() || event.paths.is_empty() => Hint::Anywhere,
            Ok(event) => Hint::Paths(event.paths),
            Err(_) => Hint::Anywhere,
        };
        // The thread is gone only when the registry is.
        let _ = events.send(hint);
    };
    let watcher = notify::recommended_watcher(announce).and_then(|mut watcher| {
        watcher.watch(dir, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    watcher
        .inspect_err(|error| {
            tracing::warn!(dir = %dir.display(), %error, "changes are not announced; looking every {POLL:?}");
        })
        .ok()
}

/// Our own reading is announced too: it is no change.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// Reads what changed after each burst of changes, until the registry is dropped.
fn follow(
    folder: &mut Folder,
    changes: &Receiver<Hint>,
    manifests: &watch::Sender<Arc<Manifests>>,
    faults: &watch::Sender<Arc<Vec<Fault>>>,
    origins: &watch::Sender<Arc<Origins>>,
) {
    let mut next_look = Instant::now() + POLL;
    loop {
        let left = next_look.saturating_duration_since(Instant::now());
        let paths = match changes.recv_timeout(left) {
            // Under unending changes, too, the folder is looked at now and then.
            Ok(_) if left.is_zero() => None,
            Ok(first) => burst(first, changes),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let read = match paths {
            Some(paths) => folder.read_files(&paths),
            None => {
                let (begun, read) = (Instant::now(), folder.read());
                next_look = Instant::now() + POLL.max(begun.elapsed() * LISTING_SHARE);
                read
            }
        };
        if let Err(error) = read {
            tracing::warn!(%error, "the registry's folder cannot be listed; its last state stays in force");
        }
        // Faults first: whoever sees a state can see what is wrong with it.
        publish(faults, folder.faults());
        publish(origins, folder.origins());
        publish(manifests, folder.manifests());
    }
}

/// Waits until a burst of changes is over. Returns the paths that changed; `None`: anything may have.
fn burst(first: Hint, changes: &Receiver<Hint>) -> Option<BTreeSet<PathBuf>> {
    let last = Instant::now() + LONGEST_BURST;
    let mut paths = Some(BTreeSet::new());
    let mut next = Some(first);
    while let Some(hint) = next {
        match (hint, &mut paths) {
            (Hint::Paths(more), Some(paths)) => paths.extend(more),
            _ => paths = None,
        }
        let left = last.saturating_duration_since(Instant::now());
        next = if left.is_zero() { None } else { changes.recv_timeout(QUIET.min(left)).ok() };
        if paths.as_ref().is_some_and(|paths| paths.len() > MOST_PATHS) {
            paths = None;
        }
    }
    paths
}

fn publish<T: PartialEq>(to: &watch::Sender<Arc<T>>, value: T) {
    to.send_if_modified(|current| {
        let differs = **current != value;
        if differs {
            *current = Arc::new(value);
        }
        differs
    });
}

#[cfg(test)]
mod tests;
