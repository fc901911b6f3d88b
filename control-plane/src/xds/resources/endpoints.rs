//! Load assignments: the endpoints of a cluster, by zone and node.

use std::collections::btree_map::Entry;
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

use super::encode::{append, metadata};
use super::{NodeRef, Target, variants};
use crate::mesh::{EndpointState, Locality as Preference, Mesh, ObjectName, Service, ServicePort};

/// Zone and node; empty: not told.
type Place = (Arc<str>, Arc<str>);

/// The endpoints of a Service's port, or of the one pod that was dialled. `None` for names outside the mesh. A Service that
/// keeps to its clients' node has those on the node of who asks.
pub(super) fn assignment(mesh: &Mesh, name: &str, client: &NodeRef) -> Option<Vec<u8>> {
    let target = Target::find(mesh, name)?;
    let found = match target {
        Target::Service(service, _) if service.external_name.is_some() => return None,
        Target::Service(service, port) => of_service(mesh, service, port, client),
        Target::Pod(address, _) => [((Place::default(), address), EndpointState::Ready)].into(),
    };
    let mut places = BTreeMap::<Place, Vec<Vec<u8>>>::new();
    for ((place, address), state) in found {
        // An endpoint with a sidecar and without an identity would get plaintext: better none.
        let Some(metadata) = about(mesh, address.ip()) else { continue };
        places.entry(place).or_default().push(endpoint(address, state, metadata));
    }
    let mut encoded = ClusterLoadAssignment { cluster_name: target.name(), ..Default::default() }.encode_to_vec();
    for ((zone, node), endpoints) in places {
        let locality = Locality { zone: zone.to_string(), sub_zone: node.to_string(), ..Locality::default() };
        let locality = Some(locality).filter(|locality| *locality != Locality::default());
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

/// Each address once, by place: an endpoint may be in two slices for a while, and is ready if it is in one of them. The
/// node is told where it matters: else all of a zone are one group.
fn of_service(
    mesh: &Mesh,
    service: &Service,
    port: &ServicePort,
    client: &NodeRef,
) -> BTreeMap<(Place, SocketAddr), EndpointState> {
    let written = mesh.policy(service, port).and_then(|policy| policy.balance.locality);
    let by_node = written.unwrap_or(service.locality) == Preference::PreferSameNode;
    let own_node = variants::node_of(mesh, client);
    let mut found = BTreeMap::<SocketAddr, (EndpointState, Place)>::new();
    for slice in mesh.slices_of(&service.name) {
        let Some(target) = slice.target_port(&port.name) else { continue };
        for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.state != EndpointState::NotReady) {
            let node = mesh.node_of_endpoint(endpoint);
            if service.node_local && (node.is_none() || node != own_node) {
                continue;
            }
            let node = node.filter(|_| by_node).cloned().unwrap_or_default();
            let (address, is) = (SocketAddr::new(endpoint.address, target), (endpoint.zone.clone(), node));
            match found.entry(address) {
                Entry::Occupied(mut known) if known.get().0 == EndpointState::Draining => {
                    known.insert((endpoint.state, is));
                }
                Entry::Occupied(_) => {}
                Entry::Vacant(free) => {
                    free.insert((endpoint.state, is));
                }
            }
        }
    }
    let other_family = other_addresses(mesh, service, found.keys());
    found.retain(|address, _| !other_family.contains(address));
    found.into_iter().map(|(address, (state, place))| ((place, address), state)).collect()
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
