//! Manifests, YAML or JSON, whose pods get or lose their sidecars. What is not touched stays as it is, byte for byte.

use std::fmt;

use serde_json::Value;

use super::{Namespace, OptionFaults, Outcome, Settings, Subject, inject, pod, uninject};

mod documents;

/// Where the kinds that make pods have the template, below the object.
const TEMPLATES: [(&str, &[&str]); 9] = [
    ("Pod", &[]),
    ("Deployment", &["spec", "template"]),
    ("ReplicaSet", &["spec", "template"]),
    ("StatefulSet", &["spec", "template"]),
    ("DaemonSet", &["spec", "template"]),
    ("ReplicationController", &["spec", "template"]),
    ("Job", &["spec", "template"]),
    ("CronJob", &["spec", "jobTemplate", "spec", "template"]),
    ("PodTemplate", &["template"]),
];

/// Manifests after the work.
#[derive(Clone, Debug, PartialEq)]
pub struct Edited {
    /// The text of all documents.
    pub text: String,
    /// What was done to each object that makes pods.
    pub notes: Vec<Note>,
}

/// What was done to an object that makes pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Such as `Deployment shop/web`.
    pub object: String,
    /// What was done, or why nothing was.
    pub what: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.what)
    }
}

/// Why manifests can't be changed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A document is neither YAML nor JSON.
    #[error("the document that begins at line {line} can't be read: {reason}")]
    Unreadable {
        /// Its first line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Labels or annotations have wrong values.
    #[error("{object}: {faults}")]
    Options {
        /// Such as `Deployment shop/web`.
        object: String,
        /// All of them.
        faults: OptionFaults,
    },
}

/// What to do with the pods of manifests.
pub trait Edit {
    /// The pod as it is to be, `None`: as it is; and what was done or why nothing was, a line each.
    ///
    /// # Errors
    /// Where labels or annotations have wrong values.
    fn edit(&self, template: Template<'_>) -> Result<(Option<Value>, Vec<String>), OptionFaults>;
}

/// A pod, or a template of one, in a manifest.
#[derive(Clone, Copy, Debug)]
pub struct Template<'a> {
    /// `metadata` and `spec`.
    pub pod: &'a Value,
    /// The name of what it belongs to, where it has one.
    pub owner: Option<&'a str>,
    /// Its namespace, as far as the manifests tell.
    pub namespace: &'a Namespace,
}

/// Gives the pods sidecars.
pub struct Inject<'a> {
    /// The mesh's.
    pub settings: &'a Settings,
    /// See [`Subject::probe_token`]; called for each pod.
    pub probe_token: &'a dyn Fn() -> String,
}

impl Edit for Inject<'_> {
    fn edit(&self, template: Template<'_>) -> Result<(Option<Value>, Vec<String>), OptionFaults> {
        let Template { pod, owner, namespace } = template;
        let probe_token = (self.probe_token)();
        let subject = Subject { pod, owner, namespace, probe_token: &probe_token };
        Ok(match inject(subject, self.settings)? {
            Outcome::LeftAlone(reason) => (None, vec![format!("left alone: {reason}")]),
            Outcome::Injected(injected) => {
                let warnings = injected.warnings.into_iter().map(|warning| format!("warning: {warning}"));
                (Some(injected.pod), std::iter::once("injected".to_owned()).chain(warnings).collect())
            }
        })
    }
}

/// Takes the sidecars away.
pub struct Uninject;

impl Edit for Uninject {
    fn edit(&self, template: Template<'_>) -> Result<(Option<Value>, Vec<String>), OptionFaults> {
        Ok(match uninject(template.pod) {
            Some(plain) => (Some(plain), vec!["uninjected".to_owned()]),
            None => (None, vec!["left alone: it has no sidecar".to_owned()]),
        })
    }
}

/// Changes the pods in a text of documents. `namespace` is that of objects that name none. Namespaces that are among the
/// documents give their labels and annotations to their pods.
///
/// # Errors
/// With the first document that can't be read, or the first object whose labels or annotations are wrong. Nothing is
/// changed by halves.
pub fn edit(text: &str, namespace: &str, edit: &dyn Edit) -> Result<Edited, ManifestError> {
    let documents = documents::split(text);
    let mut values = Vec::with_capacity(documents.len());
    for document in &documents {
        let unreadable = |reason| ManifestError::Unreadable { line: document.line, reason };
        values.push(documents::read(document.body).map_err(unreadable)?);
    }
    let mut work = Work { edit, default: namespace, namespaces: Vec::new(), notes: Vec::new() };
    values.iter().for_each(|value| work.learn(value));
    let mut edited = String::with_capacity(text.len());
    for (document, value) in documents.iter().zip(&mut values) {
        edited.push_str(document.before);
        match work.object(value)? {
            true => edited.push_str(&documents::write(document.body, value)),
            false => edited.push_str(document.body),
        }
    }
    Ok(Edited { text: edited, notes: work.notes })
}

struct Work<'a> {
    edit: &'a dyn Edit,
    default: &'a str,
    namespaces: Vec<Namespace>,
    notes: Vec<Note>,
}

impl Work<'_> {
    /// Takes in the namespaces that are among the documents.
    fn learn(&mut self, value: &Value) {
        items(value).for_each(|item| self.learn(item));
        if pod::text(value, &["kind"]) != Some("Namespace") {
            return;
        }
        let texts = |place| {
            let map = pod::at(value, &["metadata", place]).and_then(Value::as_object);
            let texts = map.into_iter().flatten().filter_map(|(key, value)| Some((key, value.as_str()?)));
            texts.map(|(key, value)| (key.clone(), value.to_owned())).collect()
        };
        if let Some(name) = pod::text(value, &["metadata", "name"]) {
            let (labels, annotations) = (texts("labels"), texts("annotations"));
            self.namespaces.push(Namespace { name: name.to_owned(), labels, annotations });
        }
    }

    /// Changes an object, and those in it if it is a list. Whether anything has changed.
    fn object(&mut self, value: &mut Value) -> Result<bool, ManifestError> {
        let kind = pod::text(value, &["kind"]).unwrap_or_default().to_owned();
        if let Some(items) = value.get_mut("items").and_then(Value::as_array_mut).filter(|_| kind.ends_with("List")) {
            return items.iter_mut().try_fold(false, |changed, item| Ok(self.object(item)? || changed));
        }
        let Some((_, path)) = TEMPLATES.into_iter().find(|(name, _)| *name == kind) else { return Ok(false) };
        let namespace = pod::text(value, &["metadata", "namespace"]).unwrap_or(self.default).to_owned();
        let name = pod::text(value, &["metadata", "name"]).or(pod::text(value, &["metadata", "generateName"]));
        let name = name.unwrap_or_default().to_owned();
        let object = format!("{kind} {namespace}/{name}");
        let owner = Some(name.as_str()).filter(|_| kind != "Pod");
        let found = self.namespaces.iter().find(|known| known.name == namespace).cloned();
        let namespace = found.unwrap_or_else(|| Namespace::named(namespace));

        let Some(pod) = path.iter().try_fold(value, |value, key| value.get_mut(*key)) else { return Ok(false) };
        let template = Template { pod, owner, namespace: &namespace };
        let edited = self.edit.edit(template);
        let (edited, notes) = edited.map_err(|faults| ManifestError::Options { object: object.clone(), faults })?;
        self.notes.extend(notes.into_iter().map(|what| Note { object: object.clone(), what }));
        let Some(edited) = edited else { return Ok(false) };
        *pod = edited;
        Ok(true)
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice).iter()
}

#[cfg(test)]
pub(super) mod tests;
