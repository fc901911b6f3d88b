//! Listener -> what an address that the application dials speaks and where it leads.

use std::str::FromStr as _;
use std::sync::Arc;

use weft_api::names::ServicePort;
use weft_api::xds::pb::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch, filter};
use weft_api::xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier, http_filter,
};
use weft_api::xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use weft_api::xds::{self, Listener};
use weft_rules::weighted::Weighted;

use super::fault::{Fault, Within as _, refuse};
use super::routes::{FAULT, SESSION};
use super::{reference, require_ads};
use crate::discovery::values::{Protocol, ServerNameMatch};

const HTTP_INSPECTOR: &str = "envoy.filters.listener.http_inspector";
const TLS_INSPECTOR: &str = "envoy.filters.listener.tls_inspector";
pub(super) const HTTP_ROUTER: &str = "envoy.filters.http.router";
/// What a chain asks for that takes the connections which begin as HTTP.
const HTTP_PROTOCOLS: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// A server name, and where its connections go.
type TlsRoute = (ServerNameMatch, Weighted<Arc<str>>);

/// An outbound listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::discovery) struct ListenerSpec {
    pub(in crate::discovery) protocol: Protocol,
    /// The route configuration of HTTP; `None` when the protocol is opaque.
    pub(in crate::discovery) routes: Option<Arc<str>>,
    /// The clusters of TLS connections by server name, the most specific name first.
    pub(in crate::discovery) tls: Vec<TlsRoute>,
    /// The clusters of opaque connections; `None` when the protocol is HTTP.
    pub(in crate::discovery) opaque: Option<Weighted<Arc<str>>>,
    /// `NAMESPACE/SERVICE:PORT`, or the listener's own name.
    pub(in crate::discovery) service: Arc<str>,
}

impl ListenerSpec {
    /// The clusters that connections go to without a route, those that must not go anywhere left out.
    pub(in crate::discovery) fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        let all = self.tls.iter().map(|(_, clusters)| clusters).chain(&self.opaque);
        all.flat_map(|weighted| weighted.iter().map(|(name, _)| name))
            .filter(|name| name.as_ref() != xds::REFUSED_CLUSTER)
    }
}

/// Checks an outbound listener.
pub(super) fn parse(listener: &Listener) -> Result<ListenerSpec, Fault> {
    let inspects = check_listener(listener)?;
    let chains = listener.filter_chains.iter().enumerate();
    let (by_name, others): (Vec<_>, Vec<_>) = chains.partition(|(_, chain)| has_server_names(chain));
    let tls = tls_chains(&by_name, inspects)?;
    let spec = match (others.as_slice(), &listener.default_filter_chain) {
        ([(index, chain)], default) => described(listener, *index, chain, default.as_ref(), inspects)?,
        ([], Some(default)) if !tls.is_empty() => {
            declared(parse_chain(default).within("default_filter_chain")?, &listener.name)
        }
        (others, _) => {
            let found = others.len();
            return Err(Fault::new("filter_chains", format!("has {found} chains without server names; expected one")));
        }
    };
    Ok(ListenerSpec { tls, ..spec })
}

/// The one chain for what is not known by its server name, and, where HTTP is detected, the default chain.
fn described(
    listener: &Listener,
    index: usize,
    chain: &FilterChain,
    default: Option<&FilterChain>,
    inspects: Inspects,
) -> Result<ListenerSpec, Fault> {
    let first = parse_chain(chain).within_item("filter_chains", index)?;
    let asks_for_http = asks_for_http(chain.filter_chain_match.as_ref()).within("filter_chain_match");
    match (asks_for_http.within_item("filter_chains", index)?, inspects.http, default) {
        (false, _, None) => Ok(declared(first, &listener.name)),
        (false, _, Some(_)) => {
            let reason = format!("is never reached: filter_chains[{index}] takes all connections");
            Err(Fault::new("default_filter_chain", reason))
        }
        (true, false, _) => Err(Fault::new("listener_filters", format!("has no {HTTP_INSPECTOR}"))),
        (true, true, None) => Err(Fault::new("default_filter_chain", "is missing: what is not HTTP has nowhere to go")),
        (true, true, Some(other)) => detected(index, first, parse_chain(other).within("default_filter_chain")?),
    }
}

fn has_server_names(chain: &FilterChain) -> bool {
    chain.filter_chain_match.as_ref().is_some_and(|chain_match| !chain_match.server_names.is_empty())
}

/// Where TLS connections go by their server name, the most specific name first.
fn tls_chains(chains: &[(usize, &FilterChain)], inspects: Inspects) -> Result<Vec<TlsRoute>, Fault> {
    if !chains.is_empty() && !inspects.tls {
        return Err(Fault::new("listener_filters", format!("has no {TLS_INSPECTOR}")));
    }
    let mut routes = Vec::new();
    for (index, chain) in chains {
        routes.extend(tls_chain(chain).within_item("filter_chains", *index)?);
    }
    routes.sort_by_key(|(name, _)| std::cmp::Reverse(name.specificity()));
    Ok(routes)
}

