//! What one file says, and what all of them say together.

use std::collections::BTreeMap;

use crate::mesh::{Conflict, Manifests, ObjectName, conflicts};
use crate::registry::document::{self, Document, Source};
use crate::registry::fault::{FieldPath, Problem, Report};
use crate::registry::manifest::{self, Kind, Object, Reading};
use crate::registry::{Fault, ObjectRef, Severity};

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
    pub(super) fn unreadable(fault: Fault, old: Self) -> Self {
        Self { objects: old.objects, faults: vec![fault] }
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

    /// What it says, such as `HTTPRoute shop/api`, and on which line each begins.
    pub(super) fn origins(&self) -> impl Iterator<Item = (String, u32)> {
        self.objects.iter().map(|((kind, name), entry)| (format!("{kind} {name}"), entry.line))
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

/// What the files say together, and what is wrong with each of them and with all.
pub(in crate::registry) fn merge<'a>(files: impl Iterator<Item = (&'a str, &'a FileState)>) -> (Manifests, Vec<Fault>) {
    let mut merged = Merged::of(files);
    let conflicts = conflicts(&merged.manifests).into_iter().filter_map(|conflict| merged.locate(conflict));
    let conflicts: Vec<_> = conflicts.collect();
    merged.faults.extend(conflicts);
    (merged.manifests, merged.faults)
}

/// The files put together, in the order of their names. Of two objects of one name the first is in force.
#[derive(Default)]
pub(in crate::registry) struct Merged<'a> {
    pub(in crate::registry) manifests: Manifests,
    pub(in crate::registry) faults: Vec<Fault>,
    seen: BTreeMap<&'a Key, (&'a str, &'a Entry)>,
}

impl<'a> Merged<'a> {
    pub(in crate::registry) fn of(files: impl Iterator<Item = (&'a str, &'a FileState)>) -> Self {
        let mut merged = Self::default();
        for (file, state) in files {
            merged.faults.extend(state.faults.iter().cloned());
            for (key, entry) in &state.objects {
                if let Some((first, before)) = merged.seen.get(key) {
                    merged.faults.push(duplicate(file, entry.line, key, &format!("{first}:{}", before.line)));
                    continue;
                }
                merged.seen.insert(key, (file, entry));
                entry.object.insert(&key.1, &mut merged.manifests);
            }
        }
        merged
    }

    /// A conflict as a fault of the file that its subject is in.
    fn locate(&self, conflict: Conflict) -> Option<Fault> {
        let key = manifest::subject(&conflict.subject);
        let (file, entry) = self.seen.get(&key)?;
        let field = FieldPath::of_steps(&conflict.field);
        Some(Fault {
            file: (*file).to_owned(),
            line: entry.source.as_ref().map_or(entry.line, |source| source.line_of(&field)),
            field: field.to_string(),
            message: conflict.message,
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
