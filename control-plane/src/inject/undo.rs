//! A pod without its sidecar again.

use serde_json::Value;

use super::containers::{self, TOKEN_VOLUME, TRUST_VOLUME};
use super::{INIT_CONTAINER, PROXY_CONTAINER, STATUS, UNDO, VERSION, pod, probes, shutdown};

/// Takes away what [`inject`](super::inject) added; `None`: there is nothing of it.
pub fn uninject(injected: &Value) -> Option<Value> {
    let proxy = pod::LISTS.into_iter().find_map(|list| {
        pod::containers(injected, list).iter().find(|container| pod::name(container) == PROXY_CONTAINER)
    })?;
    let told = probes_of(proxy);
    let undo = pod::text(injected, &["metadata", "annotations", UNDO]);
    let undo: Value = undo.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();

    let mut plain = injected.clone();
    shutdown::restore(&mut plain, &undo);
    if let Some(told) = told {
        probes::restore(&mut plain, &told);
    }
    let spec = pod::object(pod::whole(&mut plain), "spec");
    for (list, ours) in pod::LISTS
        .map(|list| (list, [INIT_CONTAINER, PROXY_CONTAINER]))
        .into_iter()
        .chain([("volumes", [TOKEN_VOLUME, TRUST_VOLUME])])
    {
        pod::list(spec, list).retain(|entry| !ours.contains(&pod::name(entry)));
        pod::prune(spec, list);
    }
    let metadata = pod::object(pod::whole(&mut plain), "metadata");
    let annotations = pod::object(metadata, "annotations");
    let added = undo.get("annotations").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for key in [STATUS, VERSION, UNDO].into_iter().chain(added.iter().filter_map(Value::as_str)) {
        annotations.remove(key);
    }
    pod::prune(metadata, "annotations");
    Some(plain)
}

fn probes_of(proxy: &Value) -> Option<String> {
    let environment = proxy.get("env")?.as_array()?;
    let probes = environment.iter().find(|variable| pod::name(variable) == "WEFT_PROBES")?;
    pod::text(probes, &["value"]).map(containers::expanded)
}
