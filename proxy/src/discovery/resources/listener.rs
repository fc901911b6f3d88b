//! Listener -> what an address that the application dials speaks and where it leads.

use std::str::FromStr as _;
use std::sync::Arc;

use weft_api::names::ServicePort;
use weft_api::xds::pb::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch, filter};
use weft_api::xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use weft_api::xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use weft_api::xds::{self, Listener};
use weft_rules::weighted::Weighted;

use super::fault::{Fault, Within as _, refuse};
use super::{reference, require_ads};
use crate::discovery::values::{Protocol, ServerNameMatch};

/// The cluster of connections that must not go anywhere: they are reset. It is never subscribed to.
pub(in crate::discovery) const REFUSED_CLUSTER: &str = "weft.dev/refused";
const HTTP_INSPECTOR: &str = "envoy.filters.listener.http_inspector";
const HTTP_ROUTER: &str = "envoy.filters.http.router";
/// What a chain asks for that takes the connections which begin as HTTP.
const HTTP_PROTOCOLS: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// An outbound listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::discovery) struct ListenerSpec {
    pub(in crate::discovery) protocol: Protocol,
    /// The route configuration of HTTP; `None` when the protocol is opaque.
    pub(in crate::discovery) routes: Option<Arc<str>>,
    /// The clusters of TLS connections by server name, the most specific name first.
    pub(in crate::discovery) tls: Vec<(ServerNameMatch, Weighted<Arc<str>>)>,
    /// The clusters of opaque connections; `None` when the protocol is HTTP.
    pub(in crate::discovery) opaque: Option<Weighted<Arc<str>>>,
    /// `NAMESPACE/SERVICE:PORT`, or the listener's own name.
    pub(in crate::discovery) service: Arc<str>,
}

impl ListenerSpec {
    /// The clusters that connections go to without a route, those that must not go anywhere left out.
    pub(in crate::discovery) fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        let all = self.tls.iter().map(|(_, clusters)| clusters).chain(&self.opaque);
        all.flat_map(|weighted| weighted.iter().map(|(name, _)| name)).filter(|name| name.as_ref() != REFUSED_CLUSTER)
    }
}

/// Checks an outbound listener.
pub(super) fn parse(listener: &Listener) -> Result<ListenerSpec, Fault> {
    let detects = check_listener(listener)?;
    let [chain] = listener.filter_chains.as_slice() else {
        let found = listener.filter_chains.len();
        return Err(Fault::new("filter_chains", format!("has {found} chains; expected one")));
    };
    let first = parse_chain(chain).within("filter_chains[0]")?;
    let asks_for_http =
        asks_for_http(chain.filter_chain_match.as_ref()).within("filter_chains[0].filter_chain_match")?;
    match (asks_for_http, detects, &listener.default_filter_chain) {
        (false, _, None) => Ok(declared(first, &listener.name)),
        (false, _, Some(_)) => {
            Err(Fault::new("default_filter_chain", "is never reached: filter_chains[0] takes all connections"))
        }
        (true, false, _) => Err(Fault::new("listener_filters", format!("has no {HTTP_INSPECTOR}"))),
        (true, true, None) => Err(Fault::new("default_filter_chain", "is missing: what is not HTTP has nowhere to go")),
        (true, true, Some(other)) => detected(first, parse_chain(other).within("default_filter_chain")?),
    }
}

fn declared(filter: Terminal, listener: &str) -> ListenerSpec {
    match filter {
        Terminal::Http { routes } => ListenerSpec {
            protocol: Protocol::Http,
            service: routes.clone(),
            routes: Some(routes),
            tls: Vec::new(),
            opaque: None,
        },
        Terminal::Tcp { clusters, label } => {
            let service = label.or_else(|| single(&clusters)).unwrap_or_else(|| listener.into());
            ListenerSpec { protocol: Protocol::Opaque, routes: None, tls: Vec::new(), opaque: Some(clusters), service }
        }
    }
}

fn detected(http: Terminal, opaque: Terminal) -> Result<ListenerSpec, Fault> {
    let Terminal::Http { routes } = http else {
        return Err(Fault::new("filter_chains[0].filters[0]", "is not an http_connection_manager, but asks for HTTP"));
    };
    let Terminal::Tcp { clusters, .. } = opaque else {
        return Err(Fault::new("default_filter_chain.filters[0]", "is not a tcp_proxy"));
    };
    Ok(ListenerSpec {
        protocol: Protocol::Detect,
        service: routes.clone(),
        routes: Some(routes),
        tls: Vec::new(),
        opaque: Some(clusters),
    })
}

/// The name of the cluster, if there is only one.
fn single(clusters: &Weighted<Arc<str>>) -> Option<Arc<str>> {
    let mut names = clusters.iter().map(|(name, _)| name.clone());
    names.next().filter(|_| names.next().is_none())
}

/// Checks what the listener asks for as a whole. Returns whether it looks at the first bytes.
pub(super) fn check_listener(listener: &Listener) -> Result<bool, Fault> {
    refuse!(listener; fcds_config, filter_chain_matcher, udp_listener_config, api_listener, listener_specifier);
    let mut detects = false;
    for (index, filter) in listener.listener_filters.iter().enumerate() {
        if filter.name != HTTP_INSPECTOR {
            let reason = format!("{:?} is not supported; only {HTTP_INSPECTOR} is", filter.name);
            return Err(Fault::new("name", reason)).within_item("listener_filters", index);
        }
        refuse!(filter; filter_disabled);
        detects = true;
    }
    Ok(detects)
}

