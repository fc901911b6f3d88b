use axum::Router;
use axum::body::Body;
use axum::response::Redirect;
use axum::routing::get;
use tokio::net::TcpListener;
use tower::ServiceExt as _;

use super::super::health;
use super::super::tests::admin_with_probes;
use super::*;

/// An application with an answer of each kind.
async fn application() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let with_header = |headers: HeaderMap| async move {
        let asked = [headers.get("host"), headers.get("x-probe"), headers.get(header::USER_AGENT)];
        match asked.map(|value| value.and_then(|value| value.to_str().ok()).unwrap_or_default()) {
            ["example.org", "1", agent] if agent.starts_with("kube-probe/") => StatusCode::OK,
            _ => StatusCode::IM_A_TEAPOT,
        }
    };
    let router = Router::new()
        .route("/ok", get(async || "fine"))
        .route("/sick", get(async || (StatusCode::SERVICE_UNAVAILABLE, "secret")))
        .route("/header", get(with_header))
        .route("/to-ok", get(async || Redirect::temporary("/ok")))
        .route("/to-sick", get(async || Redirect::temporary("sick")))
        .route("/elsewhere", get(async || Redirect::temporary("http://example.org/")))
        .route("/round", get(async || Redirect::temporary("/round")))
        .route("/slow", get(async || tokio::time::sleep(std::time::Duration::from_secs(60)).await));
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

/// The status that the kubelet sees.
async fn asked(probes: &str, path: &str, token: &str) -> (StatusCode, String) {
    let (admin, _drain) = admin_with_probes(probes);
    let request = Request::get(path).header(TOKEN_HEADER, token).body(Body::empty()).unwrap();
    let answer = health::router(admin).oneshot(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn probed(port: u16, probe: &str) -> (StatusCode, String) {
    let probes = format!(r#"{{"token": "T", "probes": {{"web/liveness": {{"port": {port}, {probe}}}}}}}"#);
    asked(&probes, "/probe/web/liveness", "T").await
}

#[tokio::test]
async fn http_is_asked_as_the_kubelet_would_ask() {
    let port = application().await;
    for (question, expected) in [
        (r#""httpGet": {"path": "/ok"}"#, 200),
        (r#""httpGet": {"path": "/sick"}"#, 503),
        (r#""httpGet": {"path": "/none"}"#, 404),
        (r#""httpGet": {"path": "/to-ok"}"#, 200),
        (r#""httpGet": {"path": "/to-sick"}"#, 503),
        (r#""httpGet": {"path": "/elsewhere"}"#, 200),
        (r#""httpGet": {"path": "/round"}"#, 508),
        (r#""httpGet": {"path": "/slow"}"#, 504),
        (r#""tcpSocket": {}"#, 200),
    ] {
        let (status, said) = probed(port, question).await;
        assert_eq!(status.as_u16(), expected, "{question}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
    let headers = r#"[{"name": "Host", "value": "example.org"}, {"name": "x-probe", "value": "1"}]"#;
    let question = format!(r#""httpGet": {{"path": "/header", "httpHeaders": {headers}}}"#);
    assert_eq!(probed(port, &question).await.0, StatusCode::OK);
}

#[tokio::test]
async fn nobody_listening_is_a_failure() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
    for question in [r#""tcpSocket": {}"#, r#""httpGet": {}"#, r#""grpc": {}"#, r#""httpGet": {"scheme": "HTTPS"}"#] {
        let (status, said) = probed(port, question).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY, "{question}: {said}");
    }
}

#[tokio::test]
async fn grpc_health_is_asked() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("shop.Api", tonic_health::ServingStatus::Serving).await;
    reporter.set_service_status("shop.Sick", tonic_health::ServingStatus::NotServing).await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    for (service, expected) in [("shop.Api", 200), ("", 200), ("shop.Sick", 503), ("shop.None", 503)] {
        let (status, said) = probed(port, &format!(r#""grpc": {{"service": "{service}"}}"#)).await;
        assert_eq!(status.as_u16(), expected, "{service}: {said}");
    }
}

#[tokio::test]
async fn nothing_else_is_reachable() {
    let port = application().await;
    let probes =
        format!(r#"{{"token": "T", "probes": {{"web/liveness": {{"port": {port}, "httpGet": {{"path": "/ok"}}}}}}}}"#);
    assert_eq!(asked(&probes, "/probe/web/liveness", "T").await.0, StatusCode::OK);
    for (path, token) in [
        ("/probe/web/liveness", "t"),
        ("/probe/web/liveness", ""),
        ("/probe/web/liveness", "TT"),
        ("/probe/web/readiness", "T"),
        ("/probe/web/liveness/sick", "T"),
        ("/probe/web", "T"),
        ("/probe/web/..%2Fliveness", "T"),
    ] {
        assert_eq!(asked(&probes, path, token).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(asked("", "/probe/web/liveness", "").await.0, StatusCode::NOT_FOUND);
}
