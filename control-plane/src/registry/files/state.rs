//! What one file says, and what all of them say together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::mesh::{Conflict, Conflicts, Manifests, ObjectName};
use crate::registry::document::{self, Document, Source};
use crate::registry::fault::{FieldPath, Problem, Report};
use crate::registry::manifest::{self, Kind, Object, Reading};
use crate::registry::{Fault, ObjectRef, Origins, Severity};

type Key = (Kind, ObjectName);

/// What a file says, with the last good state of what is wrong in it now.
#[derive(Debug, Default)]
pub(in crate::registry) struct FileState {
    objects: BTreeMap<Key, Entry>,
    faults: Vec<Fault>,
}

/// An object, and where it is.
#[derive(Clone, Debug)]
struct Entry {
    line: u32,
    object: Object,
    /// What was read, of objects that can be in conflict with others.
    source: Option<Source>,
}

impl FileState {
    /// A file that cannot be read at all says what it said before.
    pub(super) fn unreadable(fault: Fault, old: &Self) -> Self {
        Self { objects: old.objects.clone(), faults: vec![fault] }
    }

    /// Reads a file's text. Objects that are as they were keep their `Arc`.
    pub(in crate::registry) fn read(file: &str, text: &str, old: &Self) -> Self {
        let mut state = Self::default();
        let mut kept = Vec::new();
        let mut unidentified = false;
        for document in document::split(text) {
            let mut report = Report::default();
            let reading = match document.value() {
                Ok(value) => manifest::read(&value, &mut report),
                Err(problem) => {
                    report.0.push(problem);
                    Reading::Invalid(None)
                }
            };
            let object = reading.key().map(object_ref);
            let outcome = match reading {
                Reading::Nothing => "",
                Reading::Object(key, object) => {
                    state.add(file, document, key, object, old);
                    ""
                }
                Reading::Invalid(Some(key)) if old.objects.contains_key(&key) => {
                    kept.push(key);
                    "; its last good state stays in force"
                }
                Reading::Invalid(Some(_)) => "; the object is left out",
                Reading::Invalid(None) => {
                    unidentified = true;
                    "; the document is left out, and what the file said before stays in force"
                }
            };
            state.faults.extend(report.0.into_iter().map(|problem| locate(file, document, problem, outcome, &object)));
        }
        if unidentified {
            // It may be any of them that can't be recognized any more.
            kept.extend(old.objects.keys().cloned());
        }
        for key in kept {
            if let Some(object) = old.objects.get(&key) {
                state.objects.entry(key).or_insert_with(|| object.clone());
            }
        }
        state
    }

    fn add(&mut self, file: &str, document: Document<'_>, key: Key, object: Object, old: &Self) {
        let line = document.line();
        if let Some(first) = self.objects.get(&key) {
            self.faults.push(duplicate(file, line, &key, &format!("{file}:{}", first.line)));
            return;
        }
        let object = match old.objects.get(&key) {
            Some(same) if same.object == object => same.object.clone(),
            _ => object,
        };
        let source = matches!(object, Object::Route(_) | Object::TrafficPolicy(_)).then(|| document.keep());
        self.objects.insert(key, Entry { line, object, source });
    }
}

/// The files put together, in the order of their names. Of two objects of one name the first is in force.
#[derive(Debug, Default)]
pub(in crate::registry) struct Merged {
    files: BTreeMap<Arc<str>, FileState>,
    manifests: Manifests,
    origins: Origins,
    /// The files that have an object, in order.
    holders: BTreeMap<Key, Vec<Arc<str>>>,
    /// The objects that are in several.
    duplicates: BTreeSet<Key>,
    conflicts: Conflicts,
}

impl Merged {
    /// What a file says.
    pub(super) fn file(&self, name: &str) -> Option<&FileState> {
        self.files.get(name)
    }

    /// The objects in force.
    pub(in crate::registry) fn manifests(&self) -> &Manifests {
        &self.manifests
    }

    /// Where each of them is.
    pub(super) fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Takes in what a file says now. Costs what it says, not what all of them do.
    pub(in crate::registry) fn put(&mut self, name: &str, state: FileState) {
        let name: Arc<str> = name.into();
        let mut keys: BTreeSet<Key> = state.objects.keys().cloned().collect();
        let old = self.files.insert(Arc::clone(&name), state);
        keys.extend(old.into_iter().flat_map(|old| old.objects.into_keys()));
        keys.into_iter().for_each(|key| self.settle(key, &name));
    }

