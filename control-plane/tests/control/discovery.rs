//! Discovery as a proxy sees it: real TLS, real streams, a real folder of manifests.

use tonic::Code;
use weft_api::status::ListProxiesRequest;
use weft_api::traffic::{Backend, SetWeightsRequest};
use weft_api::xds::ResourceKind::{self, Cluster, ClusterLoadAssignment, Listener, RouteConfiguration};
use weft_api::xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use weft_api::xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

use crate::support::discovery::{Delta, node, text};
use crate::support::{Control, DEMO, LONG, WEB_TOKEN};

async fn web(control: &Control) -> Delta {
    let identity = control.join("web", WEB_TOKEN).await;
    Delta::open(control, &identity, "web").await
}

/// Sets the weights, and waits until the streams have been marked.
async fn set_weights(control: &Control, v1: i64, v2: i64) {
    let mut published = control.app.publisher().subscribe();
    let backend = |service: &str, weight| Backend { service: service.to_owned(), port: 0, weight };
    let request = SetWeightsRequest {
        namespace: "shop".to_owned(),
        service: "api".to_owned(),
        backends: vec![backend("v1", v1), backend("v2", v2)],
        expected_version: None,
        take_over: false,
    };
    control.traffic().await.set_weights(request).await.unwrap();
    tokio::time::timeout(LONG, published.changed()).await.expect("a new mesh").unwrap();
}

