//! What a pod is sent, and what it keeps requests away from, as `weft why` and `weft status` ask for it.

use std::time::{Duration, Instant};

use tonic::Code;
use weft_api::load::{EJECTED_SECONDS_LEFT, breaker_metric};
use weft_api::status::{Configuration, GetConfigurationRequest, ListProxiesRequest, Proxy, ResourceName};
use weft_api::xds::ResourceKind::{Listener, RouteConfiguration};
use weft_api::xds::pb::envoy::config::core::v3::{Address, SocketAddress, address, socket_address::PortSpecifier};
use weft_api::xds::pb::envoy::config::endpoint::v3::{EndpointLoadMetricStats, UpstreamEndpointStats};
use weft_api::xds::pb::google::protobuf::{Struct, Value, value::Kind};

use crate::support::discovery::Delta;
use crate::support::load::{Reports, stats};
use crate::support::{Control, Folders, LONG, WEB_TOKEN};

const ROUTE: &str = "# a document of its own\n---\n\
    {apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: api, namespace: shop}, spec: \
     {parentRefs: [{group: '', kind: Service, name: api}], rules: [{backendRefs: [{name: api-v1, port: 80}]}]}}";

fn request(node: &str, service: &str, port: &str) -> GetConfigurationRequest {
    GetConfigurationRequest {
        node: node.to_owned(),
        service: service.to_owned(),
        port: port.to_owned(),
        resources: vec![],
    }
}

async fn configuration(control: &Control, request: GetConfigurationRequest) -> Configuration {
    control.status().await.get_configuration(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_pod_is_sent_listeners_and_what_else_is_asked_for() {
    let folders = Folders::new();
    folders.manifest("route.yaml", ROUTE);
    let control = Control::start_with(folders, &[]).await;
    for port in ["80", "http", ""] {
        let found = configuration(&control, request("web.shop", "shop/api", port)).await;
        assert_eq!(found.dialled, ["10.96.0.10:80", "[fd00::10]:80"]);
        let listeners = found.resources.iter().filter(|resource| resource.resource.is_some());
        assert_eq!(listeners.count(), 2);
        assert!(!found.connected && found.resources.iter().all(|resource| !resource.subscribed));
    }
    let named = |kind: &str, name: &str| ResourceName { kind: kind.to_owned(), name: name.to_owned() };
    let resources = vec![named("RouteConfiguration", "shop/api:80"), named("Cluster", "shop/nothing:80")];
    let mut web = Delta::open(&control, &control.join("web", WEB_TOKEN).await, "web").await;
    web.subscribe(RouteConfiguration, &["shop/api:80"]);
    web.acked().await;
    // The ACK is taken in before what is asked for next.
    web.subscribe(Listener, &["10.96.0.10:80"]);
    web.acked().await;
    let found = configuration(&control, GetConfigurationRequest { resources, ..request("web.shop", "", "") }).await;
    let [routes, nothing] = found.resources.as_slice() else { panic!("{found:?}") };
    assert!(found.connected && routes.subscribed && !routes.version.is_empty());
    assert_eq!(routes.acked_version, routes.version);
    assert_eq!((nothing.version.as_str(), &nothing.resource), ("", &None));
    // From the line that begins the document.
    let origin = found.origins.iter().find(|origin| origin.manifest == "HTTPRoute shop/api").unwrap();
    assert_eq!((origin.file.as_str(), origin.line), ("route.yaml", 2));
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let control = Control::start().await;
    for (node, service, port, code, says) in [
        ("nobody.shop", "shop/api", "80", Code::NotFound, "Pod"),
        ("web", "shop/api", "80", Code::InvalidArgument, "POD.NAMESPACE"),
        ("web.shop", "api", "80", Code::InvalidArgument, "NAMESPACE/NAME"),
        ("web.shop", "shop/nope", "80", Code::NotFound, "Service shop/nope"),
        ("web.shop", "shop/api", "81", Code::NotFound, "it has 80 (http)"),
        ("web.shop", "shop/users", "", Code::NotFound, "80 (any), 3306 (mysql)"),
    ] {
        let error = control.status().await.get_configuration(request(node, service, port)).await.unwrap_err();
        assert_eq!(error.code(), code, "{error:?}");
        assert!(error.message().contains(says), "{error:?}");
    }
}

#[tokio::test]
async fn what_a_proxy_does_not_use_is_shown_as_it_reports() {
    let control = Control::start().await;
    let identity = control.join("web", WEB_TOKEN).await;
    let mut web = Delta::open(&control, &identity, "web").await;
    web.subscribe(Listener, &["10.96.0.10:80"]);
    web.acked().await;
    let mut reports = Reports::open(&control, Some(&identity), "web.shop").await.unwrap();
    reports.answer().await.unwrap();
    let mut report = stats("shop/api:80", 0, 0);
    let locality = &mut report.upstream_locality_stats[0];
    locality.load_metric_stats.push(EndpointLoadMetricStats {
        metric_name: breaker_metric("requests"),
        num_requests_finished_with_metric: 1,
        total_metric_value: 0.0,
    });
    let left = Value { kind: Some(Kind::NumberValue(12.0)) };
    let socket = SocketAddress {
        address: "10.1.0.3".to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(8080)),
        ..SocketAddress::default()
    };
    locality.upstream_endpoint_stats.push(UpstreamEndpointStats {
        address: Some(Address { address: Some(address::Address::SocketAddress(socket)) }),
        metadata: Some(Struct { fields: [(EJECTED_SECONDS_LEFT.to_owned(), left)].into() }),
        ..UpstreamEndpointStats::default()
    });
    reports.send_stats(vec![report]);
    let seen = until(&control, |proxy| !proxy.ejected.is_empty()).await;
    assert_eq!((seen.ejected[0].address.as_str(), seen.ejected[0].seconds_left), ("10.1.0.3:8080", 12));
    assert_eq!(
        (seen.open_breakers[0].cluster.as_str(), seen.open_breakers[0].which.as_str()),
        ("shop/api:80", "requests")
    );
    assert_eq!(configuration(&control, request("web.shop", "", "")).await.ejected, seen.ejected);
    reports.send_stats(vec![]);
    until(&control, |proxy| proxy.ejected.is_empty() && proxy.open_breakers.is_empty()).await;
}

/// The one proxy that there is, as soon as it is so.
async fn until(control: &Control, is_so: impl Fn(&Proxy) -> bool) -> Proxy {
    let (begun, mut status) = (Instant::now(), control.status().await);
    loop {
        let proxies = status.list_proxies(ListProxiesRequest::default()).await.unwrap().into_inner().proxies;
        let [proxy] = proxies.as_slice() else { panic!("{proxies:?}") };
        if is_so(proxy) {
            return proxy.clone();
        }
        assert!(begun.elapsed() < LONG, "it never came to that: {proxy:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
