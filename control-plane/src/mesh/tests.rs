use std::net::IpAddr;

use super::testing::{mesh, split, split_mesh};
use super::*;
use crate::registry::testing::{DEMO, good};

fn demo() -> Mesh {
    mesh(DEMO)
}

fn at(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn with(text: &str) -> Mesh {
    mesh(&format!("{DEMO}\n---\n{text}"))
}

#[test]
fn objects_are_found_by_name() {
    let mesh = demo();
    assert_eq!(mesh.service("shop", "api").unwrap().ports[0].number, 80);
    assert!(mesh.service("bank", "api").is_none());
    assert_eq!(mesh.pod("shop", "web").unwrap().service_account.as_ref(), "web");
    assert_eq!(mesh.services().count(), 5);
}

#[test]
fn services_and_pods_are_found_by_any_of_their_addresses() {
    let mesh = demo();
    let service = |address| mesh.service_at(at(address)).map(|service| service.name.name.to_string());
    assert_eq!(service("10.96.0.10"), Some("api".to_owned()));
    assert_eq!(service("fd00::10"), Some("api".to_owned()));
    assert_eq!(service("10.96.0.99"), None);
    assert_eq!(mesh.pod_at(at("fd00:1::2")).unwrap().name.name.as_ref(), "api-v1");
}

#[test]
fn a_service_declares_the_ports_of_its_pods() {
    let mesh = demo();
    let ports = |pod| mesh.pod_ports(mesh.pod("shop", pod).unwrap()).into_iter().collect::<Vec<_>>();
    assert_eq!(ports("web"), [(8080, Protocol::Http)]);
    assert_eq!(ports("api-v1"), [(8080, Protocol::Http)]);
    assert_eq!(ports("users"), [(3306, Protocol::Opaque), (8080, Protocol::Undeclared)]);
}

#[test]
fn services_that_contradict_each_other_leave_a_port_undeclared() {
    let mesh = with(
        "{apiVersion: v1, kind: Service, metadata: {name: raw, namespace: shop}, spec: {ports: [{name: tcp, port: 80}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: raw-4, namespace: shop, labels: {kubernetes.io/service-name: raw}}
addressType: IPv4
ports: [{name: tcp, port: 8080}]
endpoints: [{addresses: [10.1.0.2]}]",
    );
    assert_eq!(mesh.pod_ports(mesh.pod("shop", "api-v1").unwrap())[&8080], Protocol::Undeclared);
    assert_eq!(mesh.pod_ports(mesh.pod("shop", "api-v2").unwrap())[&8080], Protocol::Http);
}

#[test]
fn of_two_pods_with_one_address_the_younger_has_it() {
    let pod = |name: &str, created: &str| {
        let metadata = format!("{{name: {name}, creationTimestamp: '2026-01-0{created}T00:00:00Z'}}");
        format!("apiVersion: v1\nkind: Pod\nmetadata: {metadata}\nstatus: {{podIP: 10.9.0.1}}\n---\n")
    };
    let owner = |text: &str| mesh(text).pod_at(at("10.9.0.1")).unwrap().name.name.to_string();
    assert_eq!(owner(&(pod("a", "1") + &pod("b", "2"))), "b");
    assert_eq!(owner(&(pod("a", "2") + &pod("b", "1"))), "a");
    assert_eq!(owner(&(pod("b", "1") + &pod("a", "1"))), "a");
}

#[test]
fn identities_are_those_of_service_accounts() {
    let mesh = demo();
    let id = mesh.identity(mesh.pod("shop", "web").unwrap()).unwrap();
    assert_eq!(id.as_str(), "spiffe://cluster.local/ns/shop/sa/web");
}

#[test]
fn a_join_token_is_bound_to_one_existing_service_account() {
    let secret = |name: &str, account: &str, token: &str| {
        let metadata = format!(
            "{{name: {name}, namespace: shop, annotations: {{kubernetes.io/service-account.name: {account}}}}}"
        );
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {metadata}\ntype: kubernetes.io/service-account-token\n\
             stringData: {{token: {token}}}\n---\n"
        )
    };
    let text = secret("ghost", "ghost", "boo")
        + &secret("t1", "web", "both")
        + &secret("t2", "api", "both")
        + &secret("t3", "api", "twice")
        + &secret("t4", "api", "twice");
    let mesh = with(&text);
    let account = |token| mesh.service_account_of_token(token).map(ToString::to_string);
    assert_eq!(account("web-secret"), Some("shop/web".to_owned()));
    assert_eq!(account("twice"), Some("shop/api".to_owned()));
    for refused in ["", "web-secre", "boo", "both"] {
        assert_eq!(account(refused), None, "{refused}");
    }
}

#[test]
fn routes_and_splits_are_found_by_service() {
    let route = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: api, port: 80}, {group: '', kind: Service, name: api, port: 81}]
  rules: [{backendRefs: [{name: api-v1, port: 80}]}]";
    let mesh = split_mesh(good(&format!("{DEMO}\n---\n{route}")), &[split("users", &[("api", 0, 1)])]);
    assert_eq!(mesh.manual_routes("shop", "api"), ["r"]);
    assert_eq!(mesh.manual_routes("shop", "users"), [""; 0]);
    assert!(mesh.split_of(&ObjectName::new("shop", "users")).is_some());
    assert!(mesh.split_of(&ObjectName::new("shop", "api")).is_none());
}

#[test]
fn a_pods_zone_is_its_nodes_where_it_says_none_itself() {
    let text = |zone: &str| {
        format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: n1, labels: {{topology.kubernetes.io/zone: {zone}}}}}\n---\n\
             apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {{nodeName: n1, containers: []}}\n"
        )
    };
    let (old, new) = (mesh(&text("z1")), mesh(&text("z2")));
    let zone = |mesh: &Mesh| mesh.zone_of(mesh.pod("default", "a").unwrap());
    assert_eq!([zone(&old), zone(&new)], [Some("z1".into()), Some("z2".into())]);
    assert!(new.changed(&old).contains_inbound("default", "a"));
}
