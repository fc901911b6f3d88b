//! Values -> Kubernetes' types, with the path of the field that does not fit.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::fault::{FieldPath, Problem, Severity, Step};

/// What every manifest begins with.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Head {
    pub(super) api_version: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) metadata: HeadMetadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HeadMetadata {
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
}

/// Decodes a value.
///
/// # Errors
/// With the field's path. The message quotes the value: it is for the caller to keep secrets secret.
pub(super) fn decode<T: DeserializeOwned>(value: &Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| Problem {
        severity: Severity::Error,
        field: field_of(error.path()),
        line: None,
        message: error.inner().to_string(),
    })
}

fn field_of(path: &serde_path_to_error::Path) -> FieldPath {
    let step = |segment: &Segment| match segment {
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Enum { .. } | Segment::Unknown => None,
    };
    path.iter().filter_map(step).collect()
}

#[cfg(test)]
mod tests;
