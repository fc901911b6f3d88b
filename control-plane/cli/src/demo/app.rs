//! The demo's application: an HTTP server that says who it is, after asking the service that it depends on.
//!
//! It knows nothing of the mesh. Like any application that wants whole traces, it copies the trace headers of the request
//! that it answers to the request that it makes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

/// The headers that an application has to copy for a trace to stay whole: W3C's and B3's.
const TRACE_HEADERS: [&str; 8] = [
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
];
/// How long it waits for the service that it depends on.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it still takes connections after SIGTERM: callers learn of its end at the same time as it does itself.
const LINGER: Duration = Duration::from_secs(1);

/// The command line of the application.
#[derive(Debug, clap::Args)]
pub struct AppArgs {
    /// What it is called.
    #[arg(long)]
    name: String,
    /// Which version of it this is.
    #[arg(long)]
    version: String,
    /// Where it listens.
    #[arg(long)]
    listen: SocketAddr,
    /// The service that it asks for each answer.
    #[arg(long)]
    downstream: Option<Uri>,
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// Who answers.
    pub(super) app: String,
    /// In which version.
    pub(super) version: String,
    /// What the service that it depends on said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) called: Option<Box<Answer>>,
}

#[derive(Clone, Debug)]
struct App {
    name: String,
    version: String,
    downstream: Option<Uri>,
    client: Client<HttpConnector, Empty<Bytes>>,
}

/// Serves until SIGTERM, then finishes what was begun.
pub(crate) async fn run(args: AppArgs) -> Result<()> {
    let AppArgs { name, version, listen, downstream } = args;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let app = App { name, version, downstream, client };
    let router = axum::Router::new().fallback(answer).with_state(app);
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let ending = async move {
        terminate.recv().await;
        sleep(LINGER).await;
    };
    axum::serve(listener, router).with_graceful_shutdown(ending).await.context("the application's server failed")
}

async fn answer(State(app): State<App>, headers: HeaderMap) -> Response {
    let called = match &app.downstream {
        None => None,
        Some(downstream) => match app.call(downstream, &headers).await {
            Ok(answer) => Some(Box::new(answer)),
            Err(error) => return (StatusCode::BAD_GATEWAY, format!("{}: {error:#}\n", app.name)).into_response(),
        },
    };
    Json(Answer { app: app.name, version: app.version, called }).into_response()
}

impl App {
    async fn call(&self, downstream: &Uri, incoming: &HeaderMap) -> Result<Answer> {
        let mut request = Request::get(downstream).body(Empty::new())?;
        for name in TRACE_HEADERS {
            if let Some(value) = incoming.get(name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        let exchange = async {
            let response = self.client.request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            anyhow::ensure!(status.is_success(), "it answered {status}: {}", String::from_utf8_lossy(&body).trim());
            serde_json::from_slice(&body).context("its answer is not an application's")
        };
        let answer = timeout(CALL_TIMEOUT, exchange).await.context("it did not answer in time").and_then(|done| done);
        answer.with_context(|| format!("calling {downstream}"))
    }
}

#[cfg(test)]
mod tests;
