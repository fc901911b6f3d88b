//! Headers that a route removes, sets and adds.

#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::headers::rebuild;

/// What a route does to the headers of a request or of an answer (Gateway API's `HTTPHeaderFilter`).
///
/// Applied as Envoy does: first what is removed, then what is set, then what is added, so that a header that is both
/// removed and added has the added value alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Removed, with all their values.
    pub remove: Vec<HeaderName>,
    /// Each takes the place of all values that the header has, or comes at the end.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Each is one more value of the header.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderEdits {
    /// Whether nothing is edited.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Edits headers. What is not edited keeps its order, and what is set keeps the place of the header's first value.
    ///
    /// A map that cannot take more (32,768 headers) is left without what would have been added.
    pub fn apply(&self, headers: &mut HeaderMap) {
        // `HeaderMap::remove` would put the last header in the place of the removed one.
        if self.remove.iter().any(|name| headers.contains_key(name)) {
            let all = std::mem::take(headers);
            *headers = rebuild(all, |name, value| (!self.remove.contains(name)).then_some(value));
        }
        for (name, value) in &self.set {
            let _full = headers.try_insert(name, value.clone());
        }
        for (name, value) in &self.add {
            let _full = headers.try_append(name, value.clone());
        }
    }
}