    /// A file is gone.
    pub(super) fn remove(&mut self, name: &str) {
        let Some((name, old)) = self.files.remove_entry(name) else { return };
        old.objects.into_keys().for_each(|key| self.settle(key, &name));
    }

    /// Puts the object in force that is to be, after a file changed that has it or had it.
    fn settle(&mut self, key: Key, file: &Arc<str>) {
        let has = |file: &str| self.files.get(file).and_then(|state| state.objects.get(&key));
        let mut holders = self.holders.remove(&key).unwrap_or_default();
        match (holders.binary_search(file), has(file).is_some()) {
            (Err(at), true) => holders.insert(at, Arc::clone(file)),
            (Ok(at), false) => drop(holders.remove(at)),
            _ => {}
        }
        let (kind, name) = &key;
        let origin = format!("{kind} {name}");
        match holders.first().and_then(|first| Some((Arc::clone(first), has(first)?))) {
            Some((file, entry)) => {
                entry.object.insert(name, &mut self.manifests);
                let place = (file, entry.line);
                if self.origins.get(&origin).is_none_or(|known| **known != place) {
                    self.origins.insert(origin, Arc::new(place));
                }
            }
            None => {
                manifest::remove(*kind, name, &mut self.manifests);
                self.origins.remove(&origin);
            }
        }
        match holders.len() {
            0 | 1 => self.duplicates.remove(&key),
            _ => self.duplicates.insert(key.clone()),
        };
        if !holders.is_empty() {
            self.holders.insert(key, holders);
        }
    }

    /// What is wrong with the files, and with all of them together; in no order.
    pub(in crate::registry) fn faults(&mut self) -> Vec<Fault> {
        self.conflicts.follow(&self.manifests);
        let mut faults = self.own_faults();
        faults.extend(self.conflicts.found().iter().filter_map(|conflict| self.locate(conflict)));
        faults
    }

    /// What is wrong with the files, each by itself, and where an object is in two.
    pub(in crate::registry) fn own_faults(&self) -> Vec<Fault> {
        let mut faults: Vec<_> = self.files.values().flat_map(|state| state.faults.iter().cloned()).collect();
        for key in &self.duplicates {
            let mut places = self.places(key).map(|(file, entry)| (file, entry.line));
            let Some((first, line)) = places.next() else { continue };
            let first = format!("{first}:{line}");
            faults.extend(places.map(|(file, line)| duplicate(file, line, key, &first)));
        }
        faults
    }

    /// Where an object is, the one in force before the others.
    fn places(&self, key: &Key) -> impl Iterator<Item = (&str, &Entry)> {
        let holders = self.holders.get(key).into_iter().flatten();
        holders.filter_map(move |file| Some((file.as_ref(), self.files.get(file)?.objects.get(key)?)))
    }

    /// A conflict as a fault of the file that its subject is in.
    fn locate(&self, conflict: &Conflict) -> Option<Fault> {
        let key = manifest::subject(&conflict.subject);
        let (file, entry) = self.places(&key).next()?;
        let field = FieldPath::of_steps(&conflict.field);
        Some(Fault {
            file: file.to_owned(),
            line: entry.source.as_ref().map_or(entry.line, |source| source.line_of(&field)),
            field: field.to_string(),
            message: conflict.message.clone(),
            severity: Severity::Error,
            object: Some(object_ref(&key)),
        })
    }
}

fn object_ref((kind, name): &Key) -> ObjectRef {
    ObjectRef { kind: kind.name(), name: name.clone(), generation: 0 }
}

fn duplicate(file: &str, line: u32, key @ (kind, name): &Key, first: &str) -> Fault {
    Fault {
        file: file.to_owned(),
        line,
        field: "metadata.name".to_owned(),
        message: format!("{kind} {name} is in {file}:{line} and in {first}; the latter is in force"),
        severity: Severity::Error,
        object: Some(object_ref(key)),
    }
}

fn locate(file: &str, document: Document<'_>, problem: Problem, outcome: &str, object: &Option<ObjectRef>) -> Fault {
    Fault {
        file: file.to_owned(),
        line: problem.line.unwrap_or_else(|| document.line_of(&problem.field)),
        field: problem.field.to_string(),
        message: match problem.severity {
            Severity::Error => format!("{}{outcome}", problem.message),
            Severity::Warning => problem.message,
        },
        severity: problem.severity,
        object: object.clone(),
    }
}

#[cfg(test)]
mod tests;
