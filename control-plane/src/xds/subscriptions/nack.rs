//! The text of a NACK.

/// The longest error of a client that is kept, in bytes.
const MAX_ERROR_BYTES: usize = 1024;

/// Whether a text has a name as a whole: `shop/api:80` is not in `shop/api:8080`.
pub(super) fn mentions(text: &str, name: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '/' | '.');
    text.match_indices(name).any(|(at, _)| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let mut after = text.get(at + name.len()..).unwrap_or_default().chars();
        // A full stop may end the sentence.
        let goes_on = match after.next() {
            Some('.') => after.next().is_some_and(part),
            Some(c) => part(c),
            None => false,
        };
        !before.is_some_and(part) && !goes_on
    })
}

/// A client's error as it is kept: at most [`MAX_ERROR_BYTES`] of it, control characters escaped.
pub(super) fn bounded(error: &str) -> String {
    let mut end = error.len().min(MAX_ERROR_BYTES);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    error.get(..end).unwrap_or_default().escape_debug().to_string()
}
