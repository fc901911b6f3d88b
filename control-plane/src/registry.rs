//! Where the mesh's truth comes from.
//!
//! ```text
//! files (a folder, watched) ──> document (YAML, with lines) ─┐
//! kubernetes (a watch a kind) ───────────────────────────────┴─> value ─> manifest (checked, compact) ─> mesh::Manifests
//!                                                                      └─> faults (file and line, or object; field)
//! ```
//!
//! What is wrong is reported and left out by itself: all else applies, and the last good state of what is now wrong
//! stays in force.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::mesh::{Manifests, Namespaces, ObjectName};
use fault::{Problem, Report};
use manifest::Reading;

mod decode;
mod document;
mod fault;
pub mod files;
pub mod kubernetes;
mod manifest;
#[cfg(test)]
pub(crate) mod testing;

pub use fault::{Fault, ObjectRef, Severity};
pub use files::FilesRegistry;
pub use kubernetes::KubernetesRegistry;

/// A burst of changes is over when there was none for so long: what belongs together is published together.
const QUIET: Duration = Duration::from_millis(10);
/// A burst that does not end is published after so long all the same, and again and again.
const LONGEST_BURST: Duration = Duration::from_millis(40);

/// Where objects are written: by kind and name, such as `HTTPRoute shop/api`, the file and the line, from 1. Empty with a
/// cluster, where the name is all that there is.
pub type Origins = crate::mesh::Table<String, (Arc<str>, u32)>;

/// The objects of a cluster that have a status for Weft to write, good ones and bad: kind and name, with the generation
/// that was read last. Empty with files.
pub type Generations = std::collections::BTreeMap<(&'static str, ObjectName), i64>;

/// What is read, of a folder or of a cluster: each as it is now, and as it changes. Dropping it ends the watch; the last
/// state stays with its receivers.
#[derive(Debug)]
pub struct Registry {
    /// The mesh's objects.
    pub manifests: watch::Receiver<Arc<Manifests>>,
    /// What is wrong with them at present, ordered.
    pub faults: watch::Receiver<Arc<Vec<Fault>>>,
    /// Where each object that is in force is written.
    pub origins: watch::Receiver<Arc<Origins>>,
    /// The namespaces of a cluster; empty with files.
    pub namespaces: watch::Receiver<Arc<Namespaces>>,
    /// What has a status, and how new it is.
    pub generations: watch::Receiver<Arc<Generations>>,
    _watch: Watch,
}

/// What keeps a registry alive.
#[derive(Debug)]
enum Watch {
    Files { _watch: FilesRegistry },
    Kubernetes { _watch: KubernetesRegistry },
}

impl Registry {
    /// A folder of manifests; what it says is there when this returns.
    ///
    /// # Errors
    /// When the folder can't be listed.
    pub fn files(dir: PathBuf) -> Result<Self, files::OpenError> {
        let (files, manifests) = FilesRegistry::open(dir)?;
        Ok(Self {
            manifests,
            faults: files.faults(),
            origins: files.origins(),
            namespaces: watch::channel(Arc::default()).1,
            generations: watch::channel(Arc::default()).1,
            _watch: Watch::Files { _watch: files },
        })
    }

    /// The objects of a cluster. Returns when each kind was read once, however long that takes: whoever serves before
    /// would take endpoints away from proxies that have them.
    pub async fn kubernetes(cluster: &Cluster) -> Self {
        let mut kubernetes = KubernetesRegistry::start(cluster);
        kubernetes.synced().await;
        Self {
            manifests: kubernetes.manifests(),
            faults: kubernetes.faults(),
            origins: watch::channel(Arc::default()).1,
            namespaces: kubernetes.namespaces(),
            generations: kubernetes.generations(),
            _watch: Watch::Kubernetes { _watch: kubernetes },
        }
    }
}

/// What the readers say of an object by itself, whatever others say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whether anything of it would be in force. `false`: a registry would keep its last good state.
    pub usable: bool,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
}

/// Reads an object as an API server has it, as the registries do. `None`: it is of no kind that Weft reads.
pub fn check(object: &serde_json::Value) -> Option<Checked> {
    let mut report = Report::default();
    let reading = manifest::read(object, &mut report);
    let generation = object.pointer("/metadata/generation").and_then(serde_json::Value::as_i64).unwrap_or_default();
    let about = reading.key().map(|(kind, name)| ObjectRef { kind: kind.name(), name: name.clone(), generation });
    let usable = match reading {
        Reading::Nothing => return None,
        Reading::Object(..) => true,
        Reading::Invalid(_) => false,
    };
    let file = about.as_ref().map_or_else(String::new, |about| format!("{} {}", about.kind, about.name));
    let fault = |problem: Problem| Fault {
        file: file.clone(),
        line: 0,
        field: problem.field.to_string(),
        message: problem.message,
        severity: problem.severity,
        object: about.clone(),
    };
    Some(Checked { usable, faults: report.0.into_iter().map(fault).collect() })
}

#[cfg(test)]
mod tests;
