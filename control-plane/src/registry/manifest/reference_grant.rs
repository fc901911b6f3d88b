//! `gateway.networking.k8s.io` ReferenceGrant, as far as it is about routes that name Services.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weft_api::names::is_dns_label;

use super::Refused;
use crate::mesh::{ObjectName, ReferenceGrant, RouteKind};
use crate::registry::fault::{FieldPath, Report};

/// The API group of the routes.
const GROUP: &str = "gateway.networking.k8s.io";

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Spec {
    from: Vec<From>,
    to: Vec<To>,
}

#[derive(Debug, Deserialize, Serialize)]
struct From {
    group: String,
    kind: String,
    namespace: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct To {
    group: String,
    kind: String,
    name: Option<String>,
}

/// What a grant says of other kinds is for others to read. A grant with a field that nobody knows is not used: it may be
/// one that grants less.
pub(super) fn read(
    name: &ObjectName,
    spec: Spec,
    unknown: &[FieldPath],
    report: &mut Report,
) -> Result<ReferenceGrant, Refused> {
    let kinds = [RouteKind::Grpc, RouteKind::Http, RouteKind::Tls, RouteKind::Tcp];
    let mut from = Vec::new();
    for (place, raw) in spec.from.into_iter().enumerate().filter(|(_, raw)| raw.group == GROUP) {
        let Some(kind) = kinds.into_iter().find(|kind| kind.name() == raw.kind) else { continue };
        if !is_dns_label(&raw.namespace) {
            let field = FieldPath::of(&["spec", "from"]).index(place).key("namespace");
            report.error(field, format!("{:?} is not the name of a namespace", raw.namespace));
            return Err(Refused);
        }
        from.push((kind, raw.namespace.into()));
    }
    let services = spec.to.into_iter().filter(|raw| matches!(raw.group.as_str(), "" | "core") && raw.kind == "Service");
    let to = services.map(|raw| raw.name.map(Arc::from)).collect();
    for field in unknown {
        report.error(field.clone(), "is no field of a ReferenceGrant");
    }
    if unknown.is_empty() { Ok(ReferenceGrant { name: name.clone(), from, to }) } else { Err(Refused) }
}

#[cfg(test)]
mod tests;
