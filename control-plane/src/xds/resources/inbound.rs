//! The listener `inbound`: how a pod takes in connections, port by port.

use prost::Message as _;
use weft_api::names::INBOUND_LISTENER;
use weft_api::xds;
use weft_api::xds::pb::envoy::config::core::v3::Metadata;
use weft_api::xds::pb::envoy::config::listener::v3::{FilterChain, FilterChainMatch, Listener};
use weft_api::xds::pb::google::protobuf::{UInt32Value, value::Kind};

use super::listener::{chain, http_inspector, http_manager, http_match, tcp_proxy};
use crate::mesh::{Mesh, Pod, Protocol};

pub(super) fn listener(mesh: &Mesh, pod: &Pod) -> Vec<u8> {
    let mtls = pod.mtls.unwrap_or(mesh.options().default_mtls);
    let metadata = xds::metadata([(xds::METADATA_MTLS, Kind::StringValue(mtls.as_str().to_owned()))]);
    let ports = mesh.pod_ports(pod);
    let mut listener = Listener { name: INBOUND_LISTENER.to_owned(), ..Listener::default() };
    if ports.values().any(|&protocol| protocol == Protocol::Undeclared) {
        listener.listener_filters.push(http_inspector());
    }
    listener.filter_chains = ports.into_iter().flat_map(|(port, protocol)| chains(port, protocol, &metadata)).collect();
    listener.default_filter_chain = Some(FilterChain { metadata: Some(metadata), ..opaque() });
    listener.encode_to_vec()
}

fn chains(port: u16, protocol: Protocol, metadata: &Metadata) -> Vec<FilterChain> {
    let matched = |chain: FilterChain, sniffed: FilterChainMatch| {
        let filter_chain_match =
            FilterChainMatch { destination_port: Some(UInt32Value { value: port.into() }), ..sniffed };
        FilterChain { filter_chain_match: Some(filter_chain_match), metadata: Some(metadata.clone()), ..chain }
    };
    match protocol {
        Protocol::Http => vec![matched(http(), FilterChainMatch::default())],
        Protocol::Opaque => vec![matched(opaque(), FilterChainMatch::default())],
        Protocol::Undeclared => {
            vec![matched(http(), http_match()), matched(opaque(), FilterChainMatch::default())]
        }
    }
}

fn http() -> FilterChain {
    chain(http_manager(INBOUND_LISTENER, None))
}

fn opaque() -> FilterChain {
    chain(tcp_proxy(INBOUND_LISTENER, &[(INBOUND_LISTENER.to_owned(), 1)]))
}
