use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::discovery::{Client, Settings};
use crate::drain::{self, Drain};

/// The log of the test process, which there can be only one of.
fn log() -> LogHandle {
    static LOG: OnceLock<LogHandle> = OnceLock::new();
    LOG.get_or_init(|| crate::telemetry::init_logging(&config("").telemetry).unwrap()).clone()
}

fn config(probes: &str) -> Config {
    let variable = |name: &str| match name {
        "WEFT_CONTROL_PLANE" => Some("127.0.0.1:15012".to_owned()),
        name if name.starts_with("WEFT_POD_NAME") => Some("api".to_owned()),
        "WEFT_TRUST_BUNDLE" | "WEFT_TOKEN_FILE" => Some("/nowhere".to_owned()),
        "WEFT_POD_IPS" => Some("127.0.0.1".to_owned()),
        "WEFT_PROBES" => Some(probes.to_owned()),
        _ => None,
    };
    Config::from_env(variable).unwrap()
}

fn admin() -> (Admin, Drain) {
    admin_with_probes("")
}

pub(super) fn admin_with_probes(probes: &str) -> (Admin, Drain) {
    let (drainer, drain) = drain::channel();
    let admin = Admin(Arc::new(Shared {
        node_id: "api-0.shop".to_owned(),
        control_plane: config("").control_plane.address,
        log: log(),
        drainer,
        registry: Registry::new(crate::telemetry::conditions::Conditions::default()),
        prober: probe::Prober::new(&config(probes)),
        serving: OnceLock::new(),
    }));
    (admin, drain)
}

async fn send(router: Router, method: Method, path: &str, host: &str, body: &str) -> (StatusCode, String) {
    let request = Request::builder().method(method).uri(path).header(header::HOST, host);
    let response = router.oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(router: Router, path: &str) -> (StatusCode, String) {
    send(router, Method::GET, path, "localhost", "").await
}

#[tokio::test]
async fn alive_and_not_ready_before_there_is_an_identity() {
    let (admin, _drain) = admin();
    assert_eq!(get(health::router(admin.clone()), "/healthz").await.0, StatusCode::OK);
    let (status, body) = get(health::router(admin), "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let detail: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(detail["ready"], false);
    assert_eq!(detail["waiting_for"][0], "the certificate");
    assert_eq!(detail["certificate"], serde_json::Value::Null);
}

#[tokio::test]
async fn metrics_are_scraped() {
    let (admin, _drain) = admin();
    let (status, body) = get(health::router(admin), "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.contains("weft_spans_exported"), "{body}");
}

#[tokio::test]
async fn the_state_dump_is_json() {
    let (admin, _drain) = admin();
    let (status, body) = get(control::router(admin), "/config").await;
    assert_eq!(status, StatusCode::OK);
    let dump: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(dump["node"], "api-0.shop");
    assert_eq!(dump["control_plane"]["connected"], false);
    assert!(dump["resources"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn the_log_filter_is_read_and_changed_and_a_bad_one_refused() {
    let (admin, _drain) = admin();
    let put =
        |filter: &'static str| send(control::router(admin.clone()), Method::PUT, "/log-level", "localhost", filter);
    assert_eq!(put("weft_proxy=debug\n").await, (StatusCode::OK, "weft_proxy=debug\n".to_owned()));
    let (status, reason) = put("weft=loud").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(reason.contains("weft=loud"), "{reason}");
    assert_eq!(get(control::router(admin.clone()), "/log-level").await.1, "weft_proxy=debug\n");
}

#[tokio::test]
async fn drain_starts_the_drain() {
    let (admin, drain) = admin();
    assert!(drain.started().now_or_never().is_none());
    let (status, _) = send(control::router(admin), Method::POST, "/drain", "127.0.0.1:15000", "").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    drain.started().await;
}

#[tokio::test]
async fn other_hosts_are_refused() {
    let (admin, drain) = admin();
    let (status, _) = send(control::router(admin), Method::POST, "/drain", "evil.example", "").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(drain.started().now_or_never().is_none());
}

#[tokio::test]
async fn an_unanswered_state_of_resources_does_not_hold_the_dump_up() {
    let (directory, _client) = Client::new(Settings::new("api-0.shop".to_owned(), Duration::from_millis(1)));
    assert!(directory.resources().await.is_empty());
}
