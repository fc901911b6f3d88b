use prost::Name;
use weft_api::xds::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use weft_api::xds::pb::envoy::config::core::v3::{HealthStatus, Locality, TransportSocket};
use weft_api::xds::pb::envoy::config::endpoint::v3::LocalityLbEndpoints;
use weft_api::xds::pb::envoy::config::listener::v3::{FilterChain, FilterChainMatch};
use weft_api::xds::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use weft_api::xds::pb::envoy::config::route::v3::{DirectResponseAction, HeaderMatcher, Route, RouteMatch, route};
use weft_api::xds::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern};
use weft_api::xds::pb::google::protobuf::{BoolValue, value::Kind};
use weft_api::xds::{Cluster, ClusterLoadAssignment, Listener, RouteConfiguration};
use weft_rules::route::{Action, RequestHead, Routes};

use super::*;
use crate::discovery::testing as make;
use crate::discovery::values::{Cluster as ClusterValue, Inbound, Mtls, Protocol};

pub(in crate::discovery::resources) const NAME: &str = "shop/api:80";
pub(in crate::discovery::resources) const DIALLED: &str = "10.96.0.10:80";

pub(in crate::discovery::resources) fn check<M: prost::Message + Name>(
    name: &str,
    message: &M,
) -> Result<Resource, String> {
    let any = xds::pack(message);
    let kind = ResourceKind::from_type_url(&any.type_url).unwrap();
    parse(kind, name, Some(&any)).map_err(|fault| fault.to_string())
}

/// The resource is refused, and the fault begins with this path.
#[track_caller]
pub(in crate::discovery::resources) fn refused<M: prost::Message + Name>(name: &str, message: &M, path: &str) {
    let fault = check(name, message).expect_err("it was accepted");
    assert!(fault.starts_with(&format!("{path}: ")), "{fault}");
}

pub(in crate::discovery::resources) fn inbound(chains: Vec<FilterChain>, default: Option<FilterChain>) -> Listener {
    let listener_filters = vec![make::http_inspector()];
    let name = INBOUND_LISTENER.to_owned();
    Listener { name, listener_filters, filter_chains: chains, default_filter_chain: default, ..Listener::default() }
}

pub(in crate::discovery::resources) fn policies(listener: &Listener) -> Inbound {
    match check(INBOUND_LISTENER, listener) {
        Ok(Resource::Inbound(spec)) => spec.inbound(|name| Arc::new(ClusterValue::missing(name.clone()))),
        other => panic!("{other:?}"),
    }
}

pub(in crate::discovery::resources) fn rules(configuration: &RouteConfiguration) -> Routes<Arc<str>> {
    match check(NAME, configuration) {
        Ok(Resource::Routes(spec)) => Routes::new(spec.rules),
        other => panic!("{other:?}"),
    }
}

