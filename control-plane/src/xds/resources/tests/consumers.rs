//! Routes of another namespace than their Service's are for that namespace's clients.

use super::*;

/// The demo, in which the namespace `bank` has routes of its own for `api`, and a pod.
fn consumed() -> Mesh {
    let route = |name: &str, namespace: &str, backend: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{parentRefs: [{{group: '', kind: Service, name: api, namespace: shop}}], rules: [{{backendRefs: [{backend}]}}]}}\n---\n"
        )
    };
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: teller, namespace: bank}, status: {podIP: 10.3.0.1}}";
    let theirs = "{name: api, namespace: shop, port: 80}, {name: own, port: 80}";
    let own =
        "{apiVersion: v1, kind: Service, metadata: {name: own, namespace: bank}, spec: {ports: [{port: 80}]}}\n---\n";
    with(&(route("r", "bank", theirs) + &route("producer", "shop", "{name: api-v1, port: 80}") + own + pod))
}

#[test]
fn clients_of_the_namespace_have_its_routes() {
    let mesh = consumed();
    insta::assert_snapshot!(listener(&mesh, "10.96.0.10:80", "web"), @"chain http -> shop/api:80");
    insta::assert_snapshot!(listener(&mesh, "10.96.0.10:80", "teller.bank"), @"chain http -> shop/api:80@bank");
    insta::assert_snapshot!(listener(&mesh, "10.96.0.11:80", "teller.bank"), @"chain http -> shop/api-v1:80");
    insta::assert_snapshot!(routes(&mesh, "shop/api:80"), @r"
    producer/0: /* -> shop/api-v1:80 within 0s0ns
    unmatched: /* -> 404
    ");
    insta::assert_snapshot!(routes(&mesh, "shop/api:80@bank"), @r"
    r/0: /* -> 1 shop/api:80, 1 bank/own:80 within 0s0ns
    unmatched: /* -> 404
    ");
}

#[test]
fn a_namespace_without_routes_has_none() {
    let mesh = consumed();
    for name in
        ["shop/api:80@shop", "shop/api:80@mall", "shop/api:80@", "shop/api-v1:80@bank", "10.1.0.2:8080@bank", "@bank"]
    {
        assert_eq!(found(&mesh, ResourceKind::RouteConfiguration, name), None, "{name}");
        assert_eq!(found(&mesh, ResourceKind::Cluster, name), None, "{name}");
    }
}

#[test]
fn a_wildcard_has_the_routes_of_all_namespaces() {
    let mesh = consumed();
    let listed: Vec<_> =
        names(&mesh, ResourceKind::RouteConfiguration).filter(|name| name.starts_with("shop/api:")).collect();
    assert_eq!(listed, ["shop/api:80", "shop/api:80@bank"]);
}

#[test]
fn a_consumer_may_declare_a_port_for_itself_alone() {
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: bank}\n\
                 spec: {parentRefs: [{group: '', kind: Service, name: users, namespace: shop, port: 80}], \
                 rules: [{backendRefs: [{name: users, namespace: shop, port: 80}]}]}";
    let mesh = with(route);
    insta::assert_snapshot!(listener(&mesh, "10.96.0.20:80", "teller.bank"), @"chain http -> shop/users:80@bank");
    assert!(listener(&mesh, "10.96.0.20:80", "web").starts_with("envoy.filters.listener.http_inspector"));
}
