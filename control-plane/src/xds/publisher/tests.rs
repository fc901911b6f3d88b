use std::time::Duration;

use ResourceKind::{Cluster, ClusterLoadAssignment, Listener, RouteConfiguration};

use super::super::{MAX_STREAMS_A_POD, subscriptions::Names};
use super::*;
use crate::mesh::testing::{mesh, split, split_mesh};
use crate::registry::testing::{DEMO, demo_on_nodes, good};

fn publisher() -> Arc<Publisher> {
    Arc::new(Publisher::new(mesh(DEMO), Arc::default()))
}

fn connect(publisher: &Publisher, pod: &str) -> Arc<Subscriber> {
    let node = NodeRef { namespace: "shop".to_owned(), pod: pod.to_owned() };
    publisher.connect(node, "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap()).unwrap()
}

fn subscribe(publisher: &Publisher, stream: &Subscriber, kind: ResourceKind, names: &[&str]) {
    let subscribe = names.iter().map(|name| Arc::from(*name)).collect();
    let names = Names::Change { subscribe, unsubscribe: vec![], versions: Default::default() };
    publisher.request(stream, kind, names).unwrap();
}

/// What the stream is sent now, acknowledged.
fn sent(publisher: &Publisher, stream: &Subscriber) -> Vec<(ResourceKind, Vec<String>)> {
    let next = || {
        let outgoing = publisher.next(stream, false)?;
        publisher.answer(stream, outgoing.kind, &outgoing.nonce.to_string(), None);
        let names = outgoing.resources.iter().map(|resource| resource.name.clone());
        Some((outgoing.kind, names.chain(outgoing.removed.iter().map(|name| format!("-{name}"))).collect()))
    };
    std::iter::from_fn(next).collect()
}

fn woken(stream: &Subscriber) -> bool {
    use futures::FutureExt as _;
    stream.wake.notified().now_or_never().is_some()
}

fn weights(v1: u32, v2: u32, version: u64) -> Mesh {
    let mut split = split("api", &[("api-v1", 0, v1), ("api-v2", 0, v2)]);
    split.version = version;
    split_mesh(good(DEMO), &[split])
}

#[test]
fn a_change_wakes_those_who_are_interested_and_nobody_else() {
    let publisher = publisher();
    let (web, users) = (connect(&publisher, "web"), connect(&publisher, "users"));
    subscribe(&publisher, &web, RouteConfiguration, &["shop/api:80"]);
    subscribe(&publisher, &users, RouteConfiguration, &["shop/users:80"]);
    assert_eq!(sent(&publisher, &web), [(RouteConfiguration, vec!["shop/api:80".to_owned()])]);
    assert_eq!(sent(&publisher, &users).len(), 1);
    publisher.publish(weights(90, 10, 1));
    assert!(woken(&web) && !woken(&users));
    assert_eq!(sent(&publisher, &web), [(RouteConfiguration, vec!["shop/api:80".to_owned()])]);
    assert_eq!(sent(&publisher, &users), []);
}

#[test]
fn what_may_have_changed_and_did_not_wakes_nobody() {
    let publisher = publisher();
    let web = connect(&publisher, "web");
    subscribe(&publisher, &web, RouteConfiguration, &["shop/api:80"]);
    sent(&publisher, &web);
    // Read anew, all objects are other ones with the same content.
    publisher.publish(mesh(DEMO));
    assert!(!woken(&web));
}

#[test]
fn resources_are_serialized_once_for_all() {
    let publisher = publisher();
    let (web, users) = (connect(&publisher, "web"), connect(&publisher, "users"));
    for stream in [&web, &users] {
        subscribe(&publisher, stream, Cluster, &["shop/api:80"]);
    }
    let first = publisher.next(&web, false).unwrap().resources;
    let second = publisher.next(&users, false).unwrap().resources;
    assert!(Arc::ptr_eq(&first[0], &second[0]));
}

#[test]
fn a_client_cannot_make_the_cache_grow() {
    let publisher = publisher();
    let web = connect(&publisher, "web");
    for number in 0..100 {
        subscribe(&publisher, &web, Listener, &[&format!("192.0.2.{number}:80"), "inbound"]);
    }
    while !sent(&publisher, &web).is_empty() {}
    assert_eq!(publisher.cache.read().resources.len(), 0);
}

#[test]
fn a_stream_that_ended_leaves_nothing_behind() {
    let publisher = publisher();
    let web = connect(&publisher, "web");
    subscribe(&publisher, &web, Cluster, &["shop/api:80", "*"]);
    publisher.disconnect(&web);
    assert!(publisher.subscribers().is_empty());
    assert!(!publisher.index.read().is_wanted(Cluster, "shop/api:80"));
    assert_eq!(publisher.index.read().streams_of(&web.pod()).count(), 0);
}

#[test]
fn a_pod_has_a_bounded_number_of_streams() {
    let publisher = publisher();
    let streams: Vec<_> = (0..MAX_STREAMS_A_POD).map(|_| connect(&publisher, "web")).collect();
    let identity = streams[0].identity().clone();
    let error = publisher.connect(streams[0].node().clone(), identity.clone()).unwrap_err();
    assert_eq!(error.code(), tonic::Code::ResourceExhausted);
    publisher.disconnect(&streams[0]);
    assert!(publisher.connect(streams[0].node().clone(), identity).is_ok());
}

#[test]
fn a_pod_that_is_gone_keeps_its_inbound_listener() {
    let publisher = publisher();
    let web = connect(&publisher, "web");
    subscribe(&publisher, &web, Listener, &["inbound"]);
    assert_eq!(sent(&publisher, &web), [(Listener, vec!["inbound".to_owned()])]);
    let strict = DEMO.replace(
        "name: web, namespace: shop, labels",
        "name: web, namespace: shop, annotations: {weft.dev/mtls: strict}, labels",
    );
    publisher.publish(mesh(&strict));
    assert_eq!(sent(&publisher, &web), [(Listener, vec!["inbound".to_owned()])], "its own policy changed");
    let without: Vec<_> = DEMO.split("---\n").filter(|document| !document.contains("name: web, ports")).collect();
    publisher.publish(mesh(&without.join("---\n")));
    assert!(publisher.mesh().pod("shop", "web").is_none());
    assert_eq!(sent(&publisher, &web), []);
}

#[test]
fn endpoints_alone_are_sent_when_endpoints_change() {
    let publisher = publisher();
    let web = connect(&publisher, "web");
    subscribe(&publisher, &web, Listener, &["10.96.0.11:80"]);
    for kind in [RouteConfiguration, Cluster, ClusterLoadAssignment] {
        subscribe(&publisher, &web, kind, &["shop/api-v1:80"]);
    }
    assert_eq!(sent(&publisher, &web).len(), 4);
    publisher.publish(mesh(&DEMO.replace("{addresses: [10.1.0.2], zone: a}]", "{addresses: [10.1.0.2], zone: c}]")));
    assert_eq!(sent(&publisher, &web), [(ClusterLoadAssignment, vec!["shop/api-v1:80".to_owned()])]);
}

#[test]
fn a_service_that_keeps_to_its_clients_node_concerns_the_clients_on_that_node() {
    let local = demo_on_nodes("internalTrafficPolicy: Local");
    let publisher = Publisher::new(mesh(&local), Arc::default());
    let streams = [connect(&publisher, "web"), connect(&publisher, "api-v2"), connect(&publisher, "users")];
    for stream in &streams {
        subscribe(&publisher, stream, ClusterLoadAssignment, &["shop/api:80"]);
        sent(&publisher, stream);
        woken(stream);
    }
    let all_woken = || streams.each_ref().map(|stream| woken(stream));
    let draining = |node: &str| {
        let ready = format!("nodeName: {node}, conditions: {{ready: true}}");
        local.replace(&ready, &format!("nodeName: {node}, conditions: {{ready: false, terminating: true}}"))
    };
    publisher.publish(mesh(&draining("n2")));
    assert_eq!(all_woken(), [false, true, false]);
    publisher.publish(mesh(&local));
    all_woken();
    // A client that comes to another node has the endpoints there.
    let web = &streams[0];
    publisher.publish(mesh(&local.replace("web, nodeName: n1", "web, nodeName: n2")));
    assert!(woken(web));
    assert_eq!(sent(&publisher, web), [(ClusterLoadAssignment, vec!["shop/api:80".to_owned()])]);
    // One that is gone keeps what it has: its proxy may still be draining.
    let gone: Vec<_> =
        draining("n2").split("---\n").filter(|text| !text.contains("name: web, ports")).map(str::to_owned).collect();
    publisher.publish(mesh(&gone.join("---\n")));
    assert!(publisher.mesh().pod("shop", "web").is_none());
    assert_eq!(sent(&publisher, web), []);
    publisher.publish(mesh(&local));
    // What is the same for all wakes those for whom it is another.
    publisher.publish(mesh(&local.replace("internalTrafficPolicy: Local", "internalTrafficPolicy: Cluster")));
    assert_eq!(all_woken(), [true; 3]);
    assert!(streams.iter().all(|stream| sent(&publisher, stream).len() == 1));
    let keys = publisher.cache.read().resources.keys().filter(|key| key.0 == ClusterLoadAssignment).count();
    assert_eq!(keys, 1, "nothing is left of what was different");
}

/// A route of the namespace `bank` for its own clients of `api`, and a client.
fn consumer(backend: &str) -> Mesh {
    let route = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r, namespace: bank}}\n\
         spec: {{parentRefs: [{{group: '', kind: Service, name: api, namespace: shop}}], rules: [{{backendRefs: [{backend}]}}]}}"
    );
    mesh(&format!("{DEMO}\n---\n{route}"))
}

