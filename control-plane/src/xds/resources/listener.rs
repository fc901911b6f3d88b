//! Listeners: what becomes of a connection to an address, and the parts that both directions have in common.

use std::net::SocketAddr;

use prost::{Message, Name};
use weft_api::xds::pb::envoy::config::core::v3::{
    AggregatedConfigSource, ApiVersion, ConfigSource, config_source::ConfigSourceSpecifier,
};
use weft_api::xds::pb::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter, filter, listener_filter,
};
use weft_api::xds::pb::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use weft_api::xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, Rds, http_connection_manager::RouteSpecifier,
};
use weft_api::xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy,
    tcp_proxy::{ClusterSpecifier, WeightedCluster, weighted_cluster::ClusterWeight},
};
use weft_api::xds::{self, pb::google::protobuf::Any};

use super::{Target, name_of, routes};
use crate::mesh::{Mesh, Protocol};

/// What the first bytes of HTTP look like to a listener filter.
const HTTP_PROTOCOLS: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// The listener for connections to an address, named by it.
pub(super) fn outbound(mesh: &Mesh, name: &str) -> Option<Vec<u8>> {
    let address = name.parse::<SocketAddr>().ok().filter(|address| address.to_string() == name)?;
    let target = match mesh.service_at(address.ip()) {
        Some(service) => Target::Service(service, service.port(address.port())?),
        None => Target::find_pod(mesh, address)?,
    };
    let mut listener = Listener { name: name.to_owned(), ..Listener::default() };
    let http = || chain(http_manager(&target.name(), Some(target.name())));
    let opaque = || chain(tcp_proxy(&target.name(), &tcp_backends(mesh, &target)));
    match target.protocol(mesh) {
        Protocol::Http => listener.filter_chains.push(http()),
        Protocol::Opaque => listener.filter_chains.push(opaque()),
        Protocol::Undeclared => {
            listener.listener_filters.push(http_inspector());
            let filter_chain_match = Some(http_match());
            listener.filter_chains.push(FilterChain { filter_chain_match, ..http() });
            listener.default_filter_chain = Some(opaque());
        }
    }
    Some(listener.encode_to_vec())
}

/// Where opaque connections go, with weights: a split has a say here too.
fn tcp_backends(mesh: &Mesh, target: &Target<'_>) -> Vec<(String, u32)> {
    let split = match target {
        Target::Service(service, port) => mesh.split_of(&service.name).map(|split| routes::split_backends(split, port)),
        Target::Pod(..) => None,
    };
    match split {
        Some(backends) => backends.iter().map(|to| (name_of(&to.service, to.port), to.weight)).collect(),
        None => vec![(target.name(), 1)],
    }
}

/// The source of everything: the stream that the resource itself came on.
pub(super) fn ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

pub(super) fn chain(filter: Filter) -> FilterChain {
    FilterChain { filters: vec![filter], ..FilterChain::default() }
}

pub(super) fn http_match() -> FilterChainMatch {
    FilterChainMatch { application_protocols: HTTP_PROTOCOLS.map(str::to_owned).into(), ..FilterChainMatch::default() }
}

pub(super) fn http_inspector() -> ListenerFilter {
    let config = listener_filter::ConfigType::TypedConfig(pack(&HttpInspector::default()));
    ListenerFilter {
        name: "envoy.filters.listener.http_inspector".to_owned(),
        config_type: Some(config),
        ..ListenerFilter::default()
    }
}

/// The HTTP connection manager, with a name for telemetry and that of its routes; `None`: requests go to the application
/// itself.
pub(super) fn http_manager(name: &str, routes: Option<String>) -> Filter {
    let rds = |route_config_name| RouteSpecifier::Rds(Rds { config_source: Some(ads()), route_config_name });
    let manager = HttpConnectionManager {
        stat_prefix: name.to_owned(),
        route_specifier: routes.map(rds),
        ..HttpConnectionManager::default()
    };
    network_filter("envoy.filters.network.http_connection_manager", &manager)
}

/// The TCP proxy, with a name for telemetry and its clusters with their weights.
pub(super) fn tcp_proxy(name: &str, backends: &[(String, u32)]) -> Filter {
    let cluster_specifier = match backends {
        [(name, _)] => ClusterSpecifier::Cluster(name.clone()),
        several => {
            let weight = |(name, weight): &(String, u32)| ClusterWeight {
                name: name.clone(),
                weight: *weight,
                ..ClusterWeight::default()
            };
            ClusterSpecifier::WeightedClusters(WeightedCluster { clusters: several.iter().map(weight).collect() })
        }
    };
    let proxy =
        TcpProxy { stat_prefix: name.to_owned(), cluster_specifier: Some(cluster_specifier), ..TcpProxy::default() };
    network_filter("envoy.filters.network.tcp_proxy", &proxy)
}

fn network_filter<M: Message + Name>(name: &str, config: &M) -> Filter {
    Filter { name: name.to_owned(), config_type: Some(filter::ConfigType::TypedConfig(pack(config))) }
}

fn pack<M: Message + Name>(message: &M) -> Any {
    xds::pack(message)
}
