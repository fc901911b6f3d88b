//! What is subscribed to, by whom, and how each subscription stands.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use crate::discovery::delta::Key;
use crate::discovery::state::{ResourceState, ResourceStatus};

/// A change of the subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::discovery) enum Change {
    Subscribe(Key),
    Unsubscribe(Key),
}

/// Whoever needs a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum User {
    /// This pod's own policies.
    Inbound,
    /// An address that the application dials.
    Dialled(SocketAddr),
}

/// The subscriptions, sorted by kind and name.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: BTreeMap<Key, Slot>,
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Slot {
    users: BTreeSet<User>,
    status: ResourceStatus,
    /// The version in force; empty if there is none.
    version: String,
    since: Instant,
    /// Why the newest version was refused, if it was.
    error: Option<String>,
}

impl Slot {
    fn new(now: Instant) -> Self {
        Self {
            users: BTreeSet::new(),
            status: ResourceStatus::Requested,
            version: String::new(),
            since: now,
            error: None,
        }
    }
}

impl Slots {
    /// Subscribes, if this is the first user.
    pub(super) fn add_user(&mut self, key: &Key, user: User, now: Instant) {
        self.slot(key, now).users.insert(user);
    }

    fn slot(&mut self, key: &Key, now: Instant) -> &mut Slot {
        self.slots.entry(key.clone()).or_insert_with(|| {
            self.changes.push(Change::Subscribe(key.clone()));
            Slot::new(now)
        })
    }

    /// Unsubscribes, if this was the last user. Returns whether it was.
    pub(super) fn remove_user(&mut self, key: &Key, user: User) -> bool {
        let Some(slot) = self.slots.get_mut(key) else { return false };
        slot.users.remove(&user);
        if !slot.users.is_empty() {
            return false;
        }
        self.slots.remove(key);
        self.changes.push(Change::Unsubscribe(key.clone()));
        true
    }

    pub(super) fn users(&self, key: &Key) -> impl Iterator<Item = User> {
        self.slots.get(key).into_iter().flat_map(|slot| slot.users.iter().copied())
    }

    pub(super) fn status(&self, key: &Key) -> Option<ResourceStatus> {
        self.slots.get(key).map(|slot| slot.status)
    }

    /// Whether there is nothing to do for this version: it is in force, or nobody wants the resource any more.
    pub(super) fn is_current(&self, key: &Key, version: &str) -> bool {
        self.slots.get(key).is_none_or(|slot| {
            slot.status == ResourceStatus::Held
                && slot.error.is_none()
                && !version.is_empty()
                && slot.version == version
        })
    }

    /// A good version came.
    pub(super) fn hold(&mut self, key: &Key, version: &str, now: Instant) {
        if let Some(slot) = self.slots.get_mut(key) {
            let unchanged = slot.status == ResourceStatus::Held && slot.version == version;
            let since = if unchanged { slot.since } else { now };
            version.clone_into(&mut slot.version);
            (slot.status, slot.since, slot.error) = (ResourceStatus::Held, since, None);
        }
    }

    /// A bad version came; the last good one stays.
    pub(super) fn refuse(&mut self, key: &Key, fault: &str, now: Instant) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.error = Some(fault.to_owned());
            if slot.status != ResourceStatus::Held {
                (slot.status, slot.since) = (ResourceStatus::Refused, now);
            }
        }
    }

    /// The resource does not exist. Returns whether that is news.
    pub(super) fn remove_value(&mut self, key: &Key, now: Instant) -> bool {
        let Some(slot) = self.slots.get_mut(key) else { return false };
        slot.error = None;
        if slot.status == ResourceStatus::DoesNotExist {
            return false;
        }
        slot.version.clear();
        (slot.status, slot.since) = (ResourceStatus::DoesNotExist, now);
        true
    }

    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    pub(super) fn subscriptions(&self) -> impl Iterator<Item = (Key, Option<String>)> {
        self.slots.iter().map(|(key, slot)| {
            let held = slot.status == ResourceStatus::Held;
            (key.clone(), held.then(|| slot.version.clone()))
        })
    }

    pub(super) fn state(&self, now: Instant) -> Vec<ResourceState> {
        let state = |(key, slot): (&Key, &Slot)| ResourceState {
            kind: key.kind,
            name: key.name.as_ref().to_owned(),
            status: slot.status,
            version: slot.version.clone(),
            age: now.saturating_duration_since(slot.since),
            error: slot.error.clone(),
            policy: None,
        };
        self.slots.iter().map(state).collect()
    }
}
