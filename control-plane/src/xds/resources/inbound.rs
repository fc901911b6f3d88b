//! The listener `inbound`: how a pod takes in connections, port by port.

use std::collections::BTreeMap;

use prost::Message as _;
use weft_api::names::INBOUND_LISTENER;
use weft_api::xds::pb::envoy::config::core::v3::Metadata;
use weft_api::xds::pb::envoy::config::listener::v3::{FilterChain, FilterChainMatch, Listener};
use weft_api::xds::pb::google::protobuf::value::Kind;
use weft_api::xds::{self, METADATA_MTLS, METADATA_NODE, METADATA_ZONE};

use super::encode;
use super::listener::{chain, http_inspector, http_manager, http_match, tcp_proxy};
use super::values::number;
use crate::mesh::{Mesh, Pod, Protocol, TrafficPolicy};

mod limits;

pub(super) fn listener(mesh: &Mesh, pod: &Pod) -> Vec<u8> {
    let mtls = pod.mtls.unwrap_or(mesh.options().default_mtls).as_str().to_owned();
    let metadata = xds::metadata([(METADATA_MTLS, Kind::StringValue(mtls.clone()))]);
    let ports = mesh.pod_ports(pod);
    let mut listener = Listener { name: INBOUND_LISTENER.to_owned(), ..Listener::default() };
    if ports.values().any(|&protocol| protocol == Protocol::Undeclared) {
        listener.listener_filters.push(http_inspector());
    }
    let chains =
        ports.into_iter().flat_map(|(port, protocol)| chains(port, protocol, &policies(mesh, pod, port), &metadata));
    listener.filter_chains = chains.collect();
    let mut encoded = listener.encode_to_vec();
    // The last chain: here too is what is known of the pod as a whole.
    let mut whole = BTreeMap::from([(METADATA_MTLS, mtls)]);
    whole.extend(mesh.zone_of(pod).map(|zone| (METADATA_ZONE, zone.to_string())));
    whole.extend(mesh.node_of(pod).map(|node| (METADATA_NODE, node.to_string())));
    let mut last = opaque().encode_to_vec();
    encode::append(&mut last, 5, &encode::metadata(&whole));
    encode::append(&mut encoded, 25, &last);
    encoded
}

/// The policies of the Services that have a port of the pod as their target, in the order of their own names, each
/// once.
fn policies<'a>(mesh: &'a Mesh, pod: &Pod, target: u16) -> Vec<&'a TrafficPolicy> {
    let mut found = BTreeMap::new();
    for (service, slice) in mesh.services_of(pod) {
        for port in service.ports.iter().filter(|port| slice.target_port(&port.name) == Some(target)) {
            if let Some(policy) = mesh.policy(service, port) {
                found.insert(&policy.name, policy);
            }
        }
    }
    found.into_values().collect()
}

fn chains(port: u16, protocol: Protocol, policies: &[&TrafficPolicy], metadata: &Metadata) -> Vec<FilterChain> {
    let matched = |chain: FilterChain, sniffed: FilterChainMatch| {
        let filter_chain_match = FilterChainMatch { destination_port: Some(number(port.into())), ..sniffed };
        FilterChain { filter_chain_match: Some(filter_chain_match), metadata: Some(metadata.clone()), ..chain }
    };
    let http = || chain(http_manager(INBOUND_LISTENER, None, limits::filters(policies)));
    match protocol {
        Protocol::Http => vec![matched(http(), FilterChainMatch::default())],
        Protocol::Opaque => vec![matched(opaque(), FilterChainMatch::default())],
        Protocol::Undeclared => {
            vec![matched(http(), http_match()), matched(opaque(), FilterChainMatch::default())]
        }
    }
}

fn opaque() -> FilterChain {
    chain(tcp_proxy(INBOUND_LISTENER, &[(INBOUND_LISTENER.to_owned(), 1)]))
}
