//! The two forms of the discovery protocol, over the same subscriptions.

use std::collections::BTreeMap;
use std::sync::Arc;

use tonic::Status;
use weft_api::xds::ResourceKind;
use weft_api::xds::pb::envoy::config::core::v3::{ControlPlane, Node};
use weft_api::xds::pb::envoy::service::discovery::v3 as discovery;

use super::subscriptions::{Names, Outgoing};

/// What the control plane calls itself in responses.
const IDENTIFIER: &str = concat!("weft-control/", env!("CARGO_PKG_VERSION"));

/// A form of the discovery protocol.
pub(super) trait Protocol: Send + 'static {
    type Request: Send;
    type Response: Send;
    /// Whether a response has all resources of its kind, rather than those that changed.
    const WHOLE: bool;

    /// # Errors
    /// `INVALID_ARGUMENT` when the type is none that is served.
    fn decode(request: Self::Request) -> Result<Incoming, Status>;
    fn encode(outgoing: Outgoing) -> Self::Response;
}

/// A request, whatever its form.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) node: Option<Node>,
    pub(super) kind: ResourceKind,
    /// The response that this acknowledges; empty: none.
    pub(super) nonce: String,
    /// Why the client refuses that response.
    pub(super) error: Option<String>,
    pub(super) names: Names,
}

/// `DeltaAggregatedResources`
pub(super) enum Delta {}

impl Protocol for Delta {
    type Request = discovery::DeltaDiscoveryRequest;
    type Response = discovery::DeltaDiscoveryResponse;
    const WHOLE: bool = false;

    fn decode(request: Self::Request) -> Result<Incoming, Status> {
        Ok(Incoming {
            kind: kind(&request.type_url)?,
            node: request.node,
            nonce: request.response_nonce,
            error: request.error_detail.map(|status| status.message),
            names: Names::Change {
                subscribe: into_arcs(request.resource_names_subscribe),
                unsubscribe: request.resource_names_unsubscribe,
                versions: BTreeMap::from_iter(request.initial_resource_versions),
            },
        })
    }

    fn encode(outgoing: Outgoing) -> Self::Response {
        let resource = |resource: &Arc<super::resources::Resource>| discovery::Resource {
            name: resource.name.clone(),
            version: resource.version.to_string(),
            resource: Some(resource.any.clone()),
            ..Default::default()
        };
        discovery::DeltaDiscoveryResponse {
            type_url: outgoing.kind.type_url().to_owned(),
            nonce: outgoing.nonce.to_string(),
            resources: outgoing.resources.iter().map(resource).collect(),
            removed_resources: outgoing.removed.iter().map(ToString::to_string).collect(),
            control_plane: Some(ControlPlane { identifier: IDENTIFIER.to_owned() }),
            ..Default::default()
        }
    }
}

/// `StreamAggregatedResources`. A nonce doubles as `version_info`: versions are those of single resources.
pub(super) enum StateOfTheWorld {}

impl Protocol for StateOfTheWorld {
    type Request = discovery::DiscoveryRequest;
    type Response = discovery::DiscoveryResponse;
    const WHOLE: bool = true;

    fn decode(request: Self::Request) -> Result<Incoming, Status> {
        Ok(Incoming {
            kind: kind(&request.type_url)?,
            node: request.node,
            nonce: request.response_nonce,
            error: request.error_detail.map(|status| status.message),
            names: Names::Set(into_arcs(request.resource_names)),
        })
    }

    fn encode(outgoing: Outgoing) -> Self::Response {
        discovery::DiscoveryResponse {
            version_info: outgoing.nonce.to_string(),
            type_url: outgoing.kind.type_url().to_owned(),
            nonce: outgoing.nonce.to_string(),
            resources: outgoing.resources.iter().map(|resource| resource.any.clone()).collect(),
            control_plane: Some(ControlPlane { identifier: IDENTIFIER.to_owned() }),
            ..Default::default()
        }
    }
}

fn into_arcs(names: Vec<String>) -> Vec<Arc<str>> {
    names.into_iter().map(Arc::from).collect()
}

fn kind(type_url: &str) -> Result<ResourceKind, Status> {
    ResourceKind::from_type_url(type_url).ok_or_else(|| {
        let known: Vec<_> = ResourceKind::ALL.iter().map(|kind| kind.type_url()).collect();
        let shown: String = type_url.chars().take(120).collect();
        Status::invalid_argument(format!("type_url {shown:?} is not served; served are {}", known.join(", ")))
    })
}
