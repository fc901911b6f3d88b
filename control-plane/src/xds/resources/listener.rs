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
use weft_api::xds::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use weft_api::xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_connection_manager::RouteSpecifier,
};
use weft_api::xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy,
    tcp_proxy::{ClusterSpecifier, WeightedCluster, weighted_cluster::ClusterWeight},
};
use weft_api::xds::{self, pb::google::protobuf::Any};

use super::{Target, name_of};
use crate::mesh::{Mesh, Protocol, Service, ServicePort, consumer_routes};

mod stream;

/// What the first bytes of HTTP look like to a listener filter.
const HTTP_PROTOCOLS: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// The listener for connections to an address, named by it, for a client of a namespace.
pub(super) fn outbound(mesh: &Mesh, name: &str, namespace: &str) -> Option<Vec<u8>> {
    let address = name.parse::<SocketAddr>().ok().filter(|address| address.to_string() == name)?;
    let listener = match mesh.service_at(address.ip()) {
        Some(service) => of_service(mesh, service, service.port(address.port())?, namespace),
        None => {
            let target = Target::find_pod(mesh, address)?;
            let Target::Pod(_, protocol) = target else { return None };
            let own = || chain(tcp_proxy(&target.name(), &[(target.name(), 1)]));
            by_protocol(protocol, &target.name(), target.name(), own)
        }
    };
    Some(Listener { name: name.to_owned(), ..listener }.encode_to_vec())
}

/// Connections that ask for a name that a TLSRoute has go its way; all others as the port's protocol says.
fn of_service(mesh: &Mesh, service: &Service, port: &ServicePort, namespace: &str) -> Listener {
    let name = name_of(&service.name, port.number);
    let consumer = mesh.consumers(service, port).get(namespace).cloned();
    let attached = mesh.attached(service, port, consumer.as_deref());
    let routes = match &consumer {
        Some(namespace) => consumer_routes(&name, namespace),
        None => name.clone(),
    };
    let others = || chain(tcp_proxy(&name, &stream::others(mesh, service, port, &attached)));
    let mut listener = by_protocol(attached.protocol(port.protocol), &name, routes, others);
    let named = stream::named(mesh, &attached);
    if !named.is_empty() {
        listener.listener_filters.push(tls_inspector());
        let chains = named.into_iter().map(|(server_names, backends)| FilterChain {
            filter_chain_match: Some(FilterChainMatch { server_names, ..FilterChainMatch::default() }),
            ..chain(tcp_proxy(&name, &backends))
        });
        listener.filter_chains.splice(0..0, chains);
    }
    listener
}

fn by_protocol(protocol: Protocol, name: &str, routes: String, opaque: impl Fn() -> FilterChain) -> Listener {
    let mut listener = Listener::default();
    let http = |routes| chain(http_manager(name, Some(routes), Vec::new()));
    match protocol {
        Protocol::Http => listener.filter_chains.push(http(routes)),
        Protocol::Opaque => listener.filter_chains.push(opaque()),
        Protocol::Undeclared => {
            listener.listener_filters.push(http_inspector());
            let filter_chain_match = Some(http_match());
            listener.filter_chains.push(FilterChain { filter_chain_match, ..http(routes) });
            listener.default_filter_chain = Some(opaque());
        }
    }
    listener
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
    listener_filter("envoy.filters.listener.http_inspector", &HttpInspector::default())
}

fn tls_inspector() -> ListenerFilter {
    listener_filter("envoy.filters.listener.tls_inspector", &TlsInspector::default())
}

fn listener_filter<M: Message + Name>(name: &str, config: &M) -> ListenerFilter {
    let config = listener_filter::ConfigType::TypedConfig(pack(config));
    ListenerFilter { name: name.to_owned(), config_type: Some(config), ..ListenerFilter::default() }
}

/// The HTTP connection manager, with a name for telemetry, that of its routes (`None`: requests go to the application
/// itself), and the filters that all requests pass.
pub(super) fn http_manager(name: &str, routes: Option<String>, http_filters: Vec<HttpFilter>) -> Filter {
    let rds = |route_config_name| RouteSpecifier::Rds(Rds { config_source: Some(ads()), route_config_name });
    let manager = HttpConnectionManager {
        stat_prefix: name.to_owned(),
        route_specifier: routes.map(rds),
        http_filters,
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