fn endpoints(assignment: &ClusterLoadAssignment) -> Endpoints {
    match check(NAME, assignment) {
        Ok(Resource::Endpoints(endpoints)) => endpoints,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_resource_must_be_what_it_came_as() {
    refused("other/name:80", &make::eds_cluster(NAME), "name");
    refused("other/name:80", &make::assignment(NAME, &[]), "cluster_name");
    let fault = parse(ResourceKind::Cluster, NAME, Some(&xds::pack(&make::assignment(NAME, &[])))).unwrap_err();
    assert!(fault.to_string().contains("is of type"), "{fault}");
    assert!(parse(ResourceKind::Cluster, NAME, None).is_err());
    let garbage = Any { type_url: ResourceKind::Cluster.type_url().to_owned(), value: vec![0xff; 7] };
    assert!(parse(ResourceKind::Cluster, NAME, Some(&garbage)).is_err());
}

#[test]
fn a_listener_with_what_cannot_be_done_is_refused_by_the_path() {
    refused(DIALLED, &Listener { name: DIALLED.to_owned(), ..Listener::default() }, "filter_chains");
    let mut listener = make::http_listener(DIALLED, NAME);
    listener.filter_chains[0].transport_socket = Some(TransportSocket { name: "tls".to_owned(), config_type: None });
    refused(DIALLED, &listener, "filter_chains[0].transport_socket");

    let mut listener = make::http_listener(DIALLED, NAME);
    listener.filter_chains[0].filters.push(Default::default());
    refused(DIALLED, &listener, "filter_chains[0].filters");

    let mut listener = make::http_listener(DIALLED, "");
    refused(DIALLED, &listener, "filter_chains[0].filters[0].typed_config.rds.route_config_name");
    listener.filter_chains[0].filters[0].config_type = None;
    refused(DIALLED, &listener, "filter_chains[0].filters[0].typed_config");

    let mut listener = make::detecting_listener(DIALLED, NAME);
    listener.default_filter_chain = None;
    refused(DIALLED, &listener, "default_filter_chain");
    let mut listener = make::detecting_listener(DIALLED, NAME);
    listener.listener_filters.clear();
    refused(DIALLED, &listener, "listener_filters");
    let mut listener = make::detecting_listener(DIALLED, NAME);
    listener.listener_filters[0].name = "envoy.filters.listener.proxy_protocol".to_owned();
    refused(DIALLED, &listener, "listener_filters[0].name");
    let mut listener = make::detecting_listener(DIALLED, NAME);
    listener.filter_chains[0].filter_chain_match =
        Some(FilterChainMatch { application_protocols: vec!["h2".to_owned()], ..FilterChainMatch::default() });
    refused(DIALLED, &listener, "filter_chains[0].filter_chain_match.application_protocols");
}

#[test]
fn irrelevant_fields_are_let_through() {
    let mut listener = make::http_listener(DIALLED, NAME);
    listener.stat_prefix = "anything".to_owned();
    listener.bind_to_port = Some(BoolValue { value: false });
    listener.per_connection_buffer_limit_bytes = Some(Default::default());
    assert!(check(DIALLED, &listener).is_ok());
}

#[test]
fn inbound_ports_have_their_protocol_and_policy() {
    let http = |port, mtls| make::inbound_chain(port, make::application_http_chain(), mtls);
    let opaque = |port, mtls| make::inbound_chain(port, make::tcp_chain("inbound"), mtls);
    let sniffed = FilterChain { filter_chain_match: Some(make::http_match()), ..make::application_http_chain() };
    let chains = vec![
        http(8080, Some("permissive")),
        opaque(3306, None),
        make::inbound_chain(9000, sniffed, Some("strict")),
        opaque(9000, Some("strict")),
    ];
    let inbound = policies(&inbound(chains, Some(make::tcp_chain("inbound"))));
    let seen = [8080, 3306, 9000, 1].map(|port| (inbound.port(port).protocol, inbound.port(port).mtls));
    assert_eq!(
        seen,
        [
            (Protocol::Http, Mtls::Permissive),
            (Protocol::Opaque, Mtls::Strict),
            (Protocol::Detect, Mtls::Strict),
            (Protocol::Detect, Mtls::Strict),
        ]
    );
    assert!(inbound.declares(8080) && !inbound.declares(1));
}

#[test]
fn inbound_policies_that_are_not_clear_are_refused() {
    let http = |port, mtls| make::inbound_chain(port, make::application_http_chain(), mtls);
    let name = INBOUND_LISTENER;
    refused(
        name,
        &inbound(vec![http(8080, Some("maybe"))], None),
        "filter_chains[0].metadata.filter_metadata[weft.dev].mtls",
    );
    refused(name, &inbound(vec![http(0, None)], None), "filter_chains[0].filter_chain_match.destination_port");
    refused(name, &inbound(vec![http(80, None), http(80, None)], None), "filter_chains[1].filter_chain_match");
    let elsewhere = make::inbound_chain(80, make::tcp_chain("elsewhere"), None);
    refused(name, &inbound(vec![elsewhere], None), "filter_chains[0].filters[0].typed_config.cluster");
    let routed = make::inbound_chain(80, make::http_chain(NAME), None);
    refused(name, &inbound(vec![routed], None), "filter_chains[0].filters[0].typed_config.route_specifier");
    let sniffed = FilterChain { filter_chain_match: Some(make::http_match()), ..make::application_http_chain() };
    refused(name, &inbound(vec![make::inbound_chain(80, sniffed, None)], None), "filter_chains");
}

#[test]
fn routes_match_and_weigh_as_they_say() {
    let mut by_method = make::route(make::prefix("/items"), &[("a:1", 3), ("b:1", 1)]);
    by_method.r#match.as_mut().unwrap().headers.push(HeaderMatcher {
        name: ":method".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(MatchPattern::Exact("POST".to_owned())),
            ..StringMatcher::default()
        })),
        ..HeaderMatcher::default()
    });
    by_method.name = "shop/create".to_owned();
    let respond = Route {
        r#match: Some(make::prefix("/")),
        action: Some(route::Action::DirectResponse(DirectResponseAction { status: 500, ..Default::default() })),
        ..Route::default()
    };
    let routes = rules(&make::routes(NAME, vec![by_method, respond]));
    let headers = http::HeaderMap::new();
    let find = |method: &http::Method| {
        let head = RequestHead { method, path: "/items/1", query: None, headers: &headers };
        routes.find(&head).unwrap()
    };
    assert_eq!(find(&http::Method::POST).name.as_ref(), "shop/create");
    match &find(&http::Method::POST).action {
        Action::Forward(forward) => {
            let weights: Vec<_> =
                forward.backends.iter().map(|(backend, weight)| (backend.target.as_ref(), weight)).collect();
            assert_eq!(weights, [("a:1", 3), ("b:1", 1)]);
            assert_eq!(forward.timeouts.request.unwrap().as_secs(), 15, "Envoy's default");
        }
        Action::Redirect(_) | Action::Respond(_) => panic!("does not forward"),
    }
    assert!(matches!(&find(&http::Method::GET).action, Action::Respond(status) if status.as_u16() == 500));
}

