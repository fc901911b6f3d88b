//! What the watches of a cluster said, put together.

use std::collections::BTreeMap;

use super::watch::{Message, Read};
use crate::mesh::{Conflict, Conflicts, Manifests, ObjectName};
use crate::registry::fault::{FieldPath, Problem};
use crate::registry::manifest::{self, Kind, Object, Reading};
use crate::registry::{Fault, Generations, ObjectRef, Severity};

/// The objects of a cluster, with the last good state of what is wrong now.
#[derive(Debug, Default)]
pub(super) struct State {
    kinds: BTreeMap<Kind, OfKind>,
    /// What is in force of them, kept up with them.
    manifests: Manifests,
    conflicts: Conflicts,
    changes: Changes,
}

/// What became different since it was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// The objects in force.
    pub(super) objects: bool,
    /// Faults or generations, or they may be.
    pub(super) others: bool,
}

/// The objects of one kind.
#[derive(Debug, Default)]
struct OfKind {
    objects: BTreeMap<ObjectName, Entry>,
    /// While all are listed anew: those that came by now.
    listed: Option<BTreeMap<ObjectName, Entry>>,
    /// Whether they were all listed once.
    was_read: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    /// The one in force; `None`: there was no good one.
    object: Option<Object>,
    faults: Vec<Fault>,
    generation: i64,
}

impl State {
    /// Takes in what a watch says.
    pub(super) fn take(&mut self, message: Message) {
        match message {
            Message::Begin(kind) => self.kinds.entry(kind).or_default().listed = Some(BTreeMap::new()),
            Message::Listed(kind, read) => {
                let of_kind = self.kinds.entry(kind).or_default();
                let entry = entry(kind, &read, of_kind.objects.get(&read.name));
                of_kind.listed.get_or_insert_default().insert(read.name, entry);
            }
            Message::Done(kind) => self.replace(kind),
            Message::Applied(kind, read) => {
                let of_kind = self.kinds.entry(kind).or_default();
                let entry = entry(kind, &read, of_kind.objects.get(&read.name));
                self.put(kind, read.name, entry);
            }
            Message::Deleted(kind, name) => self.delete(kind, &name),
        }
    }

    /// Whether all objects of a kind were listed once.
    pub(super) fn was_read(&self, kind: Kind) -> bool {
        self.kinds.get(&kind).is_some_and(|of_kind| of_kind.was_read)
    }

    /// What became different since this was asked last.
    pub(super) fn changes(&mut self) -> Changes {
        let mut changes = std::mem::take(&mut self.changes);
        changes.others |= changes.objects && self.conflicts.follow(&self.manifests);
        changes
    }

    /// The objects in force.
    pub(super) fn manifests(&self) -> &Manifests {
        &self.manifests
    }

    /// What is wrong with objects, each by itself and all together.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let entries = self.kinds.values().flat_map(|of_kind| of_kind.objects.values());
        let mut faults: Vec<_> = entries.flat_map(|entry| entry.faults.iter().cloned()).collect();
        faults.extend(self.conflicts.found().iter().map(|conflict| self.conflict(conflict)));
        faults.sort();
        faults
    }

    /// The generation of each object that has a status.
    pub(super) fn generations(&self) -> Generations {
        let kinds = self.kinds.iter().filter(|(kind, _)| kind.has_status());
        let objects = kinds.flat_map(|(kind, of_kind)| of_kind.objects.iter().map(|object| (kind.name(), object)));
        objects.map(|(kind, (name, entry))| ((kind, name.clone()), entry.generation)).collect()
    }

    /// The listed objects are all that there are.
    fn replace(&mut self, kind: Kind) {
        let of_kind = self.kinds.entry(kind).or_default();
        let listed = of_kind.listed.take().unwrap_or_default();
        of_kind.was_read = true;
        let gone: Vec<_> = of_kind.objects.keys().filter(|name| !listed.contains_key(*name)).cloned().collect();
        gone.iter().for_each(|name| self.delete(kind, name));
        listed.into_iter().for_each(|(name, entry)| self.put(kind, name, entry));
    }

    fn put(&mut self, kind: Kind, name: ObjectName, entry: Entry) {
        let objects = &mut self.kinds.entry(kind).or_default().objects;
        let old = objects.get(&name);
        self.changes.others |= old.is_none_or(|old| old.faults != entry.faults || old.generation != entry.generation);
        self.changes.objects |= match &entry.object {
            Some(object) => object.insert(&name, &mut self.manifests),
            None => manifest::remove(kind, &name, &mut self.manifests),
        };
        objects.insert(name, entry);
    }

    fn delete(&mut self, kind: Kind, name: &ObjectName) {
        let Some(of_kind) = self.kinds.get_mut(&kind) else { return };
        self.changes.others |= of_kind.objects.remove(name).is_some();
        self.changes.objects |= manifest::remove(kind, name, &mut self.manifests);
    }

    /// A conflict as a fault of the object that is its subject.
    fn conflict(&self, conflict: &Conflict) -> Fault {
        let (kind, name) = manifest::subject(&conflict.subject);
        let entry = self.kinds.get(&kind).and_then(|of_kind| of_kind.objects.get(&name));
        Fault {
            file: format!("{kind} {name}"),
            line: 0,
            field: FieldPath::of_steps(&conflict.field).to_string(),
            message: conflict.message.clone(),
            severity: Severity::Error,
            object: Some(ObjectRef { kind: kind.name(), generation: entry.map_or(0, |entry| entry.generation), name }),
        }
    }
}

/// What is in force of an object, after what is known of it from before.
fn entry(kind: Kind, read: &Read, old: Option<&Entry>) -> Entry {
    let known = old.and_then(|old| old.object.as_ref());
    let (object, outcome) = match (&read.reading, known) {
        (Reading::Object(_, object), Some(same)) if same == object => (Some(same.clone()), ""),
        (Reading::Object(_, object), _) => (Some(object.clone()), ""),
        (Reading::Nothing, _) => (None, ""),
        (Reading::Invalid(_), Some(good)) => (Some(good.clone()), "; its last good state stays in force"),
        (Reading::Invalid(_), None) => (None, "; the object is left out"),
    };
    let fault = |problem: &Problem| Fault {
        file: named(kind, &read.name),
        line: 0,
        field: problem.field.to_string(),
        message: match problem.severity {
            Severity::Error => format!("{}{outcome}", problem.message),
            Severity::Warning => problem.message.clone(),
        },
        severity: problem.severity,
        object: Some(ObjectRef { kind: kind.name(), name: read.name.clone(), generation: read.generation }),
    };
    Entry { object, faults: read.report.0.iter().map(fault).collect(), generation: read.generation }
}

/// An object as people name it.
fn named(kind: Kind, name: &ObjectName) -> String {
    match name.namespace.as_ref() {
        "" => format!("{kind} {}", name.name),
        _ => format!("{kind} {name}"),
    }
}

#[cfg(test)]
mod tests;
