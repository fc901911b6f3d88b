//! Splits on disk: a write is durable before it is answered, and only then is it published.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Record, Splits};
use crate::mesh::{ObjectName, Split, SplitBackend};

/// `NAMESPACE/SERVICE` -> a [`Row`] as JSON.
const SPLITS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("splits");
/// `NAMESPACE/SERVICE` -> the latest version ever given, also of splits that are deleted.
const VERSIONS: TableDefinition<'_, &str, u64> = TableDefinition::new("versions");

/// The splits, in one redb file. All methods block: call them where blocking is fine.
pub struct Store {
    database: Database,
    published: watch::Sender<Arc<Splits>>,
    /// Held from before a transaction until its result is published, so that both have the same order.
    writer: Mutex<()>,
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
    /// The file could not be read or written.
    #[error("the store weft.redb failed; is the disk full, or does another weft-control use the same WEFT_STATE_DIR?")]
    Database(#[source] Box<redb::Error>),
    /// The write was given up, as at shutdown.
    #[error("the write was interrupted; whether it was done is not known")]
    Interrupted(#[source] tokio::task::JoinError),
    /// A stored split makes no sense.
    #[error("the stored split of {service} is damaged")]
    Damaged {
        /// `NAMESPACE/SERVICE`
        service: String,
        /// What the decoder said.
        source: serde_json::Error,
    },
}

/// A stored split.
#[derive(Serialize, Deserialize)]
struct Row {
    version: u64,
    /// Milliseconds since the epoch.
    updated_at: u64,
    backends: Vec<RowBackend>,
}

#[derive(Serialize, Deserialize)]
struct RowBackend {
    service: String,
    port: Option<u16>,
    weight: u32,
}

impl From<&SplitBackend> for RowBackend {
    fn from(backend: &SplitBackend) -> Self {
        Self { service: backend.service.to_string(), port: backend.port, weight: backend.weight }
    }
}

impl From<RowBackend> for SplitBackend {
    fn from(row: RowBackend) -> Self {
        Self { service: row.service.into(), port: row.port, weight: row.weight }
    }
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
        transaction.commit().map_err(database_error)?;
        let splits = read_all(&database)?;
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

    /// Writes a split; durable when this returns. `now` is kept in milliseconds.
    ///
    /// # Errors
    /// [`StoreError::Stale`] when `expected` is not the stored version, or when the disk fails.
    pub fn set(
        &self,
        service: &ObjectName,
        backends: &[SplitBackend],
        expected: Option<u64>,
        now: SystemTime,
    ) -> Result<Arc<Record>, StoreError> {
        let _order = self.writer.lock();
        let name = service.to_string();
        let transaction = begin(&self.database)?;
        let record = {
            let mut splits = transaction.open_table(SPLITS).map_err(database_error)?;
            let mut versions = transaction.open_table(VERSIONS).map_err(database_error)?;
            let current = splits.get(name.as_str()).map_err(database_error)?.is_some();
            let latest = versions.get(name.as_str()).map_err(database_error)?.map_or(0, |version| version.value());
            check_version(expected, if current { latest } else { 0 })?;
            let row = Row {
                version: latest + 1,
                updated_at: milliseconds(now),
                backends: backends.iter().map(RowBackend::from).collect(),
            };
            let bytes = serde_json::to_vec(&row).map_err(|source| damaged(&name, source))?;
            splits.insert(name.as_str(), bytes.as_slice()).map_err(database_error)?;
            versions.insert(name.as_str(), row.version).map_err(database_error)?;
            Arc::new(row.into_record(service.clone()))
        };
        transaction.commit().map_err(database_error)?;
        self.published.send_modify(|splits| {
            Arc::make_mut(splits).insert(service.clone(), Arc::clone(&record));
        });
        Ok(record)
    }

    /// Deletes a split; durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Stale`] when `expected` is not the stored version, or when the disk fails.
    pub fn delete(&self, service: &ObjectName, expected: Option<u64>) -> Result<(), StoreError> {
        let _order = self.writer.lock();
        let name = service.to_string();
        let transaction = begin(&self.database)?;
        {
            let mut splits = transaction.open_table(SPLITS).map_err(database_error)?;
            let versions = transaction.open_table(VERSIONS).map_err(database_error)?;
            if splits.get(name.as_str()).map_err(database_error)?.is_none() {
                return Err(StoreError::Missing);
            }
            let latest = versions.get(name.as_str()).map_err(database_error)?.map_or(0, |version| version.value());
            check_version(expected, latest)?;
            splits.remove(name.as_str()).map_err(database_error)?;
        }
        transaction.commit().map_err(database_error)?;
        self.published.send_modify(|splits| {
            Arc::make_mut(splits).remove(service);
        });
        Ok(())
    }
}

fn begin(database: &Database) -> Result<WriteTransaction, StoreError> {
    let mut transaction = database.begin_write().map_err(database_error)?;
    transaction.set_durability(Durability::Immediate).map_err(database_error)?;
    // Costs a second page a commit; opening after a crash is then instant.
    transaction.set_quick_repair(true);
    Ok(transaction)
}

fn check_version(expected: Option<u64>, current: u64) -> Result<(), StoreError> {
    match expected {
        Some(expected) if expected != current => Err(StoreError::Stale { expected, current }),
        _ => Ok(()),
    }
}

fn read_all(database: &Database) -> Result<Splits, StoreError> {
    let transaction = database.begin_read().map_err(database_error)?;
    let table = transaction.open_table(SPLITS).map_err(database_error)?;
    let mut splits = Splits::new();
    for entry in table.iter().map_err(database_error)? {
        let (name, bytes) = entry.map_err(database_error)?;
        let row: Row = serde_json::from_slice(bytes.value()).map_err(|source| damaged(name.value(), source))?;
        let (namespace, service) = name.value().split_once('/').unwrap_or_default();
        let service = ObjectName::new(namespace, service);
        splits.insert(service.clone(), Arc::new(row.into_record(service)));
    }
    Ok(splits)
}

fn database_error(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Database(Box::new(error.into()))
}

fn damaged(name: &str, source: serde_json::Error) -> StoreError {
    StoreError::Damaged { service: name.to_owned(), source }
}

fn milliseconds(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

impl Row {
    fn into_record(self, service: ObjectName) -> Record {
        Record {
            updated_at: UNIX_EPOCH + Duration::from_millis(self.updated_at),
            split: Arc::new(Split {
                service,
                version: self.version,
                backends: self.backends.into_iter().map(SplitBackend::from).collect(),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
