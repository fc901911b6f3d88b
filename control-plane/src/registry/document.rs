//! YAML documents (JSON is YAML too): apart from each other, as values, with the line of every field.

use std::sync::Arc;

use serde_json::Value;
use serde_saphyr::options;

use super::fault::{FieldPath, Problem, Severity};

mod lines;

/// The most characters of a line that are quoted.
const MAX_QUOTE: usize = 80;

/// One document of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Document<'a> {
    text: &'a str,
    /// The line in the file of the document's first line, from 1.
    first_line: u32,
}

/// A document that is kept, for the lines of its fields.
#[derive(Clone, Debug)]
pub(super) struct Source {
    text: Arc<str>,
    first_line: u32,
}

impl Source {
    /// The line in the file of a field, or of what there is on the way to it.
    pub(super) fn line_of(&self, field: &FieldPath) -> u32 {
        Document { text: &self.text, first_line: self.first_line }.line_of(field)
    }
}

/// The documents of a file. `---` at the beginning of a line always separates two (YAML 1.2, 9.1.2), so that one that is
/// not well-formed leaves the others alone.
pub(super) fn split(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut first_line, mut offset) = (0, 1, 0);
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let end = offset + line.len();
        if line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])) {
            documents.push(Document { text: text.get(start..offset).unwrap_or_default(), first_line });
            // What stands behind the marker on its line belongs to the document.
            start = offset + 3;
            first_line = number;
        }
        offset = end;
    }
    documents.push(Document { text: text.get(start..).unwrap_or_default(), first_line });
    documents.retain(|document| !document.is_empty());
    documents
}

impl Document<'_> {
    /// Whether there is nothing in it but comments and directives.
    fn is_empty(self) -> bool {
        let ignored = |line: &str| line.is_empty() || line.starts_with(['#', '%']) || line == "...";
        self.text.lines().all(|line| ignored(line.trim()))
    }

    /// The document's first line in the file.
    pub(super) fn line(self) -> u32 {
        self.first_line
    }

    /// The document without the file that it is in.
    pub(super) fn keep(self) -> Source {
        Source { text: self.text.into(), first_line: self.first_line }
    }

    /// The document's value, of whatever type.
    ///
    /// # Errors
    /// With the line, where it is not well-formed. What stands there is not quoted where there may be a Secret in it.
    pub(super) fn value(self) -> Result<Value, Problem> {
        // `y`, `on` and the like are text, as in YAML 1.2.
        let options = options! { with_snippet: false, strict_booleans: true };
        serde_saphyr::from_str_with_options(self.text, options).map_err(|error: serde_saphyr::Error| {
            let line = error.location().and_then(|location| u32::try_from(location.line()).ok());
            let line = line.filter(|&line| line > 0);
            let message = if self.text.contains("Secret") {
                "is not well-formed (the reason is not shown: there is a Secret in it)".to_owned()
            } else {
                format!("{}{}", message(&error), line.map_or_else(String::new, |line| self.quote(line)))
            };
            let line = line.map(|line| self.in_file(line));
            Problem { severity: Severity::Error, field: FieldPath::default(), line, message }
        })
    }

    /// What stands on a line of the document, shortened: reasons seldom tell the value.
    fn quote(self, line: u32) -> String {
        let text = self.text.lines().nth(line.saturating_sub(1) as usize).unwrap_or_default().trim();
        match text.char_indices().nth(MAX_QUOTE) {
            _ if text.is_empty() => String::new(),
            Some((end, _)) => format!(", in {:?}...", text.get(..end).unwrap_or_default()),
            None => format!(", in {text:?}"),
        }
    }

    /// The line in the file of a field, or of what there is on the way to it.
    pub(super) fn line_of(self, field: &FieldPath) -> u32 {
        lines::line_of(self.text, field).map_or(self.first_line, |line| self.in_file(line))
    }

    fn in_file(self, line: u32) -> u32 {
        self.first_line.saturating_add(line).saturating_sub(1)
    }
}

/// The first line of the error's text, without the place: that is told apart from it.
fn message(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let text = text.lines().next().unwrap_or_default();
    let text = text.strip_prefix("error: ").unwrap_or(text);
    text.split(" at line ").next().unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests;
