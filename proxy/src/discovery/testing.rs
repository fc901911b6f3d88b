//! xDS resources for tests.

use weft_api::xds::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig};
use weft_api::xds::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ConfigSource, SocketAddress, address, config_source::ConfigSourceSpecifier,
    socket_address::PortSpecifier,
};
use weft_api::xds::pb::envoy::config::endpoint::v3::{
    Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use weft_api::xds::pb::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, ListenerFilter, filter::ConfigType,
};
use weft_api::xds::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteMatch, VirtualHost, WeightedCluster, route::Action, route_action::ClusterSpecifier,
    route_match::PathSpecifier, weighted_cluster::ClusterWeight,
};
use weft_api::xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, Rds, http_connection_manager::RouteSpecifier,
};
use weft_api::xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use weft_api::xds::pb::envoy::service::discovery::v3::Resource;
use weft_api::xds::pb::envoy::r#type::matcher::v3::RegexMatcher;
use weft_api::xds::pb::google::protobuf::{Any, UInt32Value, value::Kind};
use weft_api::xds::{self, Cluster, ClusterLoadAssignment, Listener, RouteConfiguration};

pub(crate) fn ads() -> Option<ConfigSource> {
    let ads = ConfigSourceSpecifier::Ads(AggregatedConfigSource {});
    Some(ConfigSource { config_source_specifier: Some(ads), ..ConfigSource::default() })
}

/// A resource as it comes in a response.
pub(crate) fn resource(name: &str, version: &str, any: Any) -> Resource {
    Resource { name: name.to_owned(), version: version.to_owned(), resource: Some(any), ..Resource::default() }
}

pub(crate) fn chain(any: Any) -> FilterChain {
    let filter = Filter { name: "filter".to_owned(), config_type: Some(ConfigType::TypedConfig(any)) };
    FilterChain { filters: vec![filter], ..FilterChain::default() }
}

/// A chain of an outbound listener that routes requests.
pub(crate) fn http_chain(routes: &str) -> FilterChain {
    let rds = Rds { config_source: ads(), route_config_name: routes.to_owned() };
    let route_specifier = Some(RouteSpecifier::Rds(rds));
    chain(xds::pack(&HttpConnectionManager { route_specifier, ..HttpConnectionManager::default() }))
}

/// A chain that leads to one cluster.
pub(crate) fn tcp_chain(cluster: &str) -> FilterChain {
    let cluster_specifier = Some(tcp_proxy::ClusterSpecifier::Cluster(cluster.to_owned()));
    chain(xds::pack(&TcpProxy { cluster_specifier, ..TcpProxy::default() }))
}

/// A chain of the inbound listener that takes requests.
pub(crate) fn application_http_chain() -> FilterChain {
    chain(xds::pack(&HttpConnectionManager::default()))
}

/// The match of connections that begin as HTTP.
pub(crate) fn http_match() -> FilterChainMatch {
    let protocols = ["http/1.0", "http/1.1", "h2c"].map(str::to_owned).into();
    FilterChainMatch { application_protocols: protocols, ..FilterChainMatch::default() }
}

pub(crate) fn http_inspector() -> ListenerFilter {
    ListenerFilter { name: "envoy.filters.listener.http_inspector".to_owned(), ..ListenerFilter::default() }
}

pub(crate) fn http_listener(name: &str, routes: &str) -> Listener {
    Listener { name: name.to_owned(), filter_chains: vec![http_chain(routes)], ..Listener::default() }
}

pub(crate) fn tcp_listener(name: &str, cluster: &str) -> Listener {
    Listener { name: name.to_owned(), filter_chains: vec![tcp_chain(cluster)], ..Listener::default() }
}

/// A listener that detects: HTTP by its routes, the rest to the cluster of the same name.
pub(crate) fn detecting_listener(name: &str, service: &str) -> Listener {
    let http = FilterChain { filter_chain_match: Some(http_match()), ..http_chain(service) };
    Listener {
        name: name.to_owned(),
        listener_filters: vec![http_inspector()],
        filter_chains: vec![http],
        default_filter_chain: Some(tcp_chain(service)),
        ..Listener::default()
    }
}

