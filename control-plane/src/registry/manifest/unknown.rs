//! The fields of a manifest that its type doesn't have. The decoder passes them by, so that a rule would do less than it
//! says.

use serde::Serialize;
use serde_json::Value;

use crate::registry::fault::FieldPath;

/// The fields below `spec` that are written and were not decoded.
pub(super) fn unknown_fields(written: &Value, decoded: &impl Serialize) -> Vec<FieldPath> {
    let mut unknown = Vec::new();
    let decoded = serde_json::to_value(decoded).unwrap_or_default();
    if let Some(spec) = written.get("spec") {
        compare(spec, Some(&decoded), FieldPath::of(&["spec"]), &mut unknown);
    }
    unknown
}

fn compare(written: &Value, decoded: Option<&Value>, field: FieldPath, unknown: &mut Vec<FieldPath>) {
    match (written, decoded) {
        (Value::Null, _) => {}
        (_, None) => unknown.push(field),
        (Value::Object(written), Some(decoded)) => {
            written.iter().for_each(|(key, value)| compare(value, decoded.get(key), field.key(key), unknown));
        }
        (Value::Array(written), Some(decoded)) => written
            .iter()
            .enumerate()
            .for_each(|(place, value)| compare(value, decoded.get(place), field.index(place), unknown)),
        _ => {}
    }
}