#[test]
fn a_route_with_what_cannot_be_done_is_refused_by_the_path() {
    let with = |change: &dyn Fn(&mut Route)| {
        let mut bad = make::route(make::prefix("/"), &[("a:1", 1)]);
        change(&mut bad);
        make::routes(NAME, vec![make::route(make::prefix("/"), &[("a:1", 1)]), bad])
    };
    let at = "virtual_hosts[0].routes[1]";
    refused(NAME, &with(&|route| route.r#match = None), &format!("{at}.match"));
    refused(NAME, &with(&|route| route.r#match = Some(RouteMatch::default())), &format!("{at}.match"));
    refused(NAME, &with(&|route| route.r#match = Some(make::regex("(["))), &format!("{at}.match.safe_regex.regex"));
    refused(NAME, &with(&|route| route.action = None), at);
    refused(
        NAME,
        &with(&|route| *route = make::route(make::prefix("/"), &[("a:1", 0)])),
        &format!("{at}.route.weighted_clusters.clusters"),
    );
    let by_policy = |route: &mut Route| match &mut route.action {
        Some(route::Action::Route(action)) => action.path_rewrite = "/other".to_owned(),
        other => panic!("{other:?}"),
    };
    refused(NAME, &with(&by_policy), &format!("{at}.route.path_rewrite"));
    let ignoring_case = |route: &mut Route| {
        route.r#match.as_mut().unwrap().case_sensitive = Some(BoolValue { value: false });
    };
    refused(NAME, &with(&ignoring_case), &format!("{at}.match.case_sensitive"));
    let header = |route: &mut Route| {
        let regex = RegexMatcher { regex: "*".to_owned(), ..RegexMatcher::default() };
        let pattern = StringMatcher { match_pattern: Some(MatchPattern::SafeRegex(regex)), ..StringMatcher::default() };
        route.r#match.as_mut().unwrap().headers.push(HeaderMatcher {
            name: "x-a".to_owned(),
            header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(pattern)),
            ..HeaderMatcher::default()
        });
    };
    refused(NAME, &with(&header), &format!("{at}.match.headers[0].string_match.safe_regex.regex"));
}

#[test]
fn route_configurations_have_one_virtual_host_for_all() {
    let mut two = make::routes(NAME, Vec::new());
    two.virtual_hosts.push(two.virtual_hosts[0].clone());
    refused(NAME, &two, "virtual_hosts");
    let mut named = make::routes(NAME, Vec::new());
    named.virtual_hosts[0].domains = vec!["api".to_owned()];
    refused(NAME, &named, "virtual_hosts[0].domains");
}

#[test]
fn clusters_are_eds_or_names() {
    match check(NAME, &make::eds_cluster(NAME)) {
        Ok(Resource::Cluster(spec)) => {
            assert_eq!(spec.discovery, Discovery::Eds);
            assert_eq!(spec.policy.connect_timeout.as_secs(), 1);
        }
        other => panic!("{other:?}"),
    }
    match check(NAME, &make::dns_cluster(NAME, "db.example", 5432)) {
        Ok(Resource::Cluster(spec)) => {
            assert_eq!(spec.discovery, Discovery::Dns(vec![HostPort { host: "db.example".into(), port: 5432 }]));
        }
        other => panic!("{other:?}"),
    }
    let kind = |kind: DiscoveryType| Some(ClusterDiscoveryType::Type(kind.into()));
    refused(
        NAME,
        &Cluster { cluster_discovery_type: kind(DiscoveryType::OriginalDst), ..make::eds_cluster(NAME) },
        "type",
    );
    refused(NAME, &Cluster { eds_cluster_config: None, ..make::eds_cluster(NAME) }, "eds_cluster_config.eds_config");
    refused(NAME, &Cluster { load_assignment: None, ..make::dns_cluster(NAME, "a", 1) }, "load_assignment.endpoints");
    let zero = Some(Default::default());
    refused(NAME, &Cluster { connect_timeout: zero, ..make::eds_cluster(NAME) }, "connect_timeout");
}

#[test]
fn endpoints_have_their_identity_zone_and_health() {
    let mut meshed = make::lb_endpoint("10.1.0.1", 8080);
    let id = "spiffe://cluster.local/ns/shop/sa/api";
    let text = |text: &str| Kind::StringValue(text.to_owned());
    meshed.metadata = Some(xds::metadata([
        (xds::METADATA_IDENTITY, text(id)),
        (xds::METADATA_MESH_PORT, Kind::NumberValue(25008.0)),
        (xds::METADATA_WORKLOAD, text("api-v1")),
        (xds::METADATA_POD, text("api-v1-0")),
    ]));
    let mut draining = make::lb_endpoint("fd00::2", 8080);
    draining.health_status = HealthStatus::Draining.into();
    let mut unhealthy = make::lb_endpoint("10.1.0.3", 8080);
    unhealthy.health_status = HealthStatus::Unhealthy.into();
    let locality = LocalityLbEndpoints {
        locality: Some(Locality { zone: "eu-1a".to_owned(), sub_zone: "node-1".to_owned(), ..Locality::default() }),
        lb_endpoints: vec![meshed, draining, unhealthy],
        ..LocalityLbEndpoints::default()
    };
    let found = endpoints(&ClusterLoadAssignment {
        cluster_name: NAME.to_owned(),
        endpoints: vec![locality],
        ..Default::default()
    });
    let [first, second] = found.all.as_slice() else { panic!("{found:?}") };
    let mesh = first.mesh.as_ref().unwrap();
    assert_eq!((mesh.address.to_string().as_str(), mesh.identity.as_str()), ("10.1.0.1:25008", id));
    assert_eq!((&*first.workload, &*first.pod, first.draining), ("api-v1", "api-v1-0", false));
    assert_eq!((&*first.place.zone, &*first.place.node), ("eu-1a", "node-1"));
    assert_eq!(second.address.to_string(), "[fd00::2]:8080");
    assert!(second.draining && second.mesh.is_none());
}

#[test]
fn an_identity_that_cannot_be_read_never_becomes_plaintext() {
    let with = |identity: Kind| {
        let mut assignment = make::assignment(NAME, &[("10.1.0.1", 8080)]);
        assignment.endpoints[0].lb_endpoints[0].metadata = Some(xds::metadata([(xds::METADATA_IDENTITY, identity)]));
        assignment
    };
    let path = "endpoints[0].lb_endpoints[0].metadata.filter_metadata[weft.dev].identity";
    refused(NAME, &with(Kind::StringValue("spiffe://cluster.local/other".to_owned())), path);
    refused(NAME, &with(Kind::StringValue(String::new())), path);
    refused(NAME, &with(Kind::NumberValue(1.0)), path);
    refused(NAME, &with(Kind::NullValue(0)), path);
}

#[test]
fn endpoints_with_bad_addresses_are_refused_by_the_path() {
    let at = "endpoints[0].lb_endpoints[1].endpoint.address.socket_address";
    refused(NAME, &make::assignment(NAME, &[("10.1.0.1", 1), ("db.example", 80)]), &format!("{at}.address"));
    refused(NAME, &make::assignment(NAME, &[("10.1.0.1", 1), ("10.1.0.1", 0)]), &format!("{at}.port_value"));
}
