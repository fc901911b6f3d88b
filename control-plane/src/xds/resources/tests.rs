use weft_api::xds::pb::envoy::config::listener::v3::filter::ConfigType;
use weft_api::xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use weft_api::xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use weft_api::xds::{self, Cluster, ClusterLoadAssignment, Listener, RouteConfiguration, pb, unpack};

use super::*;
use crate::mesh::Split;
use crate::mesh::testing::{mesh, split, split_mesh};
use crate::registry::testing::{DEMO, demo_on_nodes, good};

mod consumers;
mod filters;
mod limits;
mod policies;
mod read;
mod routes;
mod streams;

use read::{assignment, cluster, listener, routes};

fn node(pod: &str) -> NodeRef {
    NodeRef { namespace: "shop".to_owned(), pod: pod.to_owned() }
}

fn found(mesh: &Mesh, kind: ResourceKind, name: &str) -> Option<Resource> {
    resource(mesh, kind, name, &node("web"))
}

fn with(text: &str) -> Mesh {
    mesh(&format!("{DEMO}\n---\n{text}"))
}

fn demo_split(splits: &[Split]) -> Mesh {
    split_mesh(good(DEMO), splits)
}

#[test]
fn a_declared_http_port_is_a_listener_with_routes() {
    let mesh = mesh(DEMO);
    insta::assert_snapshot!(listener(&mesh, "10.96.0.10:80", "web"), @r"chain http -> shop/api:80");
    insta::assert_snapshot!(listener(&mesh, "[fd00::10]:80", "web"), @r"chain http -> shop/api:80");
}

#[test]
fn an_undeclared_port_is_sniffed_and_an_opaque_one_is_not() {
    let mesh = mesh(DEMO);
    insta::assert_snapshot!(listener(&mesh, "10.96.0.20:80", "web"), @r"
    envoy.filters.listener.http_inspector
    chain http/1.0,http/1.1,h2c http -> shop/users:80
    else tcp -> shop/users:80
    ");
    insta::assert_snapshot!(listener(&mesh, "10.96.0.20:3306", "web"), @r"chain tcp -> shop/users:3306");
}

#[test]
fn a_split_divides_opaque_connections_too() {
    let mesh = demo_split(&[split("users", &[("api", 80, 3), ("users", 0, 1), ("api-v1", 0, 0)])]);
    insta::assert_snapshot!(listener(&mesh, "10.96.0.20:3306", "web"), @r"chain tcp -> 3 shop/api:80, 1 shop/users:3306");
}

#[test]
fn a_port_with_http_rules_is_http() {
    let mesh = with(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: users, sectionName: any}]
  rules: [{backendRefs: [{name: users, port: 80}]}]",
    );
    insta::assert_snapshot!(listener(&mesh, "10.96.0.20:80", "web"), @r"chain http -> shop/users:80");
}

#[test]
fn a_pod_is_dialled_by_its_own_address() {
    let mesh = mesh(DEMO);
    insta::assert_snapshot!(listener(&mesh, "[fd00:1::2]:8080", "web"), @r"chain http -> [fd00:1::2]:8080");
    insta::assert_snapshot!(cluster(&mesh, "10.1.0.2:8080"), @r"EDS ads=true");
    insta::assert_snapshot!(assignment(&mesh, "10.1.0.2:8080"), @r"zone None 10.1.0.2 8080 HEALTHY identity=spiffe://cluster.local/ns/shop/sa/api pod=api-v1 workload=api");
    insta::assert_snapshot!(assignment(&mesh, "10.1.0.4:3306"), @r"zone None 10.1.0.4 3306 HEALTHY pod=users workload=users");
    assert_eq!(found(&mesh, ResourceKind::Listener, "10.1.0.2:8081"), None);
}

