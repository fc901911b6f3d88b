//! For tests: manifests from text, and a small mesh to play with.

use super::Fault;
use super::files::state;
use crate::mesh::Manifests;

/// `web` calls `api`, of which `v1` and `v2` run; `api` calls `users`.
pub(crate) const DEMO: &str = include_str!("testing/demo.yaml");

/// The same, with nodes, and more said of the Service `api`: `web` and `api-v1` are on `n1`, `api-v2` is on `n2`.
pub(crate) fn demo_on_nodes(of_api: &str) -> String {
    let text = DEMO.replace("clusterIP: 10.96.0.10\n", &format!("clusterIP: 10.96.0.10\n  {of_api}\n"));
    let text = text.replace("spec: {serviceAccountName: web,", "spec: {serviceAccountName: web, nodeName: n1,");
    let text = text.replace("zone: a", "zone: a, nodeName: n1");
    text.replace("zone: b", "zone: b, nodeName: n2")
}

/// What one file says, and what is wrong with it, whatever others say.
pub(crate) fn read(text: &str) -> (Manifests, Vec<Fault>) {
    let merged = merged(text);
    (merged.manifests().clone(), merged.own_faults())
}

/// What is wrong with a file's objects taken together, as people see it; each by itself is good.
pub(crate) fn conflicts(text: &str) -> Vec<String> {
    good(text);
    merged(text).faults().iter().map(ToString::to_string).collect()
}

fn merged(text: &str) -> state::Merged {
    let mut merged = state::Merged::default();
    merged.put("mesh.yaml", state::FileState::read("mesh.yaml", text, &state::FileState::default()));
    merged
}

/// What one file says, with nothing wrong in it.
pub(crate) fn good(text: &str) -> Manifests {
    let (manifests, faults) = read(text);
    assert_eq!(faults, [], "in {text}");
    manifests
}

/// What is wrong with a file, as people see it.
pub(crate) fn faults(text: &str) -> Vec<String> {
    read(text).1.iter().map(ToString::to_string).collect()
}