/// Whether a chain is for the connections that begin as HTTP; `false`: for all.
fn asks_for_http(chain_match: Option<&FilterChainMatch>) -> Result<bool, Fault> {
    let Some(chain_match) = chain_match else { return Ok(false) };
    refuse!(chain_match; destination_port);
    match_protocols(chain_match)
}

/// Checks a match but for its port. Returns whether it is for the connections that begin as HTTP.
pub(super) fn match_protocols(chain_match: &FilterChainMatch) -> Result<bool, Fault> {
    refuse!(chain_match; prefix_ranges, address_suffix, suffix_len, direct_source_prefix_ranges, source_type,
        source_prefix_ranges, source_ports, server_names, transport_protocol);
    let protocols = &chain_match.application_protocols;
    if protocols.is_empty() {
        return Ok(false);
    }
    let all = HTTP_PROTOCOLS.iter().all(|wanted| protocols.iter().any(|protocol| protocol == wanted));
    if !all || protocols.len() != HTTP_PROTOCOLS.len() {
        let reason = format!("is {protocols:?}; only {HTTP_PROTOCOLS:?} are supported, together");
        return Err(Fault::new("application_protocols", reason));
    }
    Ok(true)
}

/// The one filter that ends a chain.
#[derive(Debug)]
pub(super) enum Terminal {
    Http {
        routes: Arc<str>,
    },
    Tcp {
        clusters: Weighted<Arc<str>>,
        /// The name of a Service's port, if `stat_prefix` is one.
        label: Option<Arc<str>>,
    },
}

fn parse_chain(chain: &FilterChain) -> Result<Terminal, Fault> {
    match filter(chain)? {
        Network::Http(manager) => http_routes(&manager).map(|routes| Terminal::Http { routes }),
        Network::Tcp(proxy) => tcp_clusters(&proxy).map(|clusters| {
            let label = ServicePort::from_str(&proxy.stat_prefix).is_ok().then(|| proxy.stat_prefix.as_str().into());
            Terminal::Tcp { clusters, label }
        }),
    }
    .within("filters[0].typed_config")
}

/// A network filter by its type.
pub(super) enum Network {
    Http(Box<HttpConnectionManager>),
    Tcp(Box<TcpProxy>),
}

/// The one filter of a chain, checked but for where it leads.
pub(super) fn filter(chain: &FilterChain) -> Result<Network, Fault> {
    refuse!(chain; transport_socket);
    let [filter] = chain.filters.as_slice() else {
        return Err(Fault::new("filters", format!("has {} filters; expected exactly one", chain.filters.len())));
    };
    unpack_filter(filter).within("filters[0].typed_config")
}

fn unpack_filter(filter: &Filter) -> Result<Network, Fault> {
    let Some(filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
        return Err(Fault::here("is missing"));
    };
    if let Ok(manager) = xds::unpack::<HttpConnectionManager>(any) {
        check_manager(&manager)?;
        return Ok(Network::Http(Box::new(manager)));
    }
    let proxy =
        xds::unpack::<TcpProxy>(any).map_err(|reason| Fault::here(format!("{reason}, or an HttpConnectionManager")))?;
    refuse!(proxy; on_demand, metadata_match, hash_policy, tunneling_config);
    Ok(Network::Tcp(Box::new(proxy)))
}

/// Refuses what would change requests, or what is believed of them.
fn check_manager(manager: &HttpConnectionManager) -> Result<(), Fault> {
    refuse!(manager; normalize_path, merge_slashes, path_with_escaped_slashes_action, path_normalization_options,
        strip_matching_host_port, strip_port_mode, strip_trailing_host_dot, local_reply_config,
        early_header_mutation_extensions, original_ip_detection_extensions, typed_header_validation_config,
        forward_client_cert_details, forward_client_cert_matcher, scheme_header_transformation);
    for (index, filter) in manager.http_filters.iter().enumerate() {
        if filter.name != HTTP_ROUTER {
            let reason = format!("{:?} is not supported; only {HTTP_ROUTER} is", filter.name);
            return Err(Fault::new("name", reason)).within_item("http_filters", index);
        }
    }
    Ok(())
}

fn http_routes(manager: &HttpConnectionManager) -> Result<Arc<str>, Fault> {
    match &manager.route_specifier {
        Some(RouteSpecifier::Rds(rds)) => {
            require_ads("rds.config_source", rds.config_source.as_ref())?;
            reference("rds.route_config_name", &rds.route_config_name)
        }
        Some(RouteSpecifier::RouteConfig(_)) => Err(Fault::new("route_config", "is not supported; use `rds`")),
        Some(RouteSpecifier::ScopedRoutes(_)) => Err(Fault::new("scoped_routes", "is not supported; use `rds`")),
        None => Err(Fault::new("rds", "is missing")),
    }
}

fn tcp_clusters(proxy: &TcpProxy) -> Result<Weighted<Arc<str>>, Fault> {
    match &proxy.cluster_specifier {
        Some(tcp_proxy::ClusterSpecifier::Cluster(name)) => reference("cluster", name).map(Weighted::single),
        Some(tcp_proxy::ClusterSpecifier::WeightedClusters(weighted)) => {
            weighted_clusters(weighted).within("weighted_clusters")
        }
        None => Err(Fault::new("cluster", "is missing")),
    }
}

fn weighted_clusters(weighted: &tcp_proxy::WeightedCluster) -> Result<Weighted<Arc<str>>, Fault> {
    let clusters = weighted.clusters.iter().enumerate().map(|(index, cluster)| {
        let entry = || {
            refuse!(cluster; metadata_match);
            Ok((reference("name", &cluster.name)?, cluster.weight))
        };
        entry().within_item("clusters", index)
    });
    Weighted::new(clusters.collect::<Result<_, _>>()?).map_err(|error| Fault::new("clusters", error.to_string()))
}
