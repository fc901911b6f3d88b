//! Splits, shifts and the audit trail on disk: a write is durable before it is answered, and only then is it published.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use tokio::sync::watch;

use super::{Record, Splits};
use crate::load::Figures;
use crate::mesh::{ObjectName, SplitBackend};

mod rows;

pub use rows::{AuditEntry, StoredShift};

use rows::{AuditRow, ShiftRow, SplitRow, milliseconds};

/// `NAMESPACE/SERVICE` -> a [`SplitRow`] as JSON.
const SPLITS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("splits");
/// `NAMESPACE/SERVICE` -> the latest version ever given, also of splits that are deleted.
const VERSIONS: TableDefinition<'_, &str, u64> = TableDefinition::new("versions");
/// `NAMESPACE/SERVICE` -> its latest shift, a [`ShiftRow`] as JSON.
const SHIFTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("shifts");
/// `NAMESPACE/SERVICE` and a number that goes up -> an [`AuditRow`] as JSON.
const AUDIT: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("audit");

/// The most audit entries of a Service.
pub const MAX_AUDIT: u64 = 1_000;

/// The splits, in one redb file. All methods block: call them where blocking is fine.
pub struct Store {
    database: Database,
    published: watch::Sender<Arc<Splits>>,
    /// Held from before a transaction until its result is published, so that both have the same order.
    writer: Mutex<()>,
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
    /// The shift, but for its version and time.
    pub shift: &'a StoredShift,
    /// Whether the Service must have no active shift: this one begins.
    pub begins: bool,
    /// What the audit trail says was done.
    pub action: &'a str,
    /// Why it was done.
    pub reason: &'a str,
    /// What was seen.
    pub figures: Option<&'a Figures>,
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
    /// The file could not be read or written.
    #[error("the store weft.redb failed; is the disk full, or does another weft-control use the same WEFT_STATE_DIR?")]
    Database(#[source] Box<redb::Error>),
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

/// What a transaction did to a split.
struct Written {
    before: Option<Vec<SplitBackend>>,
    /// `None`: there is none any more.
    after: Option<Arc<Record>>,
}

impl Store {
    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// When the file can't be opened (another process holds it, no permission) or read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::create(path).map_err(database_error)?;
        let transaction = begin(&database)?;
        transaction.open_table(SPLITS).map_err(database_error)?;
        transaction.open_table(VERSIONS).map_err(database_error)?;
        transaction.open_table(SHIFTS).map_err(database_error)?;
        transaction.open_table(AUDIT).map_err(database_error)?;
        transaction.commit().map_err(database_error)?;
        let splits = read_splits(&database)?;
        Ok(Self { database, published: watch::Sender::new(Arc::new(splits)), writer: Mutex::new(()) })
    }

    /// The splits as they are, and as they change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Splits>> {
        self.published.subscribe()
    }

    /// The splits as they are.
    pub fn splits(&self) -> Arc<Splits> {
        Arc::clone(&self.published.borrow())
    }

    /// Writes a split; durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::Stale`] when `expected` is not the stored version, [`StoreError::Shifting`], or when the disk fails.
    pub fn set(
        &self,
        service: &ObjectName,
        backends: &[SplitBackend],
        expected: Option<u64>,
        author: &Author,
    ) -> Result<Arc<Record>, StoreError> {
        let written = self.write_by_hand(service, Change::Set(backends), expected, author, "set")?;
        written.after.ok_or(StoreError::Missing)
    }

    /// Deletes a split; durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Stale`] when `expected` is not the stored version, [`StoreError::Shifting`],
    /// or when the disk fails.
    pub fn delete(&self, service: &ObjectName, expected: Option<u64>, author: &Author) -> Result<(), StoreError> {
        self.write_by_hand(service, Change::Delete, expected, author, "delete").map(drop)
    }

    fn write_by_hand(
        &self,
        service: &ObjectName,
        change: Change<'_>,
        expected: Option<u64>,
        author: &Author,
        action: &str,
    ) -> Result<Written, StoreError> {
        let _order = self.writer.lock();
        let transaction = begin(&self.database)?;
        refuse_while_shifting(&transaction, service)?;
        let written = write_split(&transaction, service, change, expected, author)?;
        let entry = AuditEntry {
            time: author.at,
            who: author.who.clone(),
            action: action.to_owned(),
            from: written.before.clone(),
            to: written.backends(),
            version: written.version(),
            reason: String::new(),
            figures: None,
        };
        write_audit(&transaction, service, &entry)?;
        transaction.commit().map_err(database_error)?;
        self.publish(service, written.after.clone());
        Ok(written)
    }

