//! ClusterLoadAssignment -> endpoints.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weft_api::ports;
use weft_api::xds::pb::envoy::config::core::v3::HealthStatus;
use weft_api::xds::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use weft_api::xds::pb::envoy::config::endpoint::v3::{LbEndpoint, LocalityLbEndpoints};
use weft_api::xds::{self, ClusterLoadAssignment, Metadata};

use super::fault::{Fault, Within as _, refuse};
use super::socket_address;
use crate::discovery::values::{Endpoint, EndpointHealth, Endpoints, MeshEndpoint, Place};

/// Checks the endpoints of a cluster. Unhealthy ones are left out, as Envoy does.
pub(super) fn parse(assignment: &ClusterLoadAssignment) -> Result<Endpoints, Fault> {
    let mut all = Vec::with_capacity(assignment.endpoints.iter().map(|locality| locality.lb_endpoints.len()).sum());
    for (index, locality) in assignment.endpoints.iter().enumerate() {
        add_locality(&mut all, locality).within_item("endpoints", index)?;
    }
    Ok(Endpoints { all })
}

fn add_locality(all: &mut Vec<Arc<Endpoint>>, locality: &LocalityLbEndpoints) -> Result<(), Fault> {
    refuse!(locality; lb_config, priority);
    let place =
        locality.locality.as_ref().map(|at| Place { zone: at.zone.as_str().into(), node: at.sub_zone.as_str().into() });
    let place = place.unwrap_or_default();
    for (index, endpoint) in locality.lb_endpoints.iter().enumerate() {
        if let Some(endpoint) = parse_endpoint(endpoint, &place).within_item("lb_endpoints", index)? {
            all.push(Arc::new(endpoint));
        }
    }
    Ok(())
}

fn parse_endpoint(lb_endpoint: &LbEndpoint, place: &Place) -> Result<Option<Endpoint>, Fault> {
    let draining = match HealthStatus::try_from(lb_endpoint.health_status) {
        Ok(HealthStatus::Unknown | HealthStatus::Healthy | HealthStatus::Degraded) => false,
        Ok(HealthStatus::Draining) => true,
        Ok(HealthStatus::Unhealthy | HealthStatus::Timeout) => return Ok(None),
        Err(_) => return Err(Fault::new("health_status", "is not a health status")),
    };
    let Some(HostIdentifier::Endpoint(endpoint)) = &lb_endpoint.host_identifier else {
        return Err(Fault::new("endpoint", "is missing"));
    };
    let (host, port) = socket_address(endpoint.address.as_ref()).within("endpoint")?;
    let ip: IpAddr = host
        .parse()
        .map_err(|_| Fault::new("endpoint.address.socket_address.address", format!("{host:?} is not an IP address")))?;
    let metadata = lb_endpoint.metadata.as_ref();
    let text = |key| Arc::from(xds::metadata_text(metadata, key).unwrap_or_default());
    Ok(Some(Endpoint {
        address: SocketAddr::new(ip, port),
        mesh: mesh(ip, metadata).within("metadata.filter_metadata[weft.dev]")?,
        workload: text(xds::METADATA_WORKLOAD),
        pod: text(xds::METADATA_POD),
        place: place.clone(),
        draining,
        health: EndpointHealth::default(),
    }))
}

fn mesh(ip: IpAddr, metadata: Option<&Metadata>) -> Result<Option<MeshEndpoint>, Fault> {
    let ours = metadata.and_then(|metadata| metadata.filter_metadata.get(xds::METADATA));
    if ours.is_none_or(|ours| !ours.fields.contains_key(xds::METADATA_IDENTITY)) {
        return Ok(None);
    }
    // An identity that cannot be read must never become plaintext.
    let identity = xds::metadata_text(metadata, xds::METADATA_IDENTITY)
        .ok_or_else(|| Fault::new(xds::METADATA_IDENTITY, "is not a text"))?;
    let identity = identity.parse().map_err(|error| Fault::new("identity", format!("{identity:?}: {error}")))?;
    let port = match xds::metadata_number(metadata, xds::METADATA_MESH_PORT) {
        None => ports::MESH,
        Some(number) => port(number).ok_or_else(|| Fault::new("mesh_port", format!("{number} is not a port")))?,
    };
    Ok(Some(MeshEndpoint { address: SocketAddr::new(ip, port), identity }))
}

/// A port that came as a JSON number.
fn port(number: f64) -> Option<u16> {
    (1.0..=65535.0).contains(&number).then_some(number)?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 1 to 65535")]
    let port = number as u16;
    (f64::from(port) == number).then_some(port)
}
