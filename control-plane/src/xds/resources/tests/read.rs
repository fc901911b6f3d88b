//! Resources as a few readable lines.

use std::fmt::Write as _;

use pb::envoy::config::cluster::v3::cluster::ClusterDiscoveryType;
use pb::envoy::config::core::v3::{Address, HealthStatus, address, socket_address::PortSpecifier};
use pb::envoy::config::endpoint::v3::{LocalityLbEndpoints, lb_endpoint::HostIdentifier};
use pb::envoy::config::listener::v3::FilterChain;
use pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;

use super::*;

mod route;

/// A listener, chain by chain, as a pod (`POD`, or `POD.NAMESPACE`) sees it.
pub(super) fn listener(mesh: &Mesh, name: &str, pod: &str) -> String {
    let node = match pod.split_once('.') {
        Some((pod, namespace)) => NodeRef { namespace: namespace.to_owned(), pod: pod.to_owned() },
        None => node(pod),
    };
    let found = resource(mesh, ResourceKind::Listener, name, &node).unwrap();
    let listener: Listener = unpack(&found.any).unwrap();
    assert_eq!(listener.name, name);
    let mut text = String::new();
    listener.listener_filters.iter().for_each(|filter| writeln!(text, "{}", filter.name).unwrap());
    listener.filter_chains.iter().for_each(|chain| writeln!(text, "chain {}", read_chain(chain)).unwrap());
    listener.default_filter_chain.iter().for_each(|chain| writeln!(text, "else {}", read_chain(chain)).unwrap());
    text
}

fn read_chain(chain: &FilterChain) -> String {
    let mut text = String::new();
    if let Some(condition) = &chain.filter_chain_match {
        condition.destination_port.iter().for_each(|port| write!(text, ":{} ", port.value).unwrap());
        if !condition.server_names.is_empty() {
            write!(text, "{} ", condition.server_names.join(",")).unwrap();
        }
        if !condition.application_protocols.is_empty() {
            write!(text, "{} ", condition.application_protocols.join(",")).unwrap();
        }
    }
    for key in [xds::METADATA_MTLS, xds::METADATA_ZONE, xds::METADATA_NODE] {
        if let Some(value) = xds::metadata_text(chain.metadata.as_ref(), key) {
            write!(text, "{value} ").unwrap();
        }
    }
    let [filter] = chain.filters.as_slice() else { panic!("{chain:?}") };
    let Some(ConfigType::TypedConfig(config)) = &filter.config_type else { panic!("{filter:?}") };
    if let Ok(manager) = unpack::<HttpConnectionManager>(config) {
        let routes = match manager.route_specifier {
            Some(RouteSpecifier::Rds(rds)) => rds.route_config_name,
            None => "the application".to_owned(),
            other => panic!("{other:?}"),
        };
        let filters = manager.http_filters.iter().map(|filter| format!("{} ", filter.name)).collect::<String>();
        return format!("{text}{filters}http -> {routes}");
    }
    let to = match unpack::<TcpProxy>(config).unwrap().cluster_specifier.unwrap() {
        ClusterSpecifier::Cluster(name) => name,
        ClusterSpecifier::WeightedClusters(weighted) => {
            let clusters = weighted.clusters.iter().map(|cluster| format!("{} {}", cluster.weight, cluster.name));
            clusters.collect::<Vec<_>>().join(", ")
        }
    };
    format!("{text}tcp -> {to}")
}

pub(super) fn cluster(mesh: &Mesh, name: &str) -> String {
    let cluster: Cluster = unpack(&found(mesh, ResourceKind::Cluster, name).unwrap().any).unwrap();
    assert_eq!(cluster.name, name);
    let Some(ClusterDiscoveryType::Type(kind)) = cluster.cluster_discovery_type else { panic!("{cluster:?}") };
    let kind = pb::envoy::config::cluster::v3::cluster::DiscoveryType::try_from(kind).unwrap();
    let endpoints =
        cluster.load_assignment.map(|assignment| read_localities(&assignment.endpoints)).unwrap_or_default();
    format!("{} ads={} {endpoints}", kind.as_str_name(), cluster.eds_cluster_config.is_some())
}

pub(super) fn assignment(mesh: &Mesh, name: &str) -> String {
    let assignment: ClusterLoadAssignment =
        unpack(&found(mesh, ResourceKind::ClusterLoadAssignment, name).unwrap().any).unwrap();
    assert_eq!(assignment.cluster_name, name);
    read_localities(&assignment.endpoints)
}

