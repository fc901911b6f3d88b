//! What the state dump shows of each resource.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use weft_api::xds::ResourceKind;

use super::values::ClusterPolicy;
use crate::why;

/// One resource that is subscribed to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ResourceState {
    /// `Listener`, `RouteConfiguration`, `Cluster` or `ClusterLoadAssignment`.
    #[serde(serialize_with = "kind_name")]
    pub(crate) kind: ResourceKind,
    /// The resource's name.
    pub(crate) name: String,
    /// What is known of it.
    pub(crate) status: ResourceStatus,
    /// The version in force; empty if there is none.
    pub(crate) version: String,
    /// For how long the status and version have been in force.
    #[serde(serialize_with = "seconds")]
    pub(crate) age: Duration,
    /// Why the newest version was refused, if it was.
    pub(crate) error: Option<String>,
    /// What applies to the traffic of a cluster that is held; shown as in the manifests.
    #[serde(serialize_with = "policy", skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<Arc<ClusterPolicy>>,
}

/// What is known of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ResourceStatus {
    /// Asked for, and not answered yet.
    Requested,
    /// The control plane says that it does not exist.
    DoesNotExist,
    /// Held.
    Held,
    /// A bad version came, and there is no good one.
    Refused,
}

fn kind_name<S: serde::Serializer>(kind: &ResourceKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

fn seconds<S: serde::Serializer>(age: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(age.as_secs())
}

fn policy<S: serde::Serializer>(policy: &Option<Arc<ClusterPolicy>>, serializer: S) -> Result<S::Ok, S::Error> {
    let settings = policy.iter().flat_map(|policy| why::cluster_settings(policy));
    serializer.collect_map(settings.map(|setting| (setting.name, setting.value)))
}
