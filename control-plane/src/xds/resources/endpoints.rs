//! Load assignments: the endpoints of a cluster, by zone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use prost::Message;
use weft_api::xds::pb::envoy::config::core::v3::{
    Address, HealthStatus, Locality, SocketAddress, address, socket_address::PortSpecifier,
};
use weft_api::xds::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use weft_api::xds::{METADATA_IDENTITY, METADATA_POD, METADATA_WORKLOAD};

use super::Target;
use super::encode::{append, metadata};
use crate::mesh::{EndpointState, Mesh, ObjectName, Service, ServicePort};

/// The endpoints of a Service's port, or of the one pod that was dialled. `None` for names outside the mesh.
pub(super) fn assignment(mesh: &Mesh, name: &str) -> Option<Vec<u8>> {
    let target = Target::find(mesh, name)?;
    let found = match target {
        Target::Service(service, _) if service.external_name.is_some() => return None,
        Target::Service(service, port) => of_service(mesh, service, port),
        Target::Pod(address, _) => [((Arc::from(""), address), EndpointState::Ready)].into(),
    };
    let mut zones = BTreeMap::<Arc<str>, Vec<Vec<u8>>>::new();
    for ((zone, address), state) in found {
        // An endpoint with a sidecar and without an identity would get plaintext: better none.
        let Some(metadata) = about(mesh, address.ip()) else { continue };
        zones.entry(zone).or_default().push(endpoint(address, state, metadata));
    }
    let mut encoded = ClusterLoadAssignment { cluster_name: target.name(), ..Default::default() }.encode_to_vec();
    for (zone, endpoints) in zones {
        let locality = (!zone.is_empty()).then(|| Locality { zone: zone.to_string(), ..Locality::default() });
        let mut group = LocalityLbEndpoints { locality, ..LocalityLbEndpoints::default() }.encode_to_vec();
        endpoints.iter().for_each(|endpoint| append(&mut group, 2, endpoint));
        append(&mut encoded, 2, &group);
    }
    Some(encoded)
}

pub(super) fn address(host: &str, port: u16) -> Address {
    let socket_address = SocketAddress {
        address: host.to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(port.into())),
        ..SocketAddress::default()
    };
    Address { address: Some(address::Address::SocketAddress(socket_address)) }
}

/// Each address once, by zone: an endpoint may be in two slices for a while, and is ready if it is in one of them.
fn of_service(mesh: &Mesh, service: &Service, port: &ServicePort) -> BTreeMap<(Arc<str>, SocketAddr), EndpointState> {
    let mut zones = BTreeMap::<SocketAddr, (EndpointState, Arc<str>)>::new();
    for slice in mesh.slices_of(&service.name) {
        let Some(target) = slice.target_port(&port.name) else { continue };
        for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.state != EndpointState::NotReady) {
            let found = (endpoint.state, endpoint.zone.clone());
            zones
                .entry(SocketAddr::new(endpoint.address, target))
                .and_modify(|known| {
                    if known.0 == EndpointState::Draining {
                        *known = found.clone();
                    }
                })
                .or_insert(found);
        }
    }
    let other_family = other_addresses(mesh, service, zones.keys());
    zones.retain(|address, _| !other_family.contains(address));
    zones.into_iter().map(|(address, (state, zone))| ((zone, address), state)).collect()
}

/// The further addresses of pods that are among the endpoints with several: a pod is one endpoint, or else 'another
/// endpoint' could be the same pod again, and a share of the endpoints would be no share of the pods. A pod keeps the
/// address of the family that the Service's first cluster IP has, if it has one.
fn other_addresses<'a>(
    mesh: &Mesh,
    service: &Service,
    endpoints: impl Iterator<Item = &'a SocketAddr>,
) -> BTreeSet<SocketAddr> {
    let first_is_ipv6 = service.addresses.first().is_some_and(IpAddr::is_ipv6);
    let mut kept = BTreeMap::<(&ObjectName, u16), SocketAddr>::new();
    let mut others = BTreeSet::new();
    for &address in endpoints {
        let Some(pod) = mesh.pod_at(address.ip()) else { continue };
        let kept = kept.entry((&pod.name, address.port())).or_insert(address);
        if *kept == address {
            continue;
        }
        let is_better = address.is_ipv6() == first_is_ipv6 && kept.is_ipv6() != first_is_ipv6;
        others.insert(if is_better { std::mem::replace(kept, address) } else { address });
    }
    others
}

fn endpoint(at: SocketAddr, state: EndpointState, known: BTreeMap<&'static str, String>) -> Vec<u8> {
    let draining = state == EndpointState::Draining;
    let health_status = if draining { HealthStatus::Draining } else { HealthStatus::Healthy };
    let endpoint = Endpoint { address: Some(address(&at.ip().to_string(), at.port())), ..Endpoint::default() };
    let endpoint = LbEndpoint {
        health_status: health_status.into(),
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
        ..LbEndpoint::default()
    };
    let mut encoded = endpoint.encode_to_vec();
    if !known.is_empty() {
        append(&mut encoded, 3, &metadata(&known));
    }
    encoded
}

/// What is known of the pod at an address: nothing, where there is none. `None`: it has no valid identity.
fn about(mesh: &Mesh, address: IpAddr) -> Option<BTreeMap<&'static str, String>> {
    let mut known = BTreeMap::new();
    let Some(pod) = mesh.pod_at(address) else { return Some(known) };
    if pod.injected {
        known.insert(METADATA_IDENTITY, mesh.identity(pod)?.as_str().to_owned());
    }
    known.insert(METADATA_POD, pod.name.name.to_string());
    known.insert(METADATA_WORKLOAD, pod.workload.to_string());
    Some(known)
}
