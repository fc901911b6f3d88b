use super::*;
use crate::mesh::testing::mesh;
use crate::mesh::{Mesh, Resolution};
use crate::registry::testing::DEMO;

/// A route of a kind for a Service of `shop`, with the parent's other fields, in a namespace.
fn route(kind: &str, name: &str, namespace: &str, service: &str, parent: &str) -> String {
    let hostnames = if kind == "TLSRoute" { "hostnames: [a.b], " } else { "" };
    format!(
        "\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\n\
         metadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{{hostnames}parentRefs: [{{group: '', kind: Service, name: {service}, namespace: shop{parent}}}], \
         rules: [{{backendRefs: [{{name: api, port: 80}}]}}]}}"
    )
}

fn policy(name: &str, created: u8, target: &str) -> String {
    format!(
        "\n---\napiVersion: weft.dev/v1alpha1\nkind: TrafficPolicy\n\
         metadata: {{name: {name}, namespace: shop, creationTimestamp: '2026-01-0{created}T00:00:00Z'}}\n\
         spec: {{targetRefs: [{{kind: Service, {target}}}]}}"
    )
}

fn with(more: &[String]) -> Mesh {
    mesh(&format!("{DEMO}{}", more.concat()))
}

/// The routes in force on a port, and its protocol with them.
fn in_force(mesh: &Mesh, service: &str, port: u16, consumer: Option<&str>) -> String {
    let service = mesh.service("shop", service).unwrap();
    let port = service.port(port).unwrap();
    let attached = mesh.attached(service, port, consumer);
    let routes: Vec<_> = attached.routes.iter().map(|route| format!("{} {}", route.kind, route.name)).collect();
    format!("{:?} {}", attached.protocol(port.protocol), routes.join(", "))
}

#[test]
fn of_several_kinds_the_most_specific_is_in_force() {
    let kinds = ["TCPRoute", "TLSRoute", "HTTPRoute", "GRPCRoute"];
    let expected =
        ["Opaque TCPRoute shop/r", "Undeclared TLSRoute shop/r", "Http HTTPRoute shop/r", "Http GRPCRoute shop/r"];
    for (count, expected) in (1..).zip(expected) {
        let routes: Vec<_> =
            kinds[..count].iter().map(|kind| route(kind, "r", "shop", "users", ", port: 80")).collect();
        let mesh = with(&routes);
        assert_eq!(in_force(&mesh, "users", 80, None), expected);
        assert_eq!(in_force(&mesh, "users", 3306, None), "Opaque ");
        let service = mesh.service("shop", "users").unwrap();
        assert_eq!(mesh.attached(service, &service.ports[0], None).ignored.len(), count - 1);
    }
}

#[test]
fn a_declared_protocol_has_no_use_for_routes_of_the_other_sort() {
    let both = |service: &str| {
        with(&[route("HTTPRoute", "h", "shop", service, ""), route("TCPRoute", "t", "shop", service, "")])
    };
    assert_eq!(in_force(&both("api"), "api", 80, None), "Http HTTPRoute shop/h");
    assert_eq!(in_force(&both("users"), "users", 80, None), "Http HTTPRoute shop/h");
    assert_eq!(in_force(&both("users"), "users", 3306, None), "Opaque TCPRoute shop/t");
    let mesh = both("users");
    let service = mesh.service("shop", "users").unwrap();
    let ignored = mesh.attached(service, &service.ports[1], None).ignored;
    assert_eq!(ignored.iter().map(|(_, why)| *why).collect::<Vec<_>>(), [Ignored::Opaque]);
}

#[test]
fn a_route_of_another_namespace_is_for_that_namespace() {
    let mesh = with(&[
        route("HTTPRoute", "own", "shop", "api", ""),
        route("HTTPRoute", "theirs", "bank", "api", ""),
        route("TCPRoute", "useless", "mall", "api", ""),
    ]);
    let service = mesh.service("shop", "api").unwrap();
    assert_eq!(mesh.consumers(service, &service.ports[0]), [Arc::from("bank")].into());
    assert_eq!(in_force(&mesh, "api", 80, None), "Http HTTPRoute shop/own");
    assert_eq!(in_force(&mesh, "api", 80, Some("bank")), "Http HTTPRoute bank/theirs");
}

#[test]
fn the_oldest_policy_holds_and_that_of_a_port_before_that_of_a_service() {
    let holds = |policies: &[String]| {
        let mesh = with(policies);
        let service = mesh.service("shop", "users").unwrap();
        let of =
            |number| mesh.policy(service, service.port(number).unwrap()).map(|policy| policy.name.name.to_string());
        (of(80), of(3306))
    };
    let name = |name: &str| Some(name.to_owned());
    assert_eq!(holds(&[]), (None, None));
    assert_eq!(holds(&[policy("b", 1, "name: users"), policy("a", 2, "name: users")]), (name("b"), name("b")));
    assert_eq!(holds(&[policy("b", 1, "name: users"), policy("a", 1, "name: users")]), (name("a"), name("a")));
    let port = policy("p", 9, "name: users, sectionName: mysql");
    assert_eq!(holds(&[policy("b", 1, "name: users"), port.clone()]), (name("b"), name("p")));
    assert_eq!(holds(&[port]), (None, name("p")));
    assert_eq!(holds(&[policy("x", 1, "name: api")]), (None, None));
}

#[test]
fn who_may_be_named_says_a_grant() {
    let bank = |name: &str| {
        format!(
            "\n---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: bank}}, spec: {{ports: [{{port: 80}}]}}}}"
        )
    };
    let grant = "\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: bank}\n\
                 spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}], \
                 to: [{group: '', kind: Service, name: granted}]}";
    let mesh = with(&[
        bank("granted"),
        bank("other"),
        grant.to_owned(),
        route("HTTPRoute", "h", "shop", "api", ""),
        route("GRPCRoute", "g", "shop", "api", ""),
        route("HTTPRoute", "c", "mall", "api", ""),
    ]);
    let resolves = |kind, namespace: &str, name: &str, to: &str, port| {
        let route = mesh.manifests.routes.get(&(kind, ObjectName::new(namespace, name))).unwrap();
        let (namespace, name) = to.split_once('/').unwrap();
        mesh.resolves(route, &ObjectName::new(namespace, name), port)
    };
    for (kind, namespace, name, to, port, expected) in [
        (RouteKind::Http, "shop", "h", "shop/api", 80, Resolution::Found),
        (RouteKind::Http, "shop", "h", "shop/api", 81, Resolution::Unknown),
        (RouteKind::Http, "shop", "h", "shop/nope", 80, Resolution::Unknown),
        (RouteKind::Http, "shop", "h", "bank/granted", 80, Resolution::Found),
        (RouteKind::Http, "shop", "h", "bank/other", 80, Resolution::NotPermitted),
        (RouteKind::Grpc, "shop", "g", "bank/granted", 80, Resolution::NotPermitted),
        (RouteKind::Http, "mall", "c", "bank/granted", 80, Resolution::NotPermitted),
        (RouteKind::Http, "mall", "c", "shop/api", 80, Resolution::Found),
        (RouteKind::Http, "mall", "c", "shop/users", 80, Resolution::NotPermitted),
    ] {
        assert_eq!(resolves(kind, namespace, name, to, port), expected, "{kind} {namespace}/{name} -> {to}:{port}");
    }
}
