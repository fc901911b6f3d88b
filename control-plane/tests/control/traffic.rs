//! The traffic API as people and scripts use it: gRPC and JSON, errors, watches, credentials.

use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use weft_api::traffic::split_event::Kind;
use weft_api::traffic::{
    Backend, DeleteSplitRequest, GetSplitRequest, ListSplitsRequest, SetWeightsRequest, WatchSplitsRequest,
};
use weft_api::xds::ResourceKind::RouteConfiguration;

use crate::support::discovery::Delta;
use crate::support::{Control, Folders, LONG, WEB_TOKEN, http, json_line, lines};

const SPLIT: &str = "/v1/namespaces/shop/services/api/split";
const TOKEN: &str = "0123456789abcdef";

fn weights(service: &str, backends: &[(&str, i64)]) -> SetWeightsRequest {
    let backend =
        |(service, weight): &(&str, i64)| Backend { service: (*service).to_owned(), port: 0, weight: *weight };
    SetWeightsRequest {
        namespace: "shop".to_owned(),
        service: service.to_owned(),
        backends: backends.iter().map(backend).collect(),
        expected_version: None,
        take_over: false,
    }
}

fn get(service: &str) -> GetSplitRequest {
    GetSplitRequest { namespace: "shop".to_owned(), service: service.to_owned() }
}

async fn refused(control: &Control, request: SetWeightsRequest) -> Status {
    control.traffic().await.set_weights(request).await.unwrap_err()
}

#[tokio::test]
async fn a_split_is_set_read_listed_and_deleted() {
    let control = Control::start().await;
    let mut traffic = control.traffic().await;
    let set = traffic.set_weights(weights("api", &[("v1", 90), ("api-v2", 10)])).await.unwrap().into_inner();
    assert_eq!(set.version, 1);
    let backends: Vec<_> = set.backends.iter().map(|b| (b.service.as_str(), b.weight)).collect();
    assert_eq!(backends, [("api-v1", 90), ("api-v2", 10)]);
    assert!(humantime::parse_rfc3339(&set.updated_at).is_ok(), "{}", set.updated_at);
    assert_eq!(traffic.get_split(get("api")).await.unwrap().into_inner().backends, set.backends);
    traffic.set_weights(weights("users", &[("users", 1)])).await.unwrap();
    let all = traffic.list_splits(ListSplitsRequest::default()).await.unwrap().into_inner().splits;
    assert_eq!(all.iter().map(|split| split.service.as_str()).collect::<Vec<_>>(), ["api", "users"]);
    let delete =
        DeleteSplitRequest { namespace: "shop".to_owned(), service: "api".to_owned(), expected_version: Some(1) };
    traffic.delete_split(delete.clone()).await.unwrap();
    assert_eq!(traffic.get_split(get("api")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(traffic.delete_split(delete).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(traffic.set_weights(weights("api", &[("v1", 1)])).await.unwrap().into_inner().version, 2);
}

#[tokio::test]
async fn errors_are_statuses_with_details() {
    let control = Control::start().await;
    let error = refused(&control, weights("api", &[("v1", -1), ("v2", 1_000_001)])).await;
    assert_eq!(error.code(), Code::InvalidArgument);
    let fields: Vec<_> = error.get_details_bad_request().unwrap().field_violations;
    let fields: Vec<_> = fields.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["backends[0].weight", "backends[1].weight"]);

    for (request, name) in [(weights("nope", &[("v1", 1)]), "shop/nope"), (weights("api", &[("v9", 1)]), "shop/v9")] {
        let error = refused(&control, request).await;
        assert_eq!(error.code(), Code::NotFound);
        let resource = error.get_details_resource_info().unwrap();
        assert_eq!((resource.resource_type.as_str(), resource.resource_name.as_str()), ("Service", name));
    }

    let stale = SetWeightsRequest { expected_version: Some(7), ..weights("api", &[("v1", 1)]) };
    let error = refused(&control, stale).await;
    assert_eq!(error.code(), Code::Aborted);
    let info = error.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.metadata["current_version"].as_str()), ("STALE_VERSION", "0"));
}

#[tokio::test]
async fn a_route_of_somebody_else_is_a_failed_precondition() {
    let folders = Folders::new();
    folders.manifest(
        "route.yaml",
        "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: mine, namespace: shop}, spec: \
         {parentRefs: [{group: '', kind: Service, name: api}], rules: [{backendRefs: [{name: api-v1, port: 80}]}]}}",
    );
    let control = Control::start_with(folders, &[]).await;
    let error = refused(&control, weights("api", &[("v1", 1)])).await;
    assert_eq!(error.code(), Code::FailedPrecondition);
    let failure = error.get_details_precondition_failure().unwrap();
    assert_eq!(failure.violations[0].subject, "shop/mine");
}

