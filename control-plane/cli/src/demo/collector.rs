//! A collector that does nothing but count the spans that proxies export to it (OTLP over gRPC).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// A handle on the count.
#[derive(Clone, Debug, Default)]
pub(super) struct Collector(Arc<AtomicU64>);

impl Collector {
    /// Spans received so far.
    pub(super) fn spans(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Serves on `listener` until it is dropped.
    pub(super) async fn serve(self, listener: TcpListener) -> Result<(), tonic::transport::Error> {
        let service = TraceServiceServer::new(self);
        Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)).await
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = &request.get_ref().resource_spans;
        let spans: usize =
            resources.iter().flat_map(|resource| &resource.scope_spans).map(|scope| scope.spans.len()).sum();
        self.0.fetch_add(spans as u64, Ordering::Relaxed);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

    use super::*;

    #[tokio::test]
    async fn every_span_of_every_scope_counts() {
        let collector = Collector::default();
        let scope = |count| ScopeSpans { spans: vec![Span::default(); count], ..ScopeSpans::default() };
        let resource = ResourceSpans { scope_spans: vec![scope(2), scope(3)], ..ResourceSpans::default() };
        let request = ExportTraceServiceRequest { resource_spans: vec![resource.clone(), resource] };
        collector.export(Request::new(request)).await.unwrap();
        assert_eq!(collector.spans(), 10);
    }
}
