//! Reading and changing pods as JSON, whatever else is in them.

use serde_json::{Map, Value};

/// The containers that run beside each other for the pod's whole life are in `containers`; those that run before them,
/// and native sidecars, in `initContainers`.
pub(super) const LISTS: [&str; 2] = ["initContainers", "containers"];

/// The containers of a list; none where there is no such list.
pub(super) fn containers<'a>(pod: &'a Value, list: &str) -> &'a [Value] {
    at(pod, &["spec", list]).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The containers of a list, to be changed.
pub(super) fn containers_mut<'a>(pod: &'a mut Value, list: &str) -> &'a mut [Value] {
    let list = pod.get_mut("spec").and_then(|spec| spec.get_mut(list));
    list.and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}

/// All containers but those that end before the application starts.
pub(super) fn long_running(pod: &Value) -> impl Iterator<Item = &Value> {
    LISTS.into_iter().flat_map(|list| containers(pod, list).iter().filter(move |one| is_long_running(list, one)))
}

/// Whether a container of this list runs as long as the pod does.
pub(super) fn is_long_running(list: &str, container: &Value) -> bool {
    list == "containers" || container.get("restartPolicy").and_then(Value::as_str) == Some("Always")
}

/// What is at a path of keys.
pub(super) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// The text at a path of keys; an empty one counts as none, as it does in Kubernetes.
pub(super) fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(value, path).and_then(Value::as_str).filter(|text| !text.is_empty())
}

pub(super) fn name(object: &Value) -> &str {
    text(object, &["name"]).unwrap_or_default()
}

/// The value as an object; what is none becomes an empty one.
pub(super) fn whole(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(object) => object,
        _ => unreachable!("it has just been made an object"),
    }
}

/// The object under a key, made where there is none.
pub(super) fn object<'a>(parent: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    whole(parent.entry(key).or_insert(Value::Null))
}

/// The list under a key, made where there is none.
pub(super) fn list<'a>(parent: &'a mut Map<String, Value>, key: &str) -> &'a mut Vec<Value> {
    let value = parent.entry(key).or_insert(Value::Null);
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    match value {
        Value::Array(list) => list,
        _ => unreachable!("it has just been made a list"),
    }
}

/// Takes a key away if nothing is left under it.
pub(super) fn prune(parent: &mut Map<String, Value>, key: &str) {
    let empty = parent.get(key).is_some_and(|value| match value {
        Value::Object(object) => object.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    });
    if empty {
        parent.remove(key);
    }
}
