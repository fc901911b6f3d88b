//! The annotation `weft.dev/opaque-ports` of a Service or a pod.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::registry::fault::{FieldPath, Report};

/// The annotation: ports with commas between them.
const OPAQUE_PORTS: &str = "weft.dev/opaque-ports";
/// The most ports of one list, as the injector has it.
const MOST: usize = 128;

/// The ports whose bytes are passed on as they are. What is wrong is told and left out.
pub(super) fn read(metadata: &ObjectMeta, report: &mut Report) -> BTreeSet<u16> {
    let text = metadata.annotations.as_ref().and_then(|annotations| annotations.get(OPAQUE_PORTS));
    let field = || FieldPath::of(&["metadata", "annotations", OPAQUE_PORTS]);
    let mut ports = BTreeSet::new();
    for part in text.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|part| !part.is_empty()) {
        match part.parse() {
            Ok(port) if port != 0 && ports.len() < MOST => drop(ports.insert(port)),
            Ok(port) if port != 0 => {
                report.error(field(), format!("has more than {MOST} ports; the others are left out"));
                break;
            }
            _ => report.error(field(), format!("{part:?} is not a port; ports are 1 to 65535, such as 25,3306")),
        }
    }
    ports
}
