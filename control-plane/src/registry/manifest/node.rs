//! `v1` Node.

use k8s_openapi::api::core::v1 as core;

use super::pod::ZONE;
use crate::mesh::Node;

pub(super) fn read(raw: core::Node) -> Node {
    let zone = raw.metadata.labels.as_ref().and_then(|labels| labels.get(ZONE));
    Node { zone: zone.map_or("", String::as_str).into() }
}
