//! A pod that is deleted disappears from its Services' endpoints and gets SIGTERM at the same moment, and proxies hear of
//! it a little later. So the containers wait before they end, for what is still sent to them.

use serde_json::{Map, Value, json};

use super::options::Options;
use super::pod;
use super::settings::Settings;

/// Kubernetes' own.
const DEFAULT_GRACE_SECONDS: u64 = 30;
/// What was changed here, in the annotation for undoing it.
const PRE_STOP: &str = "preStop";
const GRACE: &str = "terminationGracePeriodSeconds";

/// Lets the containers of a pod that serves sleep before they get SIGTERM, those that have no such hook, and raises the
/// grace period by as much.
pub(super) fn let_requests_end(
    injected: &mut Value,
    options: &Options,
    settings: &Settings,
    undo: &mut Map<String, Value>,
) {
    let seconds = options.pre_stop_sleep.as_secs();
    let serves = pod::text(injected, &["spec", "restartPolicy"]).is_none_or(|policy| policy == "Always");
    let grace = pod::at(injected, &["spec", GRACE]).cloned();
    // A grace period of 0 asks for no grace at all.
    let at_once = grace.as_ref().and_then(Value::as_u64) == Some(0);
    if seconds == 0 || !serves || at_once || !settings.cluster.sleep_action {
        return;
    }
    let mut sleeping = Vec::new();
    for container in pod::containers_mut(injected, "containers") {
        let name = pod::name(container).to_owned();
        let lifecycle = pod::object(pod::whole(container), "lifecycle");
        if !lifecycle.contains_key(PRE_STOP) {
            lifecycle.insert(PRE_STOP.to_owned(), sleep(seconds));
            sleeping.push(name);
        }
    }
    if sleeping.is_empty() {
        return;
    }
    let longer = grace.as_ref().and_then(Value::as_u64).unwrap_or(DEFAULT_GRACE_SECONDS).saturating_add(seconds);
    pod::object(pod::whole(injected), "spec").insert(GRACE.to_owned(), json!(longer));
    undo.insert(PRE_STOP.to_owned(), json!(sleeping));
    undo.insert(GRACE.to_owned(), grace.unwrap_or(Value::Null));
}

fn sleep(seconds: u64) -> Value {
    json!({"sleep": {"seconds": seconds}})
}

/// Takes the sleep away, and gives the old grace period back.
pub(super) fn restore(injected: &mut Value, undo: &Value) {
    let names = undo.get(PRE_STOP).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for container in pod::containers_mut(injected, "containers") {
        if !names.iter().any(|name| name.as_str() == Some(pod::name(container))) {
            continue;
        }
        let container = pod::whole(container);
        pod::object(container, "lifecycle").remove(PRE_STOP);
        pod::prune(container, "lifecycle");
    }
    let Some(grace) = undo.get(GRACE) else { return };
    let spec = pod::object(pod::whole(injected), "spec");
    match grace {
        Value::Null => spec.remove(GRACE),
        grace => spec.insert(GRACE.to_owned(), grace.clone()),
    };
}