#[tokio::test]
async fn the_same_as_json() {
    let control = Control::start().await;
    let api = control.app.addresses().api;
    let body = r#"{"backends": [{"service": "v1", "weight": 3}, {"service": "v2", "weight": 1, "port": 80}], "expected_version": 0}"#;
    let set = http(api, &format!("PUT {SPLIT}"), &[], body).await;
    assert_eq!(set.status, 200, "{set:?}");
    assert_eq!(set.json()["backends"][1], json!({"service": "api-v2", "port": 80, "weight": 1}));
    let mut again = serde_json::from_str::<serde_json::Value>(body).unwrap();
    (again["expected_version"], again["take_over"]) = (json!(1), json!(true));
    let taken = http(api, &format!("PUT {SPLIT}"), &[], &again.to_string()).await;
    assert_eq!((taken.status, &taken.json()["version"]), (200, &json!(2)), "here there is nothing to take over");
    let stale = http(api, &format!("PUT {SPLIT}"), &[], body).await;
    assert_eq!((stale.status, &stale.json()["error"]["code"]), (409, &json!("ABORTED")));
    assert_eq!(stale.json()["error"]["details"][0]["metadata"]["current_version"], "2");
    let got = http(api, &format!("GET {SPLIT}"), &[], "").await.json();
    assert_eq!(
        (&got["version"], &got["rollout"]),
        (&json!(2), &json!({"proxies": 0, "current": 0, "silent_replicas": []}))
    );
    let list = http(api, "GET /v1/splits?namespace=bank", &[], "").await.json();
    assert_eq!(list, json!({"splits": []}));
    let gone = http(api, &format!("DELETE {SPLIT}?expected_version=2"), &[], "").await;
    assert_eq!((gone.status, gone.json()), (200, json!({})));
    assert_eq!(http(api, &format!("GET {SPLIT}"), &[], "").await.status, 404);
}

