use axum::routing::get;

use super::*;

/// Serves `router` on a port of its own.
async fn serve(router: axum::Router) -> Uri {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}/").parse().unwrap()
}

fn app(downstream: Option<Uri>) -> App {
    let client = Client::builder(TokioExecutor::new()).build_http();
    App { name: "api".into(), version: "v2".into(), downstream, client }
}

#[tokio::test]
async fn it_names_itself_and_whom_it_asked() {
    let leaf = axum::Router::new().fallback(answer).with_state(app(None));
    let middle = app(Some(serve(leaf).await));
    let told = middle.call(&middle.downstream.clone().unwrap(), &HeaderMap::new()).await.unwrap();
    assert_eq!(told, Answer { app: "api".into(), version: "v2".into(), called: None });
    let response = answer(State(middle), HeaderMap::new()).await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let told: Answer = serde_json::from_slice(&body).unwrap();
    assert_eq!(told.called.unwrap().version, "v2");
}

#[tokio::test]
async fn it_copies_the_trace_headers_and_no_others() {
    let echo = |headers: HeaderMap| async move {
        let seen: Vec<&str> = headers.keys().map(|name| name.as_str()).filter(|name| *name != "host").collect();
        Json(Answer { app: seen.join(" "), version: String::new(), called: None })
    };
    let app = app(Some(serve(axum::Router::new().route("/", get(echo))).await));
    let mut incoming = HeaderMap::new();
    for name in ["traceparent", "b3", "cookie"] {
        incoming.insert(name, "x".parse().unwrap());
    }
    let told = app.call(&app.downstream.clone().unwrap(), &incoming).await.unwrap();
    assert_eq!(told.app, "traceparent b3");
}

#[tokio::test]
async fn a_refused_call_is_a_502_with_the_reason() {
    let refusing = serve(axum::Router::new().fallback(|| async { (StatusCode::FORBIDDEN, "not you") })).await;
    let response = answer(State(app(Some(refusing))), HeaderMap::new()).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body);
    assert!(text.starts_with("api: calling http://127.0.0.1:") && text.contains("403 Forbidden: not you"), "{text}");
}
