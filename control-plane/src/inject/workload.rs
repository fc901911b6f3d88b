//! The workload's name, for telemetry: the one that the registry, too, would give the pod.

use serde_json::Value;

use super::pod;

/// The recommended label, else the usual one, else the name of what made the pod, else the pod's own.
pub(super) fn name<'a>(pod: &'a Value, owner: Option<&'a str>) -> Option<&'a str> {
    let label = |key: &str| pod::text(pod, &["metadata", "labels", key]);
    let labelled = label("app.kubernetes.io/name").or_else(|| label("app"));
    labelled.or(owner).or_else(|| of_owner(pod)).or_else(|| pod::text(pod, &["metadata", "name"]))
}

/// A Deployment's ReplicaSet has the Deployment's name and a hash behind it, which the pod has as a label.
fn of_owner(pod: &Value) -> Option<&str> {
    let owners = pod::at(pod, &["metadata", "ownerReferences"])?.as_array()?;
    let owner = owners.iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
    let name = pod::text(owner, &["name"])?;
    let hash = pod::text(pod, &["metadata", "labels", "pod-template-hash"]);
    let hash = hash.filter(|_| pod::text(owner, &["kind"]) == Some("ReplicaSet"));
    let deployment = hash.and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-'));
    Some(deployment.unwrap_or(name))
}
