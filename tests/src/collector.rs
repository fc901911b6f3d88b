//! An OTLP receiver for traces, in a pod of its own.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, anyhow};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use weft_cli::world::{Pod, World};

pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

const OTLP_GRPC: u16 = 4317;

/// A span as it was received.
#[derive(Clone, Debug)]
pub struct Span {
    /// `service.name` of the resource.
    pub service: String,
    /// The span's name.
    pub name: String,
    /// CLIENT, SERVER, ...
    pub kind: SpanKind,
    /// 16 bytes, in hexadecimal.
    pub trace_id: String,
    /// 8 bytes, in hexadecimal.
    pub span_id: String,
    /// The parent's span id; empty: a root.
    pub parent: String,
    /// The attributes, as text.
    pub attributes: Vec<(String, String)>,
}

impl Span {
    /// An attribute's value, as text.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// The receiver.
#[derive(Debug)]
pub struct Collector {
    pod: Pod,
    spans: watch::Receiver<Vec<Span>>,
}

impl Collector {
    /// Starts it, as the pod `collector`.
    ///
    /// # Errors
    /// Where the pod or the port cannot be had.
    pub async fn start(world: &World) -> Result<Self> {
        let pod = world.pod("collector").start().await?;
        let (publish, spans) = watch::channel(Vec::new());
        let listener = pod.run(async { Ok(TcpListener::bind(("::", OTLP_GRPC)).await?) }).await?;
        let service = TraceServiceServer::new(Receiver(publish));
        let server = tonic::transport::Server::builder().add_service(service);
        drop(pod.spawn(server.serve_with_incoming(TcpListenerStream::new(listener))));
        Ok(Self { pod, spans })
    }

    /// The endpoint for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        let address: SocketAddr = self.pod.address(OTLP_GRPC);
        format!("http://{address}")
    }

    /// Waits until `enough` says that the spans received so far are enough, and gives them.
    ///
    /// # Errors
    /// Where that takes more than `limit`: with the spans that came.
    pub async fn spans(&mut self, limit: Duration, enough: impl Fn(&[Span]) -> bool) -> Result<Vec<Span>> {
        let waited = tokio::time::timeout(limit, self.spans.wait_for(|spans| enough(spans))).await;
        let received = waited.map(|spans| spans.map(|spans| spans.clone()));
        let late = |_| anyhow!("after {limit:?} there are only these spans: {:#?}", *self.spans.borrow());
        Ok(received.map_err(late)??)
    }
}

struct Receiver(watch::Sender<Vec<Span>>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let mut received = Vec::new();
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|resource| texts(resource.attributes)).unwrap_or_default();
            let service = attributes.into_iter().find(|(key, _)| key == "service.name").map(|(_, value)| value);
            let service = service.unwrap_or_default();
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                received.push(Span {
                    service: service.clone(),
                    kind: span.kind(),
                    name: span.name,
                    trace_id: hex(&span.trace_id),
                    span_id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    attributes: texts(span.attributes),
                });
            }
        }
        self.0.send_modify(|spans| spans.append(&mut received));
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

fn texts(attributes: Vec<KeyValue>) -> Vec<(String, String)> {
    attributes.into_iter().map(|KeyValue { key, value, .. }| (key, text(value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
