//! Where splits, shifts and the audit trail are kept: a write is durable before it is answered, and only then published.
//!
//! ```text
//! Store ── DiskStore: one redb file, for one weft-control
//!       └─ ClusterStore: HTTPRoutes and TrafficShifts of a Kubernetes cluster, for all replicas
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use super::{Record, Splits};
use crate::load::Figures;
use crate::mesh::{ObjectName, SplitBackend};

mod cluster;
mod disk;
mod rows;

pub use cluster::{ClusterStore, SPLIT_LABEL, is_split, split_of_route};
pub use disk::DiskStore;
pub(crate) use rows::FiguresRow;
pub use rows::{AuditEntry, StoredShift};

/// The most audit entries of a Service.
pub const MAX_AUDIT: u64 = 1_000;

/// The latest shift of each Service that ever had one.
pub type StoredShifts = BTreeMap<ObjectName, Arc<StoredShift>>;

/// Splits, shifts and the audit trail. Methods that write or read the audit trail block: call them where blocking is fine.
pub trait Store: Send + Sync {
    /// The splits as they are, and as they change.
    fn subscribe(&self) -> watch::Receiver<Arc<Splits>>;

    /// The shifts as they are, and as they change.
    fn shifts(&self) -> watch::Receiver<Arc<StoredShifts>>;

    /// Writes a split; durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::Stale`] when `expected` is not the stored version, [`StoreError::Shifting`], [`StoreError::Foreign`],
    /// or when what is behind fails.
    fn set(
        &self,
        service: &ObjectName,
        backends: &[SplitBackend],
        expected: Option<u64>,
        author: &Author,
    ) -> Result<Arc<Record>, StoreError>;

    /// Writes a split as [`set`](Self::set) does, and takes back what another tool has changed of it. Where no other tool can
    /// it is the same.
    ///
    /// # Errors
    /// As of [`set`](Self::set); [`StoreError::Foreign`] where what stands in its place is no split.
    fn take_over(
        &self,
        service: &ObjectName,
        backends: &[SplitBackend],
        expected: Option<u64>,
        author: &Author,
    ) -> Result<Arc<Record>, StoreError> {
        self.set(service, backends, expected, author)
    }

    /// Deletes a split; durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::Missing`], and as of [`set`](Self::set).
    fn delete(&self, service: &ObjectName, expected: Option<u64>, author: &Author) -> Result<(), StoreError>;

    /// Writes a step of a shift; durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::Stale`] when the split has another version than is expected, [`StoreError::Overtaken`] when somebody
    /// wrote the shift in between, [`StoreError::Shifting`] when it begins while another is active, or when what is behind
    /// fails.
    fn shift(&self, service: &ObjectName, write: &ShiftWrite<'_>, author: &Author) -> Result<ShiftWritten, StoreError>;

    /// What was done to a Service's traffic, the latest first, at most `limit` entries.
    ///
    /// # Errors
    /// When what is behind fails, or what is stored makes no sense.
    fn audit(&self, service: &ObjectName, limit: usize) -> Result<Vec<AuditEntry>, StoreError>;

    /// The splits as they are.
    fn splits(&self) -> Arc<Splits> {
        Arc::clone(&self.subscribe().borrow())
    }

    /// Whether the split that the Service's shift wrote last is there: another replica may be about to write it.
    fn is_settled(&self, _service: &ObjectName) -> bool {
        true
    }
}

/// Who writes, and when. Times are kept in milliseconds.
#[derive(Clone, Debug)]
pub struct Author {
    /// Who, as far as it is known.
    pub who: String,
    /// The time.
    pub at: SystemTime,
}

/// What a shift writes, all of it or nothing.
#[derive(Clone, Copy, Debug)]
pub struct ShiftWrite<'a> {
    /// What becomes of the split.
    pub change: Change<'a>,
    /// The split's version before; 0: there is none.
    pub expected: u64,
    /// The shift, but for its version and time; its revision is the one that the writer knows.
    pub shift: &'a StoredShift,
    /// Whether the Service must have no active shift: this one begins, whatever the revision.
    pub begins: bool,
    /// What the audit trail says was done.
    pub action: &'a str,
    /// Why it was done.
    pub reason: &'a str,
    /// What was seen.
    pub figures: Option<&'a Figures>,
}

/// What a step of a shift came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShiftWritten {
    /// The split's version then; 0: there is none.
    pub version: u64,
    /// The shift's revision then.
    pub revision: u64,
}

/// What becomes of a split.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// Nothing.
    Keep,
    /// It has these backends.
    Set(&'a [SplitBackend]),
    /// It goes away.
    Delete,
}

/// Why a split was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The caller expected another version; 0: none.
    #[error("the split has version {current}, not {expected}")]
    Stale {
        /// What the caller expected.
        expected: u64,
        /// What is stored.
        current: u64,
    },
    /// There is no split to delete.
    #[error("there is no split")]
    Missing,
    /// A shift is under way, described here: only that writes the split.
    #[error("{0}")]
    Shifting(String),
    /// Somebody else wrote the shift in between.
    #[error("the shift was written by somebody else in between")]
    Overtaken,
    /// What would be written is somebody else's: a route made by hand, a field set with another tool.
    #[error("{0}")]
    Foreign(String),
    /// The API server takes no such object.
    #[error("the API server refuses it: {0}")]
    Refused(String),
    /// The file could not be read or written.
    #[error("the store weft.redb failed; is the disk full, or does another weft-control use the same WEFT_STATE_DIR?")]
    Database(#[source] Box<redb::Error>),
    /// The API server could not be asked.
    #[error("the API server failed; can weft-control reach it, and may its service account write {what}?")]
    Cluster {
        /// The kind that was read or written.
        what: &'static str,
        /// What the client said.
        source: Box<kube::Error>,
    },
    /// The write was given up, as at shutdown.
    #[error("the write was interrupted; whether it was done is not known")]
    Interrupted(#[source] tokio::task::JoinError),
    /// A stored split or shift makes no sense.
    #[error("what is stored of {service} is damaged: {reason}")]
    Damaged {
        /// `NAMESPACE/SERVICE`
        service: String,
        /// What the decoder said.
        reason: String,
    },
}

fn check_version(expected: Option<u64>, current: u64) -> Result<(), StoreError> {
    match expected {
        Some(expected) if expected != current => Err(StoreError::Stale { expected, current }),
        _ => Ok(()),
    }
}

fn damaged(service: &ObjectName, reason: impl ToString) -> StoreError {
    StoreError::Damaged { service: service.to_string(), reason: reason.to_string() }
}
