//! `weft demo` as people and CI run it. Needs network namespaces, and `weft-control` and `weft-proxy` beside `weft`.

use std::collections::{HashMap, HashSet};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// Start-up, the plot and the end; generous, since other tests may run at the same time.
const LIMIT: Duration = Duration::from_secs(120);

/// Keeps all that is exported to it.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ResourceSpans>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().extend(request.into_inner().resource_spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Every span, with the service that it is of.
    fn spans(&self) -> Vec<(String, Span)> {
        let exported = self.0.lock();
        let named = exported.iter().map(|resource| (service_name(resource).unwrap_or_default(), &resource.scope_spans));
        named
            .flat_map(|(service, scopes)| {
                scopes.iter().flat_map(|scope| &scope.spans).map(move |span| (service.clone(), span.clone()))
            })
            .collect()
    }
}

fn service_name(resource: &ResourceSpans) -> Option<String> {
    let attributes = &resource.resource.as_ref()?.attributes;
    let name = attributes.iter().find(|attribute| attribute.key == "service.name")?;
    match name.value.as_ref()?.value.as_ref()? {
        Value::StringValue(name) => Some(name.clone()),
        _ => None,
    }
}

#[tokio::test]
async fn an_unattended_demo_is_ok_and_its_traces_are_whole() {
    let collector = Collector::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let service = TraceServiceServer::new(collector.clone());
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));

    let demo = Command::new(env!("CARGO_BIN_EXE_weft"))
        .args(["demo", "--duration", "8s", "-o", "json"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let output = timeout(LIMIT, demo).await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    assert_eq!(report["ok"], true, "{report}");
    assert!(output.status.success());

    let spans = collector.spans();
    let whole = whole_traces(&spans);
    assert!(whole > 0, "none of {} spans is part of a whole trace", spans.len());
}

/// Traces in which each hop is the child of the one before: web, as asked by a visitor, asks api, which asks users.
fn whole_traces(spans: &[(String, Span)]) -> usize {
    let children: HashMap<_, _> = spans.iter().map(|named| (named.1.parent_span_id.clone(), named)).collect();
    let roots = spans.iter().filter(|(_, span)| span.parent_span_id.is_empty());
    let path = |(service, root): &(String, Span)| {
        let mut path = vec![(service.clone(), root.kind())];
        let (mut last, mut seen) = (root, HashSet::new());
        while let Some((service, span)) = children.get(&last.span_id).copied().filter(|(_, s)| seen.insert(&s.span_id))
        {
            assert_eq!(span.trace_id, root.trace_id, "a child of another trace");
            path.push((service.clone(), span.kind()));
            last = span;
        }
        path
    };
    let hop = |service: &str, kind| (service.to_owned(), kind);
    let (server, client) = (SpanKind::Server, SpanKind::Client);
    let wanted = [hop("web", server), hop("web", client), hop("api", server), hop("api", client), hop("users", server)];
    roots.filter(|root| path(root) == wanted).count()
}
