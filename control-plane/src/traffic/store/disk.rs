//! One redb file: a transaction for each write.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use tokio::sync::watch;

use super::rows::{AuditRow, ShiftRow, SplitRow, milliseconds, rows};
use super::{
    AuditEntry, Author, Change, MAX_AUDIT, ShiftWrite, ShiftWritten, Store, StoreError, StoredShifts, check_version,
    damaged,
};
use crate::mesh::{ObjectName, SplitBackend};
use crate::traffic::{Record, Splits};

/// `NAMESPACE/SERVICE` -> a [`SplitRow`] as JSON.
const SPLITS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("splits");
/// `NAMESPACE/SERVICE` -> the latest version ever given, also of splits that are deleted.
const VERSIONS: TableDefinition<'_, &str, u64> = TableDefinition::new("versions");
/// `NAMESPACE/SERVICE` -> its latest shift, a [`ShiftRow`] as JSON.
const SHIFTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("shifts");
/// `NAMESPACE/SERVICE` and a number that goes up -> an [`AuditRow`] as JSON.
const AUDIT: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("audit");

/// The store of a control plane without a cluster, in one redb file.
pub struct DiskStore {
    database: Database,
    published: watch::Sender<Arc<Splits>>,
    shifts: watch::Sender<Arc<StoredShifts>>,
    /// Held from before a transaction until its result is published, so that both have the same order.
    writer: Mutex<()>,
}

/// What a transaction did to a split.
struct Written {
    before: Option<Vec<SplitBackend>>,
    /// `None`: there is none any more.
    after: Option<Arc<Record>>,
}

impl DiskStore {
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
        let published = watch::Sender::new(Arc::new(read_splits(&database)?));
        let shifts = watch::Sender::new(Arc::new(read_shifts(&database)?));
        Ok(Self { database, published, shifts, writer: Mutex::new(()) })
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
        refuse_while_shifting(stored_shift(&transaction, service)?.as_ref())?;
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

impl Store for DiskStore {
    fn subscribe(&self) -> watch::Receiver<Arc<Splits>> {
        self.published.subscribe()
    }

    fn shifts(&self) -> watch::Receiver<Arc<StoredShifts>> {
        self.shifts.subscribe()
    }

    fn set(
        &self,
        service: &ObjectName,
        backends: &[SplitBackend],
        expected: Option<u64>,
        author: &Author,
    ) -> Result<Arc<Record>, StoreError> {
        let written = self.write_by_hand(service, Change::Set(backends), expected, author, "set")?;
        written.after.ok_or(StoreError::Missing)
    }

    fn delete(&self, service: &ObjectName, expected: Option<u64>, author: &Author) -> Result<(), StoreError> {
        self.write_by_hand(service, Change::Delete, expected, author, "delete").map(drop)
    }

    fn shift(&self, service: &ObjectName, write: &ShiftWrite<'_>, author: &Author) -> Result<ShiftWritten, StoreError> {
        let _order = self.writer.lock();
        let transaction = begin(&self.database)?;
        let stored = stored_shift(&transaction, service)?;
        let known = stored.as_ref().map_or(0, |row| row.revision);
        match write.begins {
            true => refuse_while_shifting(stored.as_ref())?,
            false if write.shift.revision != known => return Err(StoreError::Overtaken),
            false => {}
        }
        let written = write_split(&transaction, service, write.change, Some(write.expected), author)?;
        let (version, revision) = (written.version(), known + 1);
        let mut shift = write.shift.clone();
        shift.machine.version = version;
        (shift.updated_at, shift.revision) = (author.at, revision);
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
        self.shifts.send_modify(|shifts| {
            Arc::make_mut(shifts).insert(service.clone(), Arc::new(shift));
        });
        Ok(ShiftWritten { version, revision })
    }

    fn audit(&self, service: &ObjectName, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
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

fn stored_shift(transaction: &WriteTransaction, service: &ObjectName) -> Result<Option<ShiftRow>, StoreError> {
    let shifts = transaction.open_table(SHIFTS).map_err(database_error)?;
    let Some(bytes) = shifts.get(service.to_string().as_str()).map_err(database_error)? else { return Ok(None) };
    serde_json::from_slice(bytes.value()).map(Some).map_err(|error| damaged(service, error))
}

fn refuse_while_shifting(stored: Option<&ShiftRow>) -> Result<(), StoreError> {
    match stored.filter(|row| row.is_active()) {
        Some(row) => Err(StoreError::Shifting(row.summary())),
        None => Ok(()),
    }
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
            let row = SplitRow { version: latest + 1, updated_at: milliseconds(author.at), backends: rows(backends) };
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

fn read_shifts(database: &Database) -> Result<StoredShifts, StoreError> {
    let transaction = database.begin_read().map_err(database_error)?;
    let table = transaction.open_table(SHIFTS).map_err(database_error)?;
    let mut shifts = StoredShifts::new();
    for entry in table.iter().map_err(database_error)? {
        let (name, bytes) = entry.map_err(database_error)?;
        let service = object_name(name.value());
        let row: ShiftRow = serde_json::from_slice(bytes.value()).map_err(|error| damaged(&service, error))?;
        let shift = row.into_shift(service.clone()).map_err(|error| damaged(&service, error))?;
        shifts.insert(service, Arc::new(shift));
    }
    Ok(shifts)
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

#[cfg(test)]
mod tests;
