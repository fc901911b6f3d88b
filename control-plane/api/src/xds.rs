//! The part of Envoy's v3 API that Weft speaks, and the names that it adds as metadata.
//!
//! The types are those of `envoy-types`, including its `google.protobuf.Any`.

use envoy_types::pb::google::protobuf::{Any, Struct, Value, value::Kind};
use prost::{Message, Name};

/// Envoy's v3 API, for the parts that have no shorter name here.
pub use envoy_types::pb;
pub use envoy_types::pb::envoy::config::cluster::v3::Cluster;
pub use envoy_types::pb::envoy::config::core::v3::Metadata;
pub use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
pub use envoy_types::pb::envoy::config::listener::v3::Listener;
pub use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;

/// The key of Weft's own entries in `Metadata.filter_metadata`.
pub const METADATA: &str = "weft.dev";
/// Endpoint metadata: the SPIFFE id that the endpoint must show. Absent: the endpoint has no sidecar.
pub const METADATA_IDENTITY: &str = "identity";
/// Endpoint metadata: the port of the endpoint's mesh listener, a number. Absent: 15008.
pub const METADATA_MESH_PORT: &str = "mesh_port";
/// Endpoint metadata: the workload's name, for telemetry.
pub const METADATA_WORKLOAD: &str = "workload";
/// Endpoint metadata: the pod's name, for telemetry.
pub const METADATA_POD: &str = "pod";
/// Filter chain metadata of the inbound listener: `strict` or `permissive`.
pub const METADATA_MTLS: &str = "mtls";

/// Metadata of a route and of a cluster: the manifest that says so, such as `HTTPRoute shop/api rules[2]`.
pub const METADATA_MANIFEST: &str = "manifest";
/// Metadata of a cluster: `Local` where a client is sent the endpoints on its own node alone.
pub const METADATA_INTERNAL_TRAFFIC: &str = "internal_traffic_policy";
/// Metadata of a cluster: `PreferSameNode` where the endpoints' `sub_zone` tells their node.
pub const METADATA_LOCALITY: &str = "locality";
/// Metadata of the inbound listener's `default_filter_chain`: the zone that the pod itself is in.
pub const METADATA_ZONE: &str = "zone";
/// Metadata beside it: the node that the pod itself is on.
pub const METADATA_NODE: &str = "node";
/// Metadata by which a rate limit's action means the identity of the caller's sidecar.
pub const METADATA_PEER: &str = "peer";
/// The cluster of connections that must not go anywhere. There is none of that name: they are reset.
pub const REFUSED_CLUSTER: &str = "weft.dev/refused";
/// The name of the extension by which a `LeastRequest` means peak EWMA to a proxy that knows it.
pub const PEAK_EWMA: &str = "weft.load_balancing_policies.peak_ewma";

/// The four kinds of resources, in the order in which a proxy needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceKind {
    /// `envoy.config.listener.v3.Listener`
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration`
    RouteConfiguration,
    /// `envoy.config.cluster.v3.Cluster`
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`
    ClusterLoadAssignment,
}

impl ResourceKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Listener, Self::RouteConfiguration, Self::Cluster, Self::ClusterLoadAssignment];

    /// The kind's type URL, such as `type.googleapis.com/envoy.config.listener.v3.Listener`.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::RouteConfiguration => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::ClusterLoadAssignment => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        }
    }

    /// The message's own name, such as `Listener`.
    pub fn name(self) -> &'static str {
        self.type_url().rsplit('.').next().unwrap_or_default()
    }

    /// The kind that has this type URL.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }
}

/// Wraps a message with its type URL.
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any { type_url: type_url::<M>(), value: message.encode_to_vec() }
}

/// Unwraps a message, if the type URL is that of `M`.
///
/// # Errors
/// With the reason, where the type is another or the bytes do not decode.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, String> {
    let expected = type_url::<M>();
    if any.type_url != expected {
        return Err(format!("is of type {:?}, expected {expected:?}", any.type_url));
    }
    M::decode(any.value.as_slice()).map_err(|error| format!("does not decode as {expected}: {error}"))
}

fn type_url<M: Name>() -> String {
    format!("type.googleapis.com/{}", M::full_name())
}

/// Metadata with Weft's own entries. Numbers and texts are the only values in use.
pub fn metadata(entries: impl IntoIterator<Item = (&'static str, Kind)>) -> Metadata {
    let fields = entries.into_iter().map(|(key, kind)| (key.to_owned(), Value { kind: Some(kind) })).collect();
    Metadata { filter_metadata: [(METADATA.to_owned(), Struct { fields })].into(), ..Metadata::default() }
}

/// A text among Weft's own metadata.
pub fn metadata_text<'a>(metadata: Option<&'a Metadata>, key: &str) -> Option<&'a str> {
    match metadata_value(metadata, key)? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

/// A number among Weft's own metadata.
pub fn metadata_number(metadata: Option<&Metadata>, key: &str) -> Option<f64> {
    match metadata_value(metadata, key)? {
        Kind::NumberValue(number) => Some(*number),
        _ => None,
    }
}

fn metadata_value<'a>(metadata: Option<&'a Metadata>, key: &str) -> Option<&'a Kind> {
    metadata?.filter_metadata.get(METADATA)?.fields.get(key)?.kind.as_ref()
}