#[tokio::test]
async fn json_requests_that_are_wrong_say_how() {
    let control = Control::start().await;
    let api = control.app.addresses().api;
    let put = format!("PUT {SPLIT}");
    for (body, says) in [
        (r#"{"backends": [{"service": "v1", "weight": 1, "wieght": 2}]}"#, "unknown field `wieght`"),
        (r#"{"backends": [], "version": 1}"#, "unknown field `version`"),
        (r#"{"backends": [{"service": "v1"}]}"#, "missing field `weight`"),
        ("", "EOF"),
        (r#"{"backends": []}"#, "names no backend"),
    ] {
        let answer = http(api, &put, &[], body).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &json!("INVALID_ARGUMENT")), "{body}");
        assert!(answer.body.contains(says), "{says} is not in {}", answer.body);
    }
    let answer = http(api, &put, &[], r#"{"backends": [{"service": "v1", "weight": -1}]}"#).await;
    assert_eq!(answer.json()["error"]["details"][0]["field_violations"][0]["field"], "backends[0].weight");
    assert_eq!(http(api, &put, &[], &" ".repeat(70_000)).await.status, 413);
    assert_eq!(http(api, "GET /v1/splits?namespaces=x", &[], "").await.status, 400);
    assert_eq!(http(api, "POST /v1/splits", &[], "").await.status, 405);
    let nowhere = http(api, "GET /v2", &[], "").await;
    assert_eq!((nowhere.status, &nowhere.json()["error"]["code"]), (404, &json!("NOT_FOUND")));
    let form = http(api, "POST /weft.traffic.v1.Traffic/SetWeights", &["content-type: text/plain"], "\0\0\0\0\0").await;
    assert_eq!(form.status, 415, "{form:?}");
}

#[tokio::test]
async fn a_watch_tells_of_writes_and_of_the_proxies_progress() {
    let control = Control::start().await;
    let mut traffic = control.traffic().await;
    traffic.set_weights(weights("users", &[("users", 1)])).await.unwrap();
    let identity = control.join("web", WEB_TOKEN).await;
    let mut web = Delta::open(&control, &identity, "web").await;
    web.subscribe(RouteConfiguration, &["shop/api:80"]);
    web.acked().await;

    let watch = traffic.watch_splits(WatchSplitsRequest { namespace: "shop".to_owned() }).await;
    let mut events = watch.unwrap().into_inner();
    let mut next = async || {
        let event =
            tokio::time::timeout(LONG, events.message()).await.expect("an event").unwrap().expect("more events");
        let split = event.split.as_ref();
        let rollout = split.and_then(|split| split.rollout.clone()).map(|rollout| (rollout.proxies, rollout.current));
        (event.kind(), split.map(|split| (split.service.clone(), split.version)), rollout)
    };
    let users = Some(("users".to_owned(), 1));
    // The write and the watch may meet: then it comes after the listing.
    let mut first = [next().await, next().await];
    first.sort_by_key(|(kind, ..)| *kind != Kind::Set);
    assert_eq!((first[0].0, first[0].1.clone()), (Kind::Set, users));
    assert_eq!((first[1].0, first[1].1.clone()), (Kind::Synced, None));

    traffic.set_weights(weights("api", &[("v1", 1), ("v2", 1)])).await.unwrap();
    assert_eq!(next().await, (Kind::Set, Some(("api".to_owned(), 1)), Some((1, 0))));
    assert_eq!(web.acked().await, "RouteConfiguration +shop/api:80");
    assert_eq!(next().await, (Kind::Set, Some(("api".to_owned(), 1)), Some((1, 1))));
    drop(web);
    assert_eq!(next().await, (Kind::Set, Some(("api".to_owned(), 1)), Some((0, 0))));
    let delete = DeleteSplitRequest { namespace: "shop".to_owned(), service: "api".to_owned(), expected_version: None };
    traffic.delete_split(delete).await.unwrap();
    assert_eq!(next().await.0, Kind::Deleted);
}

#[tokio::test]
async fn a_watch_as_json_is_a_line_an_event() {
    let control = Control::start().await;
    let mut lines = lines(control.app.addresses().api, "GET /v1/splits:watch?namespace=shop").await;
    assert_eq!(json_line(&mut lines).await, json!({"kind": "KIND_SYNCED"}));
    control.traffic().await.set_weights(weights("api", &[("v2", 1)])).await.unwrap();
    let event = json_line(&mut lines).await;
    assert_eq!((&event["kind"], &event["split"]["backends"][0]["service"]), (&json!("KIND_SET"), &json!("api-v2")));
}

#[tokio::test]
async fn with_a_token_nothing_but_health_goes_without() {
    let folders = Folders::new();
    std::fs::write(folders.path("token"), TOKEN).unwrap();
    let flag = format!("--api-token-file={}", folders.path("token").display());
    let control = Control::start_with(folders, &[flag]).await;
    let api = control.app.addresses().api;
    let unknown = http(api, "GET /v1/splits", &[], "").await;
    assert_eq!((unknown.status, &unknown.json()["error"]["code"]), (401, &json!("UNAUTHENTICATED")));
    assert!(unknown.head.contains("www-authenticate: bearer"), "{}", unknown.head);
    assert_eq!(control.traffic().await.get_split(get("api")).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(http(api, "GET /v1/splits", &["authorization: Bearer wrong-wrong-wrong!"], "").await.status, 401);
    let right = format!("authorization: Bearer {TOKEN}");
    assert_eq!(http(api, "GET /v1/splits", &[&right, "host: weft.example"], "").await.status, 200);

    let mut health = tonic_health::pb::health_client::HealthClient::new(crate::support::plain(api).await);
    health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();

    std::fs::write(control.folders.path("token"), "another-token-of-length").unwrap();
    let changed = async {
        while http(api, "GET /v1/splits", &["authorization: Bearer another-token-of-length"], "").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, changed).await.expect("the new token to be read");
    assert_eq!(http(api, "GET /v1/splits", &[&right], "").await.status, 401);
}

#[tokio::test]
async fn beyond_loopback_the_api_speaks_tls() {
    let folders = Folders::new();
    std::fs::write(folders.path("token"), TOKEN).unwrap();
    let flags = [format!("--api-token-file={}", folders.path("token").display()), "--api-addr=0.0.0.0:0".to_owned()];
    let control = Control::start_with(folders, &flags).await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], control.app.addresses().api.port()));
    let channel = crate::support::secure(address, None, &control.folders.bundle()).await;
    let mut traffic = weft_api::traffic::traffic_client::TrafficClient::new(channel);
    let mut request = tonic::Request::new(ListSplitsRequest::default());
    request.metadata_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    assert!(traffic.list_splits(request).await.unwrap().into_inner().splits.is_empty());
}

#[tokio::test]
async fn without_a_token_web_pages_are_refused() {
    let control = Control::start().await;
    let api = control.app.addresses().api;
    let rebound = http(api, "GET /v1/splits", &["host: evil.example"], "").await;
    assert_eq!((rebound.status, &rebound.json()["error"]["code"]), (403, &json!("PERMISSION_DENIED")));
    assert_eq!(http(api, "GET /v1/splits", &["origin: http://evil.example"], "").await.status, 403);
    assert_eq!(http(api, "GET /v1/splits", &["host: localhost"], "").await.status, 200);
}

#[tokio::test]
async fn metrics_and_health_are_on_their_port() {
    let control = Control::start().await;
    let metrics = control.app.addresses().metrics;
    assert_eq!(http(metrics, "GET /healthz", &[], "").await.status, 200);
    assert_eq!(http(metrics, "GET /readyz", &[], "").await.status, 200);
    control.join("web", WEB_TOKEN).await;
    let text = http(metrics, "GET /metrics", &[], "").await.body;
    assert!(text.contains("weft_control_certificates_issued_total 1\n"), "{text}");
}
