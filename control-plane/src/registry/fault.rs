//! What is wrong with a manifest, and where.

use std::fmt;

use crate::mesh::{FieldStep, ObjectName};

/// Something in the registry that could not be read or done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file, relative to the registry's folder; of a cluster the object, such as `HTTPRoute shop/api`.
    pub file: String,
    /// The line in the file, from 1; 0: unknown.
    pub line: u32,
    /// The path of the field, such as `spec.ports[0].port`; empty: the document as a whole.
    pub field: String,
    /// What is wrong with it, and what is done about it.
    pub message: String,
    /// How bad it is.
    pub severity: Severity,
    /// The object that it is about, where that is known.
    pub object: Option<ObjectRef>,
}

/// An object as it was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    /// The kind, such as `HTTPRoute`.
    pub kind: &'static str,
    /// Namespace and name.
    pub name: ObjectName,
    /// `metadata.generation`, which counts the changes of its spec; 0: unknown.
    pub generation: i64,
}

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Part of what the manifest says is not in force.
    Error,
    /// Something is left out that Weft doesn't read.
    Warning,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: ", self.file)?,
            line => write!(f, "{}:{line}: ", self.file)?,
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

/// The path of a field within a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldPath(Vec<Step>);

/// A step on the way to a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl FieldPath {
    /// The fields of these names, one within the other.
    pub(super) fn of(keys: &[&str]) -> Self {
        Self(keys.iter().map(|&key| Step::Key(key.to_owned())).collect())
    }

    /// The field that a conflict is about.
    pub(super) fn of_steps(steps: &[FieldStep]) -> Self {
        let step = |step: &FieldStep| match *step {
            FieldStep::Key(key) => Step::Key(key.to_owned()),
            FieldStep::Index(index) => Step::Index(index),
        };
        steps.iter().map(step).collect()
    }

    pub(super) fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    pub(super) fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    fn step(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }
}

impl FromIterator<Step> for FieldPath {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if key.contains(['.', '/']) => write!(f, "[{key}]")?,
                Step::Key(key) if place == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

/// What is wrong with one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) severity: Severity,
    pub(super) field: FieldPath,
    /// The line within the file, where it is known without looking the field up.
    pub(super) line: Option<u32>,
    pub(super) message: String,
}

/// Collects what is wrong with one document.
#[derive(Debug, Default)]
pub(super) struct Report(pub(super) Vec<Problem>);

impl Report {
    /// Something that is not done, or not done as it is written.
    pub(super) fn error(&mut self, field: FieldPath, message: impl Into<String>) {
        self.0.push(Problem { severity: Severity::Error, field, line: None, message: message.into() });
    }

    /// Something that is left out.
    pub(super) fn warning(&mut self, field: FieldPath, message: impl Into<String>) {
        self.0.push(Problem { severity: Severity::Warning, field, line: None, message: message.into() });
    }

    /// How many errors there are by now.
    pub(super) fn errors(&self) -> usize {
        self.0.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// Takes the value; reports what is wrong with it.
    pub(super) fn check<T>(&mut self, field: FieldPath, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.error(field, message)).ok()
    }
}