#[tokio::test]
async fn a_consumer_route_touches_the_clients_of_its_namespace() {
    let publisher = publisher();
    let web = connect(&publisher, "web");
    let node = NodeRef { namespace: "bank".to_owned(), pod: "teller".to_owned() };
    let teller = publisher.connect(node, "spiffe://cluster.local/ns/bank/sa/teller".parse().unwrap()).unwrap();
    for stream in [&web, &teller] {
        subscribe(&publisher, stream, Listener, &["10.96.0.10:80"]);
        subscribe(&publisher, stream, RouteConfiguration, &["shop/api:80"]);
        sent(&publisher, stream);
        woken(stream);
    }
    let to_api = "{name: api, namespace: shop, port: 80}";
    publisher.publish(consumer(to_api));
    assert!(!woken(&web) && woken(&teller));
    assert_eq!(sent(&publisher, &teller), [(Listener, vec!["10.96.0.10:80".to_owned()])]);
    subscribe(&publisher, &teller, RouteConfiguration, &["shop/api:80@bank"]);
    assert_eq!(sent(&publisher, &teller), [(RouteConfiguration, vec!["shop/api:80@bank".to_owned()])]);
    publisher.publish(consumer(&format!("{to_api}, {{name: gone, port: 1}}")));
    assert!(!woken(&web));
    assert_eq!(sent(&publisher, &teller), [(RouteConfiguration, vec!["shop/api:80@bank".to_owned()])]);
    assert_eq!(publisher.route_holders(&ObjectName::new("shop", "api")), RouteHolders { all: 2, current: 2 });
    publisher.publish(mesh(DEMO));
    assert!(!woken(&web));
    let gone = vec!["-shop/api:80@bank".to_owned()];
    assert_eq!(sent(&publisher, &teller), [(Listener, vec!["10.96.0.10:80".to_owned()]), (RouteConfiguration, gone)]);
    // Each namespace's listener is serialized once.
    let cached = publisher.cache.read().resources.len();
    sent(&publisher, &web);
    assert_eq!(publisher.cache.read().resources.len(), cached);
}

