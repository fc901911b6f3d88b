//! What a watch told and what was written since: neither takes the other back.

use std::collections::{BTreeMap, HashSet};

use crate::mesh::ObjectName;

/// Deleted objects that a late event could bring back; more are forgotten, oldest uid or not.
const MAX_GONE: usize = 10_000;

/// Objects of one kind, each at its latest state.
#[derive(Debug)]
pub(super) struct Known<T> {
    objects: BTreeMap<ObjectName, Object<T>>,
    /// The uids of what was deleted here, until the watch tells of it.
    gone: HashSet<String>,
    /// What a list that is under way has, and what was written meanwhile.
    listed: Option<HashSet<ObjectName>>,
}

/// Which state of which object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    pub(super) uid: String,
    pub(super) resource_version: String,
}

#[derive(Debug)]
struct Object<T> {
    at: At,
    value: T,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), gone: HashSet::new(), listed: None }
    }
}

impl<T> Known<T> {
    pub(super) fn get(&self, name: &ObjectName) -> Option<&T> {
        self.objects.get(name).map(|object| &object.value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ObjectName, &T)> {
        self.objects.iter().map(|(name, object)| (name, &object.value))
    }

    /// Takes a state in, unless a later one is known.
    pub(super) fn apply(&mut self, name: &ObjectName, at: At, value: T) {
        if let Some(listed) = &mut self.listed {
            listed.insert(name.clone());
        }
        let older = |known: &Object<T>| at.is_older_than(&known.at);
        if self.gone.contains(&at.uid) || self.objects.get(name).is_some_and(older) {
            return;
        }
        self.objects.insert(name.clone(), Object { at, value });
    }

    /// It was deleted, as the watch says.
    pub(super) fn deleted(&mut self, name: &ObjectName, uid: &str) {
        self.gone.remove(uid);
        if self.objects.get(name).is_some_and(|known| known.at.uid == uid) {
            self.objects.remove(name);
        }
    }

    /// It was deleted by us: events of before may still come.
    pub(super) fn delete(&mut self, name: &ObjectName, uid: &str) {
        self.deleted(name, uid);
        if self.gone.len() < MAX_GONE {
            self.gone.insert(uid.to_owned());
        }
    }

    /// A list begins.
    pub(super) fn list(&mut self) {
        self.listed = Some(HashSet::new());
    }

    /// A list has ended: what is not in it is gone.
    pub(super) fn end_list(&mut self) {
        if let Some(listed) = self.listed.take() {
            self.objects.retain(|name, _| listed.contains(name));
            self.gone.clear();
        }
    }
}

impl At {
    /// Whether it is an older state than another: the API server's versions are numbers that rise.
    fn is_older_than(&self, other: &Self) -> bool {
        match (self.resource_version.parse::<u64>(), other.resource_version.parse::<u64>()) {
            (Ok(own), Ok(other)) => own < other,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