    /// Writes a step of a shift; durable when this returns. Returns the split's version then; 0: there is none.
    ///
    /// # Errors
    /// [`StoreError::Stale`] when the split has another version than is expected, [`StoreError::Shifting`] when the shift
    /// begins while another is active, or when the disk fails.
    pub fn shift(&self, service: &ObjectName, write: &ShiftWrite<'_>, author: &Author) -> Result<u64, StoreError> {
        let _order = self.writer.lock();
        let transaction = begin(&self.database)?;
        if write.begins {
            refuse_while_shifting(&transaction, service)?;
        }
        let written = write_split(&transaction, service, write.change, Some(write.expected), author)?;
        let version = written.version();
        let mut shift = write.shift.clone();
        shift.machine.version = version;
        shift.updated_at = author.at;
        let row = serde_json::to_vec(&ShiftRow::of(&shift)).map_err(|error| damaged(service, error))?;
        {
            let mut shifts = transaction.open_table(SHIFTS).map_err(database_error)?;
            shifts.insert(service.to_string().as_str(), row.as_slice()).map_err(database_error)?;
        }
        let entry = AuditEntry {
            time: author.at,
            who: author.who.clone(),
            action: write.action.to_owned(),
            from: written.before.clone(),
            to: written.backends(),
            version,
            reason: write.reason.to_owned(),
            figures: write.figures.cloned(),
        };
        write_audit(&transaction, service, &entry)?;
        transaction.commit().map_err(database_error)?;
        if !matches!(write.change, Change::Keep) {
            self.publish(service, written.after);
        }
        Ok(version)
    }

    /// The latest shift of each Service that ever had one.
    ///
    /// # Errors
    /// When the disk fails, or what is stored makes no sense.
    pub fn shifts(&self) -> Result<BTreeMap<ObjectName, StoredShift>, StoreError> {
        let transaction = self.database.begin_read().map_err(database_error)?;
        let table = transaction.open_table(SHIFTS).map_err(database_error)?;
        let mut shifts = BTreeMap::new();
        for entry in table.iter().map_err(database_error)? {
            let (name, bytes) = entry.map_err(database_error)?;
            let service = object_name(name.value());
            let row: ShiftRow = serde_json::from_slice(bytes.value()).map_err(|error| damaged(&service, error))?;
            let shift = row.into_shift(service.clone()).map_err(|error| damaged(&service, error))?;
            shifts.insert(service, shift);
        }
        Ok(shifts)
    }

    /// What was done to a Service's traffic, the latest first, at most `limit` entries.
    ///
    /// # Errors
    /// When the disk fails, or what is stored makes no sense.
    pub fn audit(&self, service: &ObjectName, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let transaction = self.database.begin_read().map_err(database_error)?;
        let table = transaction.open_table(AUDIT).map_err(database_error)?;
        let name = service.to_string();
        let mut entries = Vec::new();
        for entry in
            table.range((name.as_str(), 0)..=(name.as_str(), u64::MAX)).map_err(database_error)?.rev().take(limit)
        {
            let (_, bytes) = entry.map_err(database_error)?;
            let row: AuditRow = serde_json::from_slice(bytes.value()).map_err(|error| damaged(service, error))?;
            entries.push(row.into_entry());
        }
        Ok(entries)
    }

    fn publish(&self, service: &ObjectName, record: Option<Arc<Record>>) {
        self.published.send_modify(|splits| match record {
            Some(record) => {
                Arc::make_mut(splits).insert(service.clone(), record);
            }
            None => {
                Arc::make_mut(splits).remove(service);
            }
        });
    }
}

impl Written {
    fn version(&self) -> u64 {
        self.after.as_ref().map_or(0, |record| record.split.version)
    }

    fn backends(&self) -> Option<Vec<SplitBackend>> {
        self.after.as_ref().map(|record| record.split.backends.clone())
    }
}

fn begin(database: &Database) -> Result<WriteTransaction, StoreError> {
    let mut transaction = database.begin_write().map_err(database_error)?;
    transaction.set_durability(Durability::Immediate).map_err(database_error)?;
    // Costs a second page a commit; opening after a crash is then instant.
    transaction.set_quick_repair(true);
    Ok(transaction)
}

