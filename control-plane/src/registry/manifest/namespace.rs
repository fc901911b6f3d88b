//! `v1` Namespace.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;

use crate::mesh::Namespace;

/// What labels and annotations of ours begin with.
const OURS: &str = "weft.dev/";

pub(super) fn read(raw: core::Namespace) -> Namespace {
    let ours = |map: Option<BTreeMap<String, String>>| {
        map.unwrap_or_default().into_iter().filter(|(key, _)| key.starts_with(OURS)).collect()
    };
    Namespace {
        labels: ours(raw.metadata.labels),
        annotations: ours(raw.metadata.annotations),
        terminating: raw.metadata.deletion_timestamp.is_some(),
    }
}