/// A chain of the inbound listener for one port.
pub(crate) fn inbound_chain(port: u32, chain: FilterChain, mtls: Option<&str>) -> FilterChain {
    let matched = chain.filter_chain_match.clone().unwrap_or_default();
    let matched = FilterChainMatch { destination_port: Some(UInt32Value { value: port }), ..matched };
    let metadata = mtls.map(|mtls| xds::metadata([(xds::METADATA_MTLS, Kind::StringValue(mtls.to_owned()))]));
    FilterChain { filter_chain_match: Some(matched), metadata, ..chain }
}

pub(crate) fn prefix(prefix: &str) -> RouteMatch {
    RouteMatch { path_specifier: Some(PathSpecifier::Prefix(prefix.to_owned())), ..RouteMatch::default() }
}

pub(crate) fn regex(regex: &str) -> RouteMatch {
    let regex = RegexMatcher { regex: regex.to_owned(), ..RegexMatcher::default() };
    RouteMatch { path_specifier: Some(PathSpecifier::SafeRegex(regex)), ..RouteMatch::default() }
}

pub(crate) fn route(matcher: RouteMatch, clusters: &[(&str, u32)]) -> Route {
    let weight = |(name, value): &(&str, u32)| ClusterWeight {
        name: (*name).to_owned(),
        weight: Some(UInt32Value { value: *value }),
        ..ClusterWeight::default()
    };
    let clusters = clusters.iter().map(weight).collect();
    let weighted = ClusterSpecifier::WeightedClusters(WeightedCluster { clusters, ..WeightedCluster::default() });
    let action = RouteAction { cluster_specifier: Some(weighted), ..RouteAction::default() };
    Route { r#match: Some(matcher), action: Some(Action::Route(action)), ..Route::default() }
}

pub(crate) fn routes(name: &str, routes: Vec<Route>) -> RouteConfiguration {
    let host = VirtualHost { domains: vec!["*".to_owned()], routes, ..VirtualHost::default() };
    RouteConfiguration { name: name.to_owned(), virtual_hosts: vec![host], ..RouteConfiguration::default() }
}

pub(crate) fn eds_cluster(name: &str) -> Cluster {
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig { eds_config: ads(), ..EdsClusterConfig::default() }),
        ..Cluster::default()
    }
}

pub(crate) fn dns_cluster(name: &str, host: &str, port: u16) -> Cluster {
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns.into())),
        load_assignment: Some(assignment(name, &[(host, port)])),
        ..Cluster::default()
    }
}

pub(crate) fn lb_endpoint(host: &str, port: u16) -> LbEndpoint {
    let address = SocketAddress {
        address: host.to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(port.into())),
        ..SocketAddress::default()
    };
    let address = Some(Address { address: Some(address::Address::SocketAddress(address)) });
    let endpoint = HostIdentifier::Endpoint(Endpoint { address, ..Endpoint::default() });
    LbEndpoint { host_identifier: Some(endpoint), ..LbEndpoint::default() }
}

/// An endpoint with a sidecar, as the control plane tells of one.
pub(crate) fn meshed_endpoint(host: &str, port: u16, workload: &str, pod: &str) -> LbEndpoint {
    let text = |text: &str| Kind::StringValue(text.to_owned());
    let metadata = xds::metadata([
        (xds::METADATA_IDENTITY, text("spiffe://cluster.local/ns/a-namespace/sa/a-service-account")),
        (xds::METADATA_WORKLOAD, text(workload)),
        (xds::METADATA_POD, text(pod)),
    ]);
    LbEndpoint { metadata: Some(metadata), ..lb_endpoint(host, port) }
}

pub(crate) fn assignment(name: &str, endpoints: &[(&str, u16)]) -> ClusterLoadAssignment {
    let lb_endpoints = endpoints.iter().map(|(host, port)| lb_endpoint(host, *port)).collect();
    let locality = LocalityLbEndpoints { lb_endpoints, ..LocalityLbEndpoints::default() };
    ClusterLoadAssignment { cluster_name: name.to_owned(), endpoints: vec![locality], ..Default::default() }
}

/// A number where it may be absent.
#[allow(clippy::unnecessary_wraps, reason = "that is how such fields are typed")]
pub(crate) fn uint(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}