/// The proxy's resource of this kind and name, as the status service has it, once `ready`.
async fn status(
    control: &Control,
    kind: ResourceKind,
    name: &str,
    ready: impl Fn(&weft_api::status::Resource) -> bool,
) -> weft_api::status::Resource {
    let mut client = control.status().await;
    let asking = async {
        loop {
            let proxies = client.list_proxies(ListProxiesRequest::default()).await.unwrap().into_inner().proxies;
            let mut resources = proxies.into_iter().flat_map(|proxy| proxy.resources);
            if let Some(found) = resources.find(|r| r.kind == kind.name() && r.name == name && ready(r)) {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, asking).await.expect("the status to come about")
}

#[tokio::test]
async fn names_are_answered_at_once_and_followed() {
    let control = Control::start().await;
    let mut web = web(&control).await;
    web.subscribe(Listener, &["10.96.0.10:80", "10.96.0.77:80", "inbound"]);
    assert_eq!(web.acked().await, "Listener +10.96.0.10:80 +inbound -10.96.0.77:80");
    let service = "{apiVersion: v1, kind: Service, metadata: {name: late, namespace: shop}, \
                   spec: {clusterIP: 10.96.0.77, ports: [{name: http, port: 80}]}}";
    control.folders.manifest("late.yaml", service);
    assert_eq!(web.acked().await, "Listener +10.96.0.77:80");
    std::fs::remove_file(control.folders.registry().join("late.yaml")).unwrap();
    assert_eq!(web.acked().await, "Listener -10.96.0.77:80");
    web.expect_nothing().await;
}

#[tokio::test]
async fn a_shift_of_traffic_sends_routes_alone_and_endpoints_send_endpoints_alone() {
    let control = Control::start().await;
    let mut web = web(&control).await;
    web.subscribe(Listener, &["10.96.0.10:80"]);
    web.acked().await;
    for kind in [RouteConfiguration, Cluster, ClusterLoadAssignment] {
        web.subscribe(kind, &["shop/api:80"]);
        web.acked().await;
    }
    set_weights(&control, 90, 10).await;
    assert_eq!(web.acked().await, "RouteConfiguration +shop/api:80");
    web.expect_nothing().await;
    let moved = DEMO.replace("zone: a, conditions", "zone: c, conditions");
    control.folders.manifest("demo.yaml", &moved);
    assert_eq!(web.acked().await, "ClusterLoadAssignment +shop/api:80");
    web.expect_nothing().await;
}

#[tokio::test]
async fn a_reconnect_is_sent_only_what_differs() {
    let control = Control::start().await;
    let identity = control.join("web", WEB_TOKEN).await;
    let mut web = Delta::open(&control, &identity, "web").await;
    web.subscribe(RouteConfiguration, &["shop/api:80", "shop/users:80"]);
    let held = web.next().await;
    let version = |name: &str| held.resources.iter().find(|resource| resource.name == name).unwrap().version.clone();
    let (api, users) = (version("shop/api:80"), version("shop/users:80"));
    drop(web);
    let control = control.restart().await;
    set_weights(&control, 1, 1).await;
    let mut web = Delta::open(&control, &identity, "web").await;
    let versions = [("shop/api:80", api.as_str()), ("shop/users:80", users.as_str()), ("shop/gone:80", "1")];
    web.subscribe_holding(RouteConfiguration, &["shop/api:80", "shop/users:80", "shop/gone:80"], &versions);
    assert_eq!(web.acked().await, "RouteConfiguration +shop/api:80 -shop/gone:80");
    web.expect_nothing().await;
}

#[tokio::test]
async fn a_refused_version_is_shown_and_not_sent_again() {
    let control = Control::start().await;
    let mut web = web(&control).await;
    web.subscribe(RouteConfiguration, &["shop/api:80"]);
    web.acked().await;
    let good = status(&control, RouteConfiguration, "shop/api:80", |r| !r.acked_version.is_empty()).await;
    assert_eq!((good.stale_seconds, good.error.as_str()), (0, ""));
    set_weights(&control, 1, 2).await;
    let response = web.next().await;
    web.answer(&response, Some("shop/api:80: routes[0].match: no"));
    let bad = status(&control, RouteConfiguration, "shop/api:80", |r| !r.error.is_empty()).await;
    assert_eq!(bad.acked_version, good.acked_version);
    assert_eq!(bad.wanted_version, response.resources[0].version);
    assert_eq!(bad.error, "shop/api:80: routes[0].match: no");
    assert!(bad.stale_seconds > 0);
    // The same weights again are the same version.
    set_weights(&control, 1, 2).await;
    web.expect_nothing().await;
    set_weights(&control, 3, 1).await;
    assert_eq!(web.acked().await, "RouteConfiguration +shop/api:80");
    status(&control, RouteConfiguration, "shop/api:80", |r| r.error.is_empty() && r.stale_seconds == 0).await;
}

#[tokio::test]
async fn who_unsubscribes_is_told_no_more() {
    let control = Control::start().await;
    let mut web = web(&control).await;
    web.subscribe(RouteConfiguration, &["shop/api:80", "shop/users:80"]);
    web.acked().await;
    web.unsubscribe(RouteConfiguration, &["shop/api:80"]);
    web.expect_nothing().await;
    set_weights(&control, 1, 1).await;
    web.expect_nothing().await;
}

#[tokio::test]
async fn a_wildcard_has_all_clusters() {
    let control = Control::start().await;
    let mut web = web(&control).await;
    web.subscribe(Cluster, &[]);
    let all = web.acked().await;
    for name in ["shop/api:80", "shop/users:3306", "10.1.0.1:8080"] {
        assert!(all.contains(&format!(" +{name}")), "{name} is missing in {all}");
    }
    control.folders.manifest(
        "late.yaml",
        "{apiVersion: v1, kind: Service, metadata: {name: late, namespace: shop}, spec: {ports: [{port: 80}]}}",
    );
    assert_eq!(web.acked().await, "Cluster +shop/late:80");
}

#[tokio::test]
async fn the_status_has_what_the_proxy_says_of_itself() {
    let control = Control::start().await;
    let mut web = web(&control).await;
    web.subscribe(Listener, &["inbound"]);
    web.acked().await;
    let listed = control.status().await.list_proxies(ListProxiesRequest { namespace: "shop".to_owned() }).await;
    let proxies = listed.unwrap().into_inner().proxies;
    assert_eq!(proxies.len(), 1);
    assert_eq!(proxies[0].node, "web.shop");
    assert_eq!(proxies[0].identity, "spiffe://cluster.local/ns/shop/sa/web");
    assert_eq!((proxies[0].version.as_str(), proxies[0].certificate_expires), ("1.2.3", 1_900_000_000));
    let other = control.status().await.list_proxies(ListProxiesRequest { namespace: "bank".to_owned() }).await;
    assert!(other.unwrap().into_inner().proxies.is_empty());
}

#[tokio::test]
async fn only_the_pod_itself_gets_its_stream() {
    let control = Control::start().await;
    let refused = Delta::try_open(&control, None, node("web")).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let identity = control.join("web", WEB_TOKEN).await;
    for (pod, reason) in
        [("api-v1", "does not run as spiffe://cluster.local/ns/shop/sa/web"), ("nobody", "not in the registry")]
    {
        let mut stream = Delta::open(&control, &identity, pod).await;
        stream.subscribe(Listener, &["inbound"]);
        let refused = stream.receive().await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{pod}");
        assert!(refused.message().contains(reason), "{}", refused.message());
    }
}

#[tokio::test]
async fn a_pod_that_arrives_late_is_let_in_when_it_tries_again() {
    let control = Control::start().await;
    let identity = control.join("web", WEB_TOKEN).await;
    control.folders.manifest(
        "late.yaml",
        "{apiVersion: v1, kind: Pod, metadata: {name: web-2, namespace: shop}, spec: {serviceAccountName: web}, status: {podIP: 10.1.0.9}}",
    );
    let trying = async {
        loop {
            let mut stream = Delta::open(&control, &identity, "web-2").await;
            stream.subscribe(Listener, &["inbound"]);
            if let Ok(response) = stream.receive().await {
                return text(&response);
            }
        }
    };
    assert_eq!(tokio::time::timeout(LONG, trying).await.unwrap(), "Listener +inbound");
}

#[tokio::test]
async fn what_breaks_the_bounds_ends_the_stream() {
    let control = Control::start().await;
    let identity = control.join("web", WEB_TOKEN).await;
    let mut stream = Delta::open(&control, &identity, "web").await;
    stream.subscribe(Cluster, &["x".repeat(300).as_str()]);
    assert_eq!(stream.receive().await.unwrap_err().code(), Code::InvalidArgument);
    let mut stream = Delta::open(&control, &identity, "web").await;
    let many: Vec<String> =
        (0..=weft_control::xds::MAX_SUBSCRIPTIONS).map(|number| format!("shop/s{number}:80")).collect();
    stream.subscribe(Cluster, &many.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(stream.receive().await.unwrap_err().code(), Code::ResourceExhausted);
    let mut stream = Delta::try_open(&control, Some(&identity), Default::default()).await.unwrap();
    stream.send(Cluster, DeltaDiscoveryRequest::default());
    assert_eq!(stream.receive().await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn the_state_of_the_world_is_served_too() {
    let control = Control::start().await;
    let identity = control.join("web", WEB_TOKEN).await;
    let mut client = AggregatedDiscoveryServiceClient::new(control.xds(Some(&identity)).await);
    let (requests, outgoing) = tokio::sync::mpsc::unbounded_channel();
    let outgoing = tokio_stream::wrappers::UnboundedReceiverStream::new(outgoing);
    let mut responses = client.stream_aggregated_resources(outgoing).await.unwrap().into_inner();
    let request = |kind: ResourceKind, names: &[&str], nonce: &str| DiscoveryRequest {
        node: Some(node("web")),
        type_url: kind.type_url().to_owned(),
        resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
        response_nonce: nonce.to_owned(),
        ..DiscoveryRequest::default()
    };
    requests.send(request(RouteConfiguration, &["shop/api:80", "shop/users:80"], "")).unwrap();
    let first = responses.message().await.unwrap().unwrap();
    assert_eq!(first.resources.len(), 2);
    requests.send(request(RouteConfiguration, &["shop/api:80", "shop/users:80"], &first.nonce)).unwrap();
    set_weights(&control, 1, 1).await;
    let second = tokio::time::timeout(LONG, responses.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(second.resources.len(), 1, "routes are sent as they change");
    requests.send(request(RouteConfiguration, &["shop/api:80"], &second.nonce)).unwrap();
    requests.send(request(Listener, &["10.96.0.10:80", "inbound"], "")).unwrap();
    let third = tokio::time::timeout(LONG, responses.message()).await.unwrap().unwrap().unwrap();
    assert_eq!((third.type_url.as_str(), third.resources.len()), (Listener.type_url(), 2));
}

#[tokio::test]
async fn at_shutdown_streams_end() {
    let control = Control::start().await;
    let mut web = web(&control).await;
    web.subscribe(Listener, &["inbound"]);
    web.acked().await;
    let began = std::time::Instant::now();
    control.app.stop().await;
    assert!(began.elapsed() < std::time::Duration::from_secs(5));
}