fn tls_chain(chain: &FilterChain) -> Result<Vec<TlsRoute>, Fault> {
    let Some(chain_match) = &chain.filter_chain_match else { return Ok(Vec::new()) };
    let names = || {
        refuse!(chain_match; destination_port, application_protocols);
        check_match(chain_match)?;
        if !matches!(chain_match.transport_protocol.as_str(), "" | "tls") {
            return Err(Fault::new("transport_protocol", "is not `tls`"));
        }
        let names =
            chain_match.server_names.iter().enumerate().map(|(index, name)| {
                ServerNameMatch::parse(name).map_err(Fault::here).within_item("server_names", index)
            });
        names.collect::<Result<Vec<_>, _>>()
    };
    let names = names().within("filter_chain_match")?;
    let Terminal::Tcp { clusters, .. } = parse_chain(chain)? else {
        return Err(Fault::new("filters[0]", "is not a tcp_proxy, but asks for a server name"));
    };
    Ok(names.into_iter().map(|name| (name, clusters.clone())).collect())
}

/// What is declared to be HTTP, or opaque.
fn declared(filter: Terminal, listener: &str) -> ListenerSpec {
    match filter {
        Terminal::Http { routes } => {
            let service = service_of(&routes);
            ListenerSpec { protocol: Protocol::Http, routes: Some(routes), tls: Vec::new(), opaque: None, service }
        }
        Terminal::Tcp { clusters, label } => {
            let service = label.or_else(|| single(&clusters)).unwrap_or_else(|| listener.into());
            ListenerSpec { protocol: Protocol::Opaque, routes: None, tls: Vec::new(), opaque: Some(clusters), service }
        }
    }
}

/// What is HTTP if its first bytes are, and opaque if not.
fn detected(index: usize, http: Terminal, opaque: Terminal) -> Result<ListenerSpec, Fault> {
    let Terminal::Http { routes } = http else {
        let reason = "is not an http_connection_manager, but asks for HTTP";
        return Err(Fault::new("filters[0]", reason)).within_item("filter_chains", index);
    };
    let Terminal::Tcp { clusters, .. } = opaque else {
        return Err(Fault::new("default_filter_chain.filters[0]", "is not a tcp_proxy"));
    };
    Ok(ListenerSpec {
        protocol: Protocol::Detect,
        service: service_of(&routes),
        routes: Some(routes),
        tls: Vec::new(),
        opaque: Some(clusters),
    })
}

/// The Service's port that routes are for: those of a namespace's own traffic are named `NAMESPACE/SERVICE:PORT@OTHER`.
fn service_of(routes: &Arc<str>) -> Arc<str> {
    routes.split_once('@').map_or_else(|| routes.clone(), |(service, _)| service.into())
}

/// The name of the cluster, if there is only one.
fn single(clusters: &Weighted<Arc<str>>) -> Option<Arc<str>> {
    let mut names = clusters.iter().map(|(name, _)| name.clone());
    names.next().filter(|_| names.next().is_none())
}

/// What a listener looks at of the first bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Inspects {
    pub(super) http: bool,
    pub(super) tls: bool,
}

/// Checks what the listener asks for as a whole.
pub(super) fn check_listener(listener: &Listener) -> Result<Inspects, Fault> {
    refuse!(listener; fcds_config, filter_chain_matcher, udp_listener_config, api_listener, listener_specifier);
    let mut inspects = Inspects::default();
    for (index, filter) in listener.listener_filters.iter().enumerate() {
        match filter.name.as_str() {
            HTTP_INSPECTOR => inspects.http = true,
            TLS_INSPECTOR => inspects.tls = true,
            other => {
                let reason = format!("{other:?} is not supported; only {HTTP_INSPECTOR} and {TLS_INSPECTOR} are");
                return Err(Fault::new("name", reason)).within_item("listener_filters", index);
            }
        }
        refuse!(filter; filter_disabled);
    }
    Ok(inspects)
}

/// Whether a chain is for the connections that begin as HTTP; `false`: for all.
fn asks_for_http(chain_match: Option<&FilterChainMatch>) -> Result<bool, Fault> {
    let Some(chain_match) = chain_match else { return Ok(false) };
    refuse!(chain_match; destination_port);
    match_protocols(chain_match)
}

/// Checks a match but for its port. Returns whether it is for the connections that begin as HTTP.
pub(super) fn match_protocols(chain_match: &FilterChainMatch) -> Result<bool, Fault> {
    refuse!(chain_match; server_names, transport_protocol);
    check_match(chain_match)?;
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

/// Refuses a match of what is the same for all connections that come this way.
fn check_match(chain_match: &FilterChainMatch) -> Result<(), Fault> {
    refuse!(chain_match; prefix_ranges, address_suffix, suffix_len, direct_source_prefix_ranges, source_type,
        source_prefix_ranges, source_ports);
    Ok(())
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
    Ok(())
}

/// Checks the HTTP filters of an outbound chain. Those that do something for single routes are there for Envoy's sake,
/// which wants them to be named; for all requests they must do nothing.
fn check_filters(manager: &HttpConnectionManager) -> Result<(), Fault> {
    for (index, filter) in manager.http_filters.iter().enumerate() {
        let check = || match (filter.name.as_str(), &filter.config_type) {
            (HTTP_ROUTER, _) | (FAULT | SESSION, None) => Ok(()),
            (FAULT | SESSION, Some(http_filter::ConfigType::TypedConfig(any))) if any.value.is_empty() => Ok(()),
            (FAULT | SESSION, _) => {
                Err(Fault::new("typed_config", "is for all routes; only single routes may have it"))
            }
            (other, _) => Err(Fault::new("name", format!("{other:?} is not supported by this proxy"))),
        };
        check().within_item("http_filters", index)?;
    }
    Ok(())
}

fn http_routes(manager: &HttpConnectionManager) -> Result<Arc<str>, Fault> {
    check_filters(manager)?;
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

#[cfg(test)]
mod tests;