/// A route for the connections of `users`' opaque port, and one by SNI.
fn connections(backend: &str) -> Mesh {
    let parent = |port| format!("parentRefs: [{{group: '', kind: Service, name: users, port: {port}}}]");
    let rule = format!("{{backendRefs: [{{name: {backend}, port: 80}}]}}");
    let route = |kind, name, spec: &str| {
        let metadata = format!("metadata: {{name: {name}, namespace: shop}}");
        format!(
            "\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\n{metadata}\nspec: {{{spec}, rules: [{rule}]}}"
        )
    };
    let tcp = route("TCPRoute", "tcp", &parent(3306));
    let tls = route("TLSRoute", "tls", &format!("{}, hostnames: [a.example]", parent(80)));
    mesh(&format!("{DEMO}{tcp}{tls}"))
}

#[test]
fn routes_of_connections_are_in_force_where_the_listener_is_acknowledged() {
    let publisher = publisher();
    let service = ObjectName::new("shop", "users");
    let streams = [connect(&publisher, "web"), connect(&publisher, "users")];
    // One holds the port of the TCPRoute, the other one that of the TLSRoute.
    for (stream, name) in streams.iter().zip(["10.96.0.20:3306", "10.96.0.20:80"]) {
        subscribe(&publisher, stream, Listener, &[name]);
        sent(&publisher, stream);
    }
    assert_eq!(publisher.route_holders(&service), RouteHolders { all: 2, current: 2 });
    let digest = publisher.route_digest(&service);
    publisher.publish(connections("api"));
    assert_ne!(publisher.route_digest(&service), digest);
    for (place, stream) in streams.iter().enumerate() {
        let current = u32::try_from(place).unwrap();
        assert_eq!(publisher.route_holders(&service), RouteHolders { all: 2, current });
        assert_eq!(sent(&publisher, stream).len(), 1);
    }
    assert_eq!(publisher.route_holders(&service), RouteHolders { all: 2, current: 2 });
    assert_eq!(publisher.route_holders(&ObjectName::new("shop", "api")), RouteHolders::default());
}

#[tokio::test]
async fn rollouts_follow_acknowledgements() {
    let publisher = publisher();
    let service = ObjectName::new("shop", "api");
    let (web, users) = (connect(&publisher, "web"), connect(&publisher, "users"));
    for stream in [&web, &users] {
        subscribe(&publisher, stream, RouteConfiguration, &["shop/api:80"]);
        sent(&publisher, stream);
    }
    assert_eq!(publisher.route_holders(&service), RouteHolders { all: 2, current: 2 });
    publisher.publish(weights(1, 1, 1));
    assert_eq!(publisher.progress().await, [service.clone()].into());
    assert_eq!(publisher.route_holders(&service), RouteHolders { all: 2, current: 0 });
    sent(&publisher, &web);
    assert_eq!(publisher.progress().await, [service.clone()].into());
    assert_eq!(publisher.route_holders(&service), RouteHolders { all: 2, current: 1 });
    publisher.disconnect(&users);
    assert_eq!(publisher.progress().await, [service.clone()].into());
    assert_eq!(publisher.route_holders(&service), RouteHolders { all: 1, current: 1 });
    let idle = tokio::time::timeout(Duration::ZERO, publisher.progress()).await;
    assert!(idle.is_err(), "nothing happened since");
}
