//! `/validate`: what the registry could make nothing of is refused while its author looks on, with field and reason.
//!
//! Of Weft's own kinds anything wrong is refused. Gateway API's routes are also read by others, and may ask for what only
//! others can do: they are refused if they are no routes at all, and else come with warnings.

use serde_json::Value;

use super::review::{Request, Verdict};
use crate::registry::{self, Fault, Severity};

/// Faults that a refusal tells at most; the rest is counted.
const MOST_FAULTS: usize = 8;
const OWN_GROUP: &str = "weft.dev/";

/// Whether an object may be stored.
pub(super) fn verdict(request: &Request) -> Verdict {
    let object = &request.object;
    // What is on its way out, or was wrong before and is not changed, must not be held up.
    let unchanged = object.get("spec").is_some() && object.get("spec") == request.old_object.get("spec");
    let leaving = object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null());
    if unchanged || leaving || !is_for_services(object) {
        return Verdict::ALLOWED;
    }
    let Some(checked) = registry::check(object) else { return Verdict::ALLOWED };
    let (errors, warnings): (Vec<Fault>, Vec<Fault>) =
        checked.faults.into_iter().partition(|fault| fault.severity == Severity::Error);
    let is_ours = object.get("apiVersion").and_then(Value::as_str).is_some_and(|it| it.starts_with(OWN_GROUP));
    if !checked.usable || (is_ours && !errors.is_empty()) {
        return Verdict::Denied { reason: reason(&errors) };
    }
    Verdict::Allowed { warnings: errors.iter().chain(&warnings).map(text).collect() }
}

/// Routes of other implementations, for Gateways, are none of ours.
fn is_for_services(object: &Value) -> bool {
    let Some(parents) = object.pointer("/spec/parentRefs").and_then(Value::as_array) else { return true };
    parents.is_empty() || parents.iter().any(|parent| parent.get("kind").and_then(Value::as_str) == Some("Service"))
}

fn reason(errors: &[Fault]) -> String {
    let told: Vec<String> = errors.iter().take(MOST_FAULTS).map(text).collect();
    let more = match errors.len().saturating_sub(MOST_FAULTS) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("{}{more}", told.join("; "))
}

fn text(fault: &Fault) -> String {
    match fault.field.as_str() {
        "" => fault.message.clone(),
        field => format!("{field}: {}", fault.message),
    }
}

#[cfg(test)]
mod tests;
