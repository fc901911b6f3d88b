//! Reading documents, for the tests of injection.

use serde_json::Value;

use super::documents;

/// All documents of a text.
pub(crate) fn values(text: &str) -> Vec<Value> {
    documents::split(text).iter().map(|document| documents::read(document.body).unwrap()).collect()
}