fn read_localities(localities: &[LocalityLbEndpoints]) -> String {
    let mut text = String::new();
    for group in localities {
        let zone = group.locality.as_ref().map(|locality| locality.zone.clone());
        for endpoint in &group.lb_endpoints {
            let Some(HostIdentifier::Endpoint(at)) = &endpoint.host_identifier else { panic!("{endpoint:?}") };
            let health = HealthStatus::try_from(endpoint.health_status).unwrap().as_str_name();
            write!(text, "zone {zone:?} {} {health}", read_address(at.address.as_ref().unwrap())).unwrap();
            for key in [xds::METADATA_IDENTITY, xds::METADATA_POD, xds::METADATA_WORKLOAD] {
                if let Some(value) = xds::metadata_text(endpoint.metadata.as_ref(), key) {
                    write!(text, " {key}={value}").unwrap();
                }
            }
            text.push('\n');
        }
    }
    text
}

fn read_address(at: &Address) -> String {
    let Some(address::Address::SocketAddress(socket)) = &at.address else { panic!("{at:?}") };
    let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else { panic!("{at:?}") };
    format!("{} {port}", socket.address)
}

/// A route configuration, route by route: name, condition, action, and all that is changed on the way.
pub(super) fn routes(mesh: &Mesh, name: &str) -> String {
    let found = found(mesh, ResourceKind::RouteConfiguration, name).unwrap();
    let configuration: RouteConfiguration = unpack(&found.any).unwrap();
    assert_eq!(configuration.name, name);
    let [host] = configuration.virtual_hosts.as_slice() else { panic!("{configuration:?}") };
    assert_eq!(host.domains, ["*"]);
    let mut text = String::new();
    for route in &host.routes {
        let condition = read_condition(route.r#match.as_ref().unwrap());
        writeln!(text, "{}: {condition} -> {}", route.name, route::action(route)).unwrap();
    }
    text
}

/// The manifests that routes are from, one a line.
pub(super) fn manifests(mesh: &Mesh, name: &str) -> String {
    let found = found(mesh, ResourceKind::RouteConfiguration, name).unwrap();
    let configuration: RouteConfiguration = unpack(&found.any).unwrap();
    let routes = configuration.virtual_hosts[0].routes.iter();
    let manifest = |route: &pb::envoy::config::route::v3::Route| {
        let manifest = xds::metadata_text(route.metadata.as_ref(), xds::METADATA_MANIFEST).unwrap().to_owned();
        format!("{}: {manifest}\n", route.name)
    };
    routes.map(manifest).collect()
}

fn read_condition(condition: &pb::envoy::config::route::v3::RouteMatch) -> String {
    use pb::envoy::config::route::v3::{
        header_matcher::HeaderMatchSpecifier, query_parameter_matcher::QueryParameterMatchSpecifier,
        route_match::PathSpecifier,
    };

    let mut text = match condition.path_specifier.as_ref().unwrap() {
        PathSpecifier::Prefix(path) => format!("{path}*"),
        PathSpecifier::Path(path) => format!("={path}"),
        PathSpecifier::PathSeparatedPrefix(path) => format!("{path}/*"),
        PathSpecifier::SafeRegex(regex) => format!("~{}", regex.regex),
        other => panic!("{other:?}"),
    };
    for header in &condition.headers {
        let Some(HeaderMatchSpecifier::StringMatch(value)) = &header.header_match_specifier else {
            panic!("{header:?}")
        };
        write!(text, " {}{}", header.name, read_text(value)).unwrap();
    }
    if condition.grpc.is_some() {
        text += " grpc";
    }
    for parameter in &condition.query_parameters {
        let specifier = &parameter.query_parameter_match_specifier;
        let Some(QueryParameterMatchSpecifier::StringMatch(value)) = specifier else { panic!("{parameter:?}") };
        write!(text, " ?{}{}", parameter.name, read_text(value)).unwrap();
    }
    text
}

pub(super) fn read_text(value: &pb::envoy::r#type::matcher::v3::StringMatcher) -> String {
    use pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

    match value.match_pattern.as_ref().unwrap() {
        MatchPattern::Exact(text) => format!("={text}"),
        MatchPattern::SafeRegex(regex) => format!("~{}", regex.regex),
        other => panic!("{other:?}"),
    }
}