fn refuse_while_shifting(transaction: &WriteTransaction, service: &ObjectName) -> Result<(), StoreError> {
    let shifts = transaction.open_table(SHIFTS).map_err(database_error)?;
    let Some(bytes) = shifts.get(service.to_string().as_str()).map_err(database_error)? else { return Ok(()) };
    let row: ShiftRow = serde_json::from_slice(bytes.value()).map_err(|error| damaged(service, error))?;
    if row.is_active() { Err(StoreError::Shifting(row.summary())) } else { Ok(()) }
}

fn write_split(
    transaction: &WriteTransaction,
    service: &ObjectName,
    change: Change<'_>,
    expected: Option<u64>,
    author: &Author,
) -> Result<Written, StoreError> {
    let name = service.to_string();
    let mut splits = transaction.open_table(SPLITS).map_err(database_error)?;
    let mut versions = transaction.open_table(VERSIONS).map_err(database_error)?;
    let current = splits.get(name.as_str()).map_err(database_error)?;
    let current = current.map(|bytes| read_split(service, bytes.value())).transpose()?;
    let latest = versions.get(name.as_str()).map_err(database_error)?.map_or(0, |version| version.value());
    if current.is_none() && matches!(change, Change::Delete) {
        return Err(StoreError::Missing);
    }
    check_version(expected, if current.is_some() { latest } else { 0 })?;
    let before = current.as_ref().map(|record| record.split.backends.clone());
    let after = match change {
        Change::Keep => current.map(Arc::new),
        Change::Set(backends) => {
            let row =
                SplitRow { version: latest + 1, updated_at: milliseconds(author.at), backends: rows::rows(backends) };
            let bytes = serde_json::to_vec(&row).map_err(|error| damaged(service, error))?;
            splits.insert(name.as_str(), bytes.as_slice()).map_err(database_error)?;
            versions.insert(name.as_str(), row.version).map_err(database_error)?;
            Some(Arc::new(row.into_record(service.clone())))
        }
        Change::Delete => {
            splits.remove(name.as_str()).map_err(database_error)?;
            None
        }
    };
    Ok(Written { before, after })
}

/// Adds an entry; the oldest go when there are too many.
fn write_audit(transaction: &WriteTransaction, service: &ObjectName, entry: &AuditEntry) -> Result<(), StoreError> {
    let name = service.to_string();
    let bytes = serde_json::to_vec(&AuditRow::of(entry)).map_err(|error| damaged(service, error))?;
    let mut audit = transaction.open_table(AUDIT).map_err(database_error)?;
    let all = (name.as_str(), 0)..=(name.as_str(), u64::MAX);
    let last = match audit.range(all).map_err(database_error)?.next_back() {
        Some(last) => last.map_err(database_error)?.0.value().1,
        None => 0,
    };
    audit.insert((name.as_str(), last + 1), bytes.as_slice()).map_err(database_error)?;
    if let Some(old) = (last + 1).checked_sub(MAX_AUDIT) {
        audit.remove((name.as_str(), old)).map_err(database_error)?;
    }
    Ok(())
}

fn check_version(expected: Option<u64>, current: u64) -> Result<(), StoreError> {
    match expected {
        Some(expected) if expected != current => Err(StoreError::Stale { expected, current }),
        _ => Ok(()),
    }
}

fn read_splits(database: &Database) -> Result<Splits, StoreError> {
    let transaction = database.begin_read().map_err(database_error)?;
    let table = transaction.open_table(SPLITS).map_err(database_error)?;
    let mut splits = Splits::new();
    for entry in table.iter().map_err(database_error)? {
        let (name, bytes) = entry.map_err(database_error)?;
        let service = object_name(name.value());
        let record = read_split(&service, bytes.value())?;
        splits.insert(service, Arc::new(record));
    }
    Ok(splits)
}

fn read_split(service: &ObjectName, bytes: &[u8]) -> Result<Record, StoreError> {
    let row: SplitRow = serde_json::from_slice(bytes).map_err(|error| damaged(service, error))?;
    Ok(row.into_record(service.clone()))
}

fn object_name(key: &str) -> ObjectName {
    let (namespace, service) = key.split_once('/').unwrap_or_default();
    ObjectName::new(namespace, service)
}

fn database_error(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Database(Box::new(error.into()))
}

fn damaged(service: &ObjectName, reason: impl ToString) -> StoreError {
    StoreError::Damaged { service: service.to_string(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests;
