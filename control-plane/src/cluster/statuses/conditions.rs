//! What the status of an object is to be: no API server, only what is known of the object.

use serde_json::{Value, json};

use crate::mesh::{Conflict, FieldStep, Reason};
use crate::registry::{Fault, Severity};

/// Who we are among those who write a route's status.
pub(super) const CONTROLLER: &str = "weft.dev/mesh-controller";
/// The longest message of a condition.
const MAX_MESSAGE: usize = 2_000;

/// What is known of an object.
#[derive(Clone, Debug)]
pub(super) struct Known<'a> {
    /// Whether anything of it can be in force.
    pub(super) usable: bool,
    /// What is wrong with it by itself.
    pub(super) faults: &'a [Fault],
    /// What is wrong with it together with others.
    pub(super) conflicts: &'a [Conflict],
    /// Of the proxies that route to each parent, in the manifest's order, how many have it and how many there are.
    pub(super) rollouts: &'a [(u32, u32)],
    /// The time, for conditions that change.
    pub(super) now: &'a str,
}

/// A condition, but for what Kubernetes adds.
struct Condition {
    kind: &'static str,
    status: bool,
    reason: String,
    message: String,
}

impl Condition {
    fn new(kind: &'static str, status: bool, reason: &str, message: impl Into<String>) -> Self {
        Self { kind, status, reason: reason.to_owned(), message: message.into() }
    }
}

/// The status of a route: our entries as they are to be, others' as they are. `None`: it is no route of ours, and has no
/// entry of ours.
pub(super) fn of_route(object: &Value, known: &Known<'_>) -> Option<Value> {
    let empty = Vec::new();
    let list = |path: &str| object.pointer(path).and_then(Value::as_array).unwrap_or(&empty);
    let parents = list("/spec/parentRefs");
    let written = list("/status/parents");
    let is_ours = |entry: &&Value| entry.get("controllerName").and_then(Value::as_str) == Some(CONTROLLER);
    let mut entries: Vec<_> = written.iter().filter(|entry| !is_ours(entry)).cloned().collect();
    let others = entries.len();
    for (place, parent) in parents.iter().enumerate().filter(|(_, parent)| is_service(parent)) {
        let old = written.iter().filter(is_ours).find(|entry| entry.get("parentRef") == Some(parent));
        let conditions = route_conditions(object, place, known);
        let conditions = stamped(&conditions, old.and_then(|old| old.get("conditions")), object, known.now);
        entries.push(json!({"parentRef": parent, "controllerName": CONTROLLER, "conditions": conditions}));
    }
    if entries.len() == others && others == written.len() {
        return None;
    }
    let mut status = object.get("status").cloned().unwrap_or_else(|| json!({}));
    status.as_object_mut()?.insert("parents".to_owned(), Value::Array(entries));
    Some(status)
}

/// The status of a policy: an entry for each target (GEP-713).
pub(super) fn of_policy(object: &Value, known: &Known<'_>) -> Option<Value> {
    let empty = Vec::new();
    let list = |path: &str| object.pointer(path).and_then(Value::as_array).unwrap_or(&empty);
    let (targets, written) = (list("/spec/targetRefs"), list("/status/ancestors"));
    let is_ours = |entry: &&Value| entry.get("controllerName").and_then(Value::as_str) == Some(CONTROLLER);
    let mut entries: Vec<_> = written.iter().filter(|entry| !is_ours(entry)).cloned().collect();
    for (place, target) in targets.iter().enumerate() {
        let field = [FieldStep::Key("spec"), FieldStep::Key("targetRefs"), FieldStep::Index(place)];
        let of_target: Vec<_> = known.conflicts.iter().filter(|conflict| conflict.field == field).collect();
        let hindered = of_target.iter().find(|conflict| conflict.reason != Reason::PartlyIneffective);
        let accepted = match hindered {
            _ if !known.usable => Condition::new("Accepted", false, "Invalid", faults(known.faults, Severity::Error)),
            Some(first) => Condition::new("Accepted", false, word(first.reason), messages(of_target.iter().copied())),
            None => Condition::new("Accepted", true, "Accepted", remarks(known)),
        };
        let old = written.iter().filter(is_ours).find(|entry| entry.get("ancestorRef") == Some(target));
        let conditions = stamped(&[accepted], old.and_then(|old| old.get("conditions")), object, known.now);
        entries.push(json!({"ancestorRef": target, "controllerName": CONTROLLER, "conditions": conditions}));
    }
    let mut status = object.get("status").cloned().unwrap_or_else(|| json!({}));
    status.as_object_mut()?.insert("ancestors".to_owned(), Value::Array(entries));
    Some(status)
}

/// The status of a FaultInjection.
pub(super) fn of_fault(object: &Value, known: &Known<'_>) -> Option<Value> {
    let accepted = match known.usable {
        false => Condition::new("Accepted", false, "Invalid", faults(known.faults, Severity::Error)),
        true => Condition::new("Accepted", true, "Accepted", remarks(known)),
    };
    let mut status = object.get("status").cloned().unwrap_or_else(|| json!({}));
    let conditions = stamped(&[accepted], status.get("conditions"), object, known.now);
    status.as_object_mut()?.insert("conditions".to_owned(), Value::Array(conditions));
    Some(status)
}

/// Whether a parent of a route is a Service, and so ours.
pub(super) fn is_service(parent: &Value) -> bool {
    let text = |key| parent.get(key).and_then(Value::as_str);
    text("kind") == Some("Service") && matches!(text("group"), Some("" | "core"))
}

