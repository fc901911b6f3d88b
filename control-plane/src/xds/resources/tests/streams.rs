//! Connections that are not HTTP.

use super::*;

fn route(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{parentRefs: [{{group: '', kind: Service, name: users}}], {spec}}}"
    )
}

#[test]
fn connections_are_shared_out_by_weight() {
    let tcp = |backends: &str| {
        let split = [split("users", &[("api", 80, 1)])];
        let text =
            format!("{DEMO}\n---\n{}", route("TCPRoute", "t", &format!("rules: [{{backendRefs: [{backends}]}}]")));
        listener(&split_mesh(crate::registry::testing::read(&text).0, &split), "10.96.0.20:3306", "web")
    };
    insta::assert_snapshot!(tcp("{name: users, port: 3306, weight: 9}, {name: api, port: 80}"), @"chain tcp -> 9 shop/users:3306, 1 shop/api:80");
    insta::assert_snapshot!(tcp("{name: users, port: 3306}, {name: gone, port: 1}, {name: api, namespace: bank, port: 80}"), @"chain tcp -> 1 shop/users:3306, 1 weft.dev/refused, 1 weft.dev/refused");
    insta::assert_snapshot!(tcp("{name: users, port: 3306, weight: 0}"), @"chain tcp -> weft.dev/refused");
}

#[test]
fn a_port_with_a_tcp_route_is_opaque() {
    let mesh = with(&route("TCPRoute", "t", "rules: [{backendRefs: [{name: api, port: 80}]}]"));
    insta::assert_snapshot!(listener(&mesh, "10.96.0.20:80", "web"), @"chain tcp -> shop/api:80");
    assert_eq!(found(&mesh, ResourceKind::RouteConfiguration, "shop/users:80"), None);
}

#[test]
fn names_in_a_client_hello_come_first_and_all_else_is_as_before() {
    let to = |service: &str| format!("rules: [{{backendRefs: [{{name: {service}, port: 80}}]}}]");
    let routes = [
        route("TLSRoute", "a", &format!("hostnames: [a.b, '*.c'], {}", to("api"))),
        route("TLSRoute", "b", &format!("hostnames: [a.b, d.e], {}", to("api-v1"))),
    ];
    let mesh = with(&routes.join("\n---\n"));
    insta::assert_snapshot!(listener(&mesh, "10.96.0.20:80", "web"), @r"
    envoy.filters.listener.http_inspector
    envoy.filters.listener.tls_inspector
    chain a.b,*.c tcp -> shop/api:80
    chain d.e tcp -> shop/api-v1:80
    chain http/1.0,http/1.1,h2c http -> shop/users:80
    else tcp -> shop/users:80
    ");
    insta::assert_snapshot!(listener(&mesh, "10.96.0.20:3306", "web"), @r"
    envoy.filters.listener.tls_inspector
    chain a.b,*.c tcp -> shop/api:80
    chain d.e tcp -> shop/api-v1:80
    chain tcp -> shop/users:3306
    ");
}
