//! Splits and shifts as objects of a Kubernetes cluster, for all replicas of the control plane.
//!
//! ```text
//! HTTPRoute weft-SERVICE   the split: people see it, and what they edit is in force
//! TrafficShift SERVICE     the shift, the audit trail, what is about to be written
//!
//! write: read both ─> try the route (dry run) ─> record what is about to be ─> the route ─> strike it off the record
//!                      │ another tool's fields?   │ of several writers one wins
//!                      │ refused, or taken over   │
//!                                                 └ whoever dies after this: the leader finishes it (keeper)
//! ```
//!
//! A version of a split is a number in an annotation plus `metadata.generation`: so edits by hand have versions too. What
//! is read comes from a watch; a write is known here at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::Client;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use self::known::Known;
use self::record::{Pending, Status};
use self::route::SplitRoute;
use super::{
    AuditEntry, Author, Change, ShiftWrite, ShiftWritten, Store, StoreError, StoredShift, StoredShifts, damaged,
};
use crate::mesh::{Manifests, ObjectName, Split, SplitBackend};
use crate::traffic::{Record, Splits};

mod keeper;
mod known;
mod objects;
mod record;
mod route;
#[cfg(test)]
mod testing;
mod watches;
mod write;

pub use route::{SPLIT_LABEL, is_split, split_of_route};

use write::Wish;

/// The store of a control plane that runs in a cluster.
pub struct ClusterStore {
    client: Client,
    handle: Handle,
    manifests: watch::Receiver<Arc<Manifests>>,
    state: Mutex<State>,
    splits: watch::Sender<Arc<Splits>>,
    shifts: watch::Sender<Arc<StoredShifts>>,
}

/// What is known of the objects.
#[derive(Default)]
struct State {
    routes: Known<SplitRoute>,
    records: Known<Recorded>,
    /// The highest version of each split that was seen, for those whose record lacks it.
    latest: BTreeMap<ObjectName, u64>,
}

/// What is kept in memory of a record.
#[derive(Clone, Debug)]
struct Recorded {
    split_version: u64,
    pending: Option<Pending>,
    shift: Option<Arc<StoredShift>>,
}

impl ClusterStore {
    /// A store that knows nothing yet. `manifests` tell which ports backends have.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(client: Client, manifests: watch::Receiver<Arc<Manifests>>) -> Arc<Self> {
        Arc::new(Self {
            client,
            handle: Handle::current(),
            manifests,
            state: Mutex::default(),
            splits: watch::Sender::default(),
            shifts: watch::Sender::default(),
        })
    }

    /// Publishes what is known.
    fn publish(&self, state: &State) {
        self.splits.send_if_modified(|known| {
            let splits: Splits =
                state.routes.iter().map(|(name, route)| (name.clone(), published(known.get(name), route))).collect();
            let differs = **known != splits;
            if differs {
                *known = Arc::new(splits);
            }
            differs
        });
        self.shifts.send_if_modified(|known| {
            let shift = |(name, record): (&ObjectName, &Recorded)| Some((name.clone(), record.shift.clone()?));
            let shifts: StoredShifts = state.records.iter().filter_map(shift).collect();
            let differs = **known != shifts;
            if differs {
                *known = Arc::new(shifts);
            }
            differs
        });
    }

    /// The port that a reference has where its backend has none of its own: one that the Service has too, if there is one.
    fn stand_in(&self, service: &ObjectName, backend: &str) -> Option<u16> {
        let manifests = self.manifests.borrow();
        let backend = manifests.services.get(&ObjectName::new(Arc::clone(&service.namespace), backend))?;
        let dialled = manifests.services.get(service);
        let shared = dialled.and_then(|dialled| dialled.ports.iter().find(|port| backend.port(port.number).is_some()));
        shared.or(backend.ports.first()).map(|port| port.number)
    }

    /// Runs a call; for threads that may block.
    fn block<T>(&self, call: impl Future<Output = T>) -> T {
        self.handle.block_on(call)
    }
}

impl Store for ClusterStore {
    fn subscribe(&self) -> watch::Receiver<Arc<Splits>> {
        self.splits.subscribe()
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
        self.block(self.write(&Wish::by_hand(service, Change::Set(backends), expected, author, "set")))?;
        self.splits.borrow().get(service).cloned().ok_or(StoreError::Missing)
    }

    fn take_over(
        &self,
        service: &ObjectName,
        backends: &[SplitBackend],
        expected: Option<u64>,
        author: &Author,
    ) -> Result<Arc<Record>, StoreError> {
        let wish = Wish::by_hand(service, Change::Set(backends), expected, author, "set").taking_over();
        self.block(self.write(&wish))?;
        self.splits.borrow().get(service).cloned().ok_or(StoreError::Missing)
    }

    fn delete(&self, service: &ObjectName, expected: Option<u64>, author: &Author) -> Result<(), StoreError> {
        self.block(self.write(&Wish::by_hand(service, Change::Delete, expected, author, "delete"))).map(drop)
    }

    fn shift(&self, service: &ObjectName, write: &ShiftWrite<'_>, author: &Author) -> Result<ShiftWritten, StoreError> {
        self.block(self.write(&Wish::of_shift(service, write, author)))
    }

    fn audit(&self, service: &ObjectName, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let Some(object) = self.block(self.record(service))? else { return Ok(Vec::new()) };
        let status = Status::read(&object).map_err(|error| damaged(service, error))?;
        Ok(status.audit.into_iter().rev().take(limit).map(record::Audit::entry).collect())
    }

    fn is_settled(&self, service: &ObjectName) -> bool {
        let state = self.state.lock();
        let current = state.routes.get(service).map_or(0, |route| route.version);
        let pending = state.records.get(service).and_then(|record| record.pending.as_ref());
        pending.is_none_or(|pending| pending.expected != current)
    }
}

impl Recorded {
    /// # Errors
    /// With the field that makes no sense.
    fn of(service: &ObjectName, status: &Status) -> Result<Self, String> {
        let shift = status.shift.clone().map(|shift| shift.stored(service.clone())).transpose()?;
        Ok(Self { split_version: status.split_version, pending: status.pending.clone(), shift: shift.map(Arc::new) })
    }
}

/// A split as others see it; the one that they see where it is the same.
fn published(known: Option<&Arc<Record>>, route: &SplitRoute) -> Arc<Record> {
    let same = |record: &&Arc<Record>| {
        record.split.version == route.version
            && record.split.backends == route.backends
            && record.updated_at == route.written.0
    };
    known.filter(same).cloned().unwrap_or_else(|| {
        let (service, version) = (route.service.clone(), route.version);
        let split = Arc::new(Split { service, version, backends: route.backends.clone() });
        Arc::new(Record { updated_at: route.written.0, split })
    })
}