#[test]
fn inbound_tells_each_pod_its_own_ports() {
    let mesh = with(
        "{apiVersion: v1, kind: Pod, metadata: {name: strict, namespace: shop, annotations: {weft.dev/mtls: strict}}}",
    );
    insta::assert_snapshot!(listener(&mesh, "inbound", "api-v1"), @r"
    chain :8080 permissive http -> the application
    else permissive a tcp -> inbound
    ");
    insta::assert_snapshot!(listener(&mesh, "inbound", "users"), @r"
    envoy.filters.listener.http_inspector
    chain :3306 permissive tcp -> inbound
    chain :8080 http/1.0,http/1.1,h2c permissive http -> the application
    chain :8080 permissive tcp -> inbound
    else permissive tcp -> inbound
    ");
    insta::assert_snapshot!(listener(&mesh, "inbound", "strict"), @r"else strict tcp -> inbound");
    assert_eq!(resource(&mesh, ResourceKind::Listener, "inbound", &node("nobody")), None);
}

#[test]
fn clusters_have_endpoints_or_a_name_outside() {
    let mesh = mesh(DEMO);
    insta::assert_snapshot!(cluster(&mesh, "shop/api:80"), @r"EDS ads=true");
    insta::assert_snapshot!(cluster(&mesh, "shop/pays:80"), @r"STRICT_DNS ads=false zone None pay.example.com 80 UNKNOWN");
    assert_eq!(found(&mesh, ResourceKind::ClusterLoadAssignment, "shop/pays:80"), None);
}

#[test]
fn endpoints_have_zones_identities_and_health() {
    let slice = "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: api-5, namespace: shop, labels: {kubernetes.io/service-name: api}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.1.0.2], zone: a, conditions: {ready: false, terminating: true}}
- {addresses: [10.1.0.4], conditions: {ready: false, terminating: true}}
- {addresses: [10.1.0.5], conditions: {ready: false}}
- {addresses: [10.1.0.6]}";
    // 10.1.0.2 is ready by another slice; 10.1.0.4 has no sidecar; nobody knows a pod at 10.1.0.6.
    insta::assert_snapshot!(assignment(&with(slice), "shop/api:80"), @r#"
    zone None 10.1.0.4 8080 DRAINING pod=users workload=users
    zone None 10.1.0.6 8080 HEALTHY
    zone Some("a") 10.1.0.2 8080 HEALTHY identity=spiffe://cluster.local/ns/shop/sa/api pod=api-v1 workload=api
    zone Some("b") 10.1.0.3 8080 HEALTHY identity=spiffe://cluster.local/ns/shop/sa/api pod=api-v2 workload=api
    "#);
}

#[test]
fn a_service_without_endpoints_has_an_empty_assignment() {
    let mesh =
        mesh("{apiVersion: v1, kind: Service, metadata: {name: a, namespace: shop}, spec: {ports: [{port: 80}]}}");
    insta::assert_snapshot!(assignment(&mesh, "shop/a:80"), @"");
}

#[test]
fn names_that_do_not_exist_have_nothing() {
    let mesh = mesh(DEMO);
    for kind in ResourceKind::ALL {
        for name in
            ["", "shop/api:81", "shop/nobody:80", "bank/api:80", "10.96.0.10:81", "10.96.0.10:080", "x", "10.1.0.2:1"]
        {
            assert_eq!(found(&mesh, kind, name), None, "{} {name}", kind.name());
        }
    }
    assert_eq!(found(&mesh, ResourceKind::RouteConfiguration, "shop/users:3306"), None, "it is opaque");
    assert_eq!(found(&mesh, ResourceKind::Cluster, "10.96.0.10:80"), None, "a Service's address is no pod's");
}

#[test]
fn every_listed_name_is_there_once() {
    let mesh = mesh(DEMO);
    let mut counts = Vec::new();
    for kind in ResourceKind::ALL {
        let mut names: Vec<_> = names(&mesh, kind).collect();
        names.sort();
        counts.push(names.len());
        names.iter().for_each(|name| assert!(found(&mesh, kind, name).is_some(), "{} {name}", kind.name()));
        let listed = names.len();
        names.dedup();
        assert_eq!(names.len(), listed);
    }
    // 6 addresses of Services, 6 of pods and `inbound`; all but opaque; all; all but the name outside.
    assert_eq!(counts, [13, 10, 12, 11]);
}

#[test]
fn the_same_content_has_the_same_version_each_time() {
    let versions = || -> Vec<Arc<str>> {
        let mesh = mesh(DEMO);
        let all = ResourceKind::ALL.into_iter().flat_map(|kind| {
            let mut names: Vec<_> = names(&mesh, kind).collect();
            names.sort();
            names.into_iter().map(move |name| (kind, name))
        });
        all.map(|(kind, name)| found(&mesh, kind, &name).unwrap().version).collect()
    };
    let first = versions();
    assert!(first.iter().all(|version| version.len() == 32));
    (0..10).for_each(|_| assert_eq!(versions(), first));
}

#[test]
fn another_content_has_another_version() {
    let version = |weight| {
        let mesh = demo_split(&[split("api", &[("api-v1", 0, 1), ("api-v2", 0, weight)])]);
        found(&mesh, ResourceKind::RouteConfiguration, "shop/api:80").unwrap().version
    };
    assert_ne!(version(1), version(2));
}