fn route_conditions(object: &Value, place: usize, known: &Known<'_>) -> Vec<Condition> {
    let of_parent = |conflict: &&Conflict| {
        let path = [FieldStep::Key("spec"), FieldStep::Key("parentRefs"), FieldStep::Index(place)];
        conflict.field == path || conflict.field == path[..2]
    };
    let of_parent: Vec<_> = known.conflicts.iter().filter(of_parent).collect();
    let hindered = of_parent.iter().find(|conflict| conflict.reason != Reason::PartlyIneffective);
    let accepted = match hindered {
        _ if !known.usable => {
            Condition::new("Accepted", false, "UnsupportedValue", faults(known.faults, Severity::Error))
        }
        Some(first) => Condition::new("Accepted", false, word(first.reason), messages(of_parent.iter().copied())),
        None => Condition::new("Accepted", true, "Accepted", messages(of_parent.iter().copied())),
    };
    let is_accepted = accepted.status;
    let mut conditions = vec![accepted, resolved(known)];
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or("route");
    if known.usable && known.faults.iter().any(|fault| fault.severity == Severity::Error) {
        let message = faults(known.faults, Severity::Error);
        conditions.push(Condition::new("PartiallyInvalid", true, "UnsupportedValue", message));
    }
    if is_accepted {
        let ordinal = object
            .pointer("/spec/parentRefs")
            .and_then(Value::as_array)
            .map_or(0, |parents| parents.iter().take(place).filter(|parent| is_service(parent)).count());
        let (current, all) = known.rollouts.get(ordinal).copied().unwrap_or_default();
        conditions.push(match current >= all {
            true => Condition::new(
                "Programmed",
                true,
                "Programmed",
                format!("proxies have the {kind}, as far as they need it"),
            ),
            false => {
                Condition::new("Programmed", false, "Pending", format!("{current} of {all} proxies have the {kind}"))
            }
        });
    }
    conditions
}

fn resolved(known: &Known<'_>) -> Condition {
    let unresolved = |conflict: &&Conflict| {
        matches!(conflict.reason, Reason::BackendNotFound | Reason::RefNotPermitted | Reason::FilterNotFound)
    };
    let unresolved: Vec<_> = known.conflicts.iter().filter(unresolved).collect();
    let strange = |fault: &&Fault| {
        fault.field.contains("backendRefs") && (fault.field.ends_with(".kind") || fault.field.ends_with(".group"))
    };
    let strange: Vec<_> = known.faults.iter().filter(strange).cloned().collect();
    match unresolved.first() {
        Some(first) => Condition::new("ResolvedRefs", false, word(first.reason), messages(unresolved.iter().copied())),
        None if !strange.is_empty() => {
            Condition::new("ResolvedRefs", false, "InvalidKind", faults(&strange, Severity::Warning))
        }
        None => Condition::new("ResolvedRefs", true, "ResolvedRefs", ""),
    }
}

/// The conditions as Kubernetes has them, after what stands there: the time of a change is kept where nothing changed,
/// and conditions of other types stay.
fn stamped(conditions: &[Condition], old: Option<&Value>, object: &Value, now: &str) -> Vec<Value> {
    let empty = Vec::new();
    let old = old.and_then(Value::as_array).unwrap_or(&empty);
    let kind_of = |value: &Value| value.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let ours = ["Accepted", "ResolvedRefs", "Programmed", "PartiallyInvalid"];
    let foreign = old.iter().filter(|value| !ours.contains(&kind_of(value).as_str())).cloned();
    let generation = object.pointer("/metadata/generation").cloned().unwrap_or_else(|| 0.into());
    let new = conditions.iter().map(|condition| {
        let status = if condition.status { "True" } else { "False" };
        let known = old.iter().find(|value| kind_of(value) == condition.kind);
        let same = known.filter(|known| known.get("status").and_then(Value::as_str) == Some(status));
        let since = same.and_then(|known| known.get("lastTransitionTime").cloned()).unwrap_or_else(|| now.into());
        json!({
            "type": condition.kind,
            "status": status,
            "reason": condition.reason,
            "message": bounded(&condition.message),
            "observedGeneration": generation,
            "lastTransitionTime": since,
        })
    });
    let new: Vec<_> = new.collect();
    foreign.chain(new).collect()
}

/// What is worth telling of an object that is in force.
fn remarks(known: &Known<'_>) -> String {
    let parts = [messages(known.conflicts.iter()), faults(known.faults, Severity::Warning)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

fn messages<'a>(conflicts: impl Iterator<Item = &'a Conflict>) -> String {
    conflicts.map(|conflict| conflict.message.as_str()).collect::<Vec<_>>().join("; ")
}

/// The faults that are at least so bad.
fn faults(faults: &[Fault], least: Severity) -> String {
    let bad = faults.iter().filter(|fault| least == Severity::Warning || fault.severity == Severity::Error);
    let text = |fault: &Fault| match fault.field.as_str() {
        "" => fault.message.clone(),
        field => format!("{field}: {}", fault.message),
    };
    bad.map(text).collect::<Vec<_>>().join("; ")
}

fn bounded(message: &str) -> String {
    match message.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{} ...", message.get(..end).unwrap_or_default()),
        None => message.to_owned(),
    }
}

fn word(reason: Reason) -> &'static str {
    match reason {
        Reason::NoMatchingParent => "NoMatchingParent",
        Reason::BackendNotFound => "BackendNotFound",
        Reason::RefNotPermitted => "RefNotPermitted",
        Reason::FilterNotFound => "FilterNotFound",
        Reason::TargetNotFound => "TargetNotFound",
        Reason::Conflicted => "Conflicted",
        Reason::PartlyIneffective => "PartlyIneffective",
    }
}

#[cfg(test)]
mod tests;
