//! A text's documents apart from each other, with every byte accounted for.

use serde_json::Value;
use serde_saphyr::{options, ser_options};

/// A document and what separates it from the one before.
pub(super) struct Document<'a> {
    /// The separator's line with its comment, and comment lines that follow.
    pub(super) before: &'a str,
    pub(super) body: &'a str,
    /// The body's first line in the text, from 1.
    pub(super) line: usize,
}

/// `---` at the beginning of a line separates two documents (YAML 1.2, 9.1.2). All that is `before` and `body`, one after
/// the other, is the text.
pub(super) fn split(text: &str) -> Vec<Document<'_>> {
    let mut starts = vec![0];
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if offset > 0 && is_separator(line) {
            starts.push(offset);
        }
        offset += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().zip(ends).map(|(&start, end)| document(text, start, end)).collect()
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.trim().is_empty() || rest.trim_start().starts_with('#'))
}

fn document(text: &str, start: usize, end: usize) -> Document<'_> {
    let whole = text.get(start..end).unwrap_or_default();
    let is_before = |line: &&str| is_separator(line) || line.trim().is_empty() || line.starts_with(['#', '%']);
    let before: usize = whole.split_inclusive('\n').take_while(is_before).map(str::len).sum();
    let (before, body) = whole.split_at(before);
    let lines = text.get(..start).unwrap_or_default().matches('\n').count() + before.matches('\n').count();
    Document { before, body, line: lines + 1 }
}

/// Reads as `kubectl` does: `0644` is octal.
///
/// # Errors
/// With the place in the document.
pub(super) fn read(body: &str) -> Result<Value, String> {
    if body.trim().is_empty() {
        return Ok(Value::Null);
    }
    if is_json(body) {
        return serde_json::from_str(body).map_err(|error| error.to_string());
    }
    let options = options! { legacy_octal_numbers: true, with_snippet: false };
    serde_saphyr::from_str_with_options(body, options).map_err(|error| error.without_snippet().to_string())
}

/// Writes in the language that the document was in. Texts that another reader could take for something else are quoted.
pub(super) fn write(body: &str, value: &Value) -> String {
    if is_json(body) {
        return format!("{value:#}\n");
    }
    // A long text that is wrapped is not easier to read in an environment variable.
    let options =
        ser_options! { prefer_block_scalars: true, folded_wrap_chars: usize::MAX, min_fold_chars: usize::MAX };
    let written = serde_saphyr::to_string_with_options(value, options);
    // JSON is YAML; nothing that was read can't be written.
    let mut written = written.unwrap_or_else(|_| format!("{value:#}"));
    if !written.ends_with('\n') {
        written.push('\n');
    }
    written
}

fn is_json(body: &str) -> bool {
    body.trim_start().starts_with('{')
}
