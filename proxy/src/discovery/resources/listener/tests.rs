use weft_api::xds::pb::envoy::config::listener::v3::ListenerFilter;
use weft_api::xds::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use weft_api::xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;

use super::*;
use crate::discovery::resources::tests::{DIALLED, NAME, refused};
use crate::discovery::testing as make;

fn tls_chain(names: &[&str], cluster: &str) -> FilterChain {
    let server_names = names.iter().map(|name| (*name).to_owned()).collect();
    let chain_match =
        FilterChainMatch { server_names, transport_protocol: "tls".to_owned(), ..FilterChainMatch::default() };
    FilterChain { filter_chain_match: Some(chain_match), ..make::tcp_chain(cluster) }
}

/// These chains, then those of another listener.
fn before(chains: Vec<FilterChain>, listener: Listener) -> Listener {
    let inspector = ListenerFilter { name: TLS_INSPECTOR.to_owned(), ..ListenerFilter::default() };
    let listener_filters = [vec![inspector], listener.listener_filters].concat();
    Listener { listener_filters, filter_chains: [chains, listener.filter_chains].concat(), ..listener }
}

fn names(spec: &ListenerSpec) -> Vec<(String, String)> {
    let first = |clusters: &Weighted<Arc<str>>| clusters.iter().next().unwrap().0.to_string();
    spec.tls.iter().map(|(name, clusters)| (name.to_string(), first(clusters))).collect()
}

fn with_filter(filter: HttpFilter) -> Listener {
    let mut listener = make::http_listener(DIALLED, NAME);
    let Some(filter::ConfigType::TypedConfig(any)) = &listener.filter_chains[0].filters[0].config_type else {
        panic!("no configuration");
    };
    let mut manager: HttpConnectionManager = xds::unpack(any).unwrap();
    manager.http_filters.push(filter);
    listener.filter_chains[0].filters[0].config_type = Some(filter::ConfigType::TypedConfig(xds::pack(&manager)));
    listener
}

#[test]
fn server_names_come_before_everything_else_the_most_specific_first() {
    let chains = vec![tls_chain(&["*.shop", "b.shop"], "shop/rest:443"), tls_chain(&["a.shop"], "shop/a:443")];
    let spec = parse(&before(chains.clone(), make::tcp_listener(DIALLED, "weft.dev/refused"))).unwrap();
    let pair = |name: &str, cluster: &str| (name.to_owned(), cluster.to_owned());
    assert_eq!(
        names(&spec),
        [pair("b.shop", "shop/rest:443"), pair("a.shop", "shop/a:443"), pair("*.shop", "shop/rest:443")]
    );
    let clusters: std::collections::BTreeSet<_> = spec.clusters().map(|name| &**name).collect();
    assert_eq!(
        clusters.into_iter().collect::<Vec<_>>(),
        ["shop/a:443", "shop/rest:443"],
        "nothing is refused to a name"
    );
    assert_eq!(spec.protocol, Protocol::Opaque);

    let detecting = parse(&before(chains.clone(), make::detecting_listener(DIALLED, NAME))).unwrap();
    assert_eq!((detecting.protocol, detecting.tls.len()), (Protocol::Detect, 3));
    let default_filter_chain = Some(make::tcp_chain("shop/api:443"));
    let alone = Listener { name: DIALLED.to_owned(), default_filter_chain, ..Listener::default() };
    assert_eq!(parse(&before(chains, alone)).unwrap().protocol, Protocol::Opaque);
}

#[test]
fn server_names_that_cannot_be_matched_are_refused_by_the_path() {
    let tcp = || make::tcp_listener(DIALLED, NAME);
    let bad = before(vec![tls_chain(&["a.*"], NAME)], tcp());
    refused(DIALLED, &bad, "filter_chains[0].filter_chain_match.server_names[0]");
    let mut bad = before(vec![tls_chain(&["a.shop"], NAME)], tcp());
    bad.filter_chains[0].filter_chain_match.as_mut().unwrap().transport_protocol = "raw_buffer".to_owned();
    refused(DIALLED, &bad, "filter_chains[0].filter_chain_match.transport_protocol");
    let mut bad = before(vec![tls_chain(&["a.shop"], NAME)], tcp());
    bad.listener_filters.clear();
    refused(DIALLED, &bad, "listener_filters");
    let mut http = tls_chain(&["a.shop"], NAME);
    http.filters = make::http_chain(NAME).filters;
    refused(DIALLED, &before(vec![http], tcp()), "filter_chains[0].filters[0]");
    let only = Listener { name: DIALLED.to_owned(), ..Listener::default() };
    refused(DIALLED, &before(vec![tls_chain(&["a.shop"], NAME)], only), "filter_chains");
}

#[test]
fn routes_of_a_namespace_are_of_the_same_service() {
    let spec = parse(&make::http_listener(DIALLED, "shop/api:80@web")).unwrap();
    assert_eq!((spec.routes.as_deref(), &*spec.service), (Some("shop/api:80@web"), "shop/api:80"));
    let spec = parse(&make::detecting_listener(DIALLED, "shop/api:80")).unwrap();
    assert_eq!(&*spec.service, "shop/api:80");
}

#[test]
fn filters_of_single_routes_may_be_named_and_do_nothing_for_all() {
    let named = |name: &str| HttpFilter { name: name.to_owned(), ..HttpFilter::default() };
    assert!(parse(&with_filter(named(FAULT))).is_ok());
    let config = |fault: HttpFault| Some(http_filter::ConfigType::TypedConfig(xds::pack(&fault)));
    let empty = HttpFilter { config_type: config(HttpFault::default()), ..named(FAULT) };
    assert!(parse(&with_filter(empty)).is_ok());
    let at = "filter_chains[0].filters[0].typed_config.http_filters[0]";
    let headers = vec![Default::default()];
    let set = HttpFilter { config_type: config(HttpFault { headers, ..HttpFault::default() }), ..named(FAULT) };
    refused(DIALLED, &with_filter(set), &format!("{at}.typed_config"));
    refused(DIALLED, &with_filter(named("envoy.filters.http.lua")), &format!("{at}.name"));
}
