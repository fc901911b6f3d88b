//! From the queue of finished spans to the collector, on the control thread.
//!
//! The queue is looked at once a second: a worker that puts a span in wakes no other thread, unless a call is full with it. A collector
//! that is slow or gone costs spans, which are counted, and nothing else.

#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::Uri;
use hyper_util::rt::TokioIo;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tonic::transport::Endpoint;

use super::{Finished, Sink, Tracer};
use crate::config::Traces;
use crate::path::socket;
use crate::resolver;
use crate::telemetry::metrics::Exports;

/// Spans that wait for their export; more are dropped. As OpenTelemetry's batch processor has it.
const QUEUE: usize = 2048;
/// The most spans in one call, which is made as soon as so many wait.
pub(super) const BATCH: usize = 512;
/// After so long a call is made for whatever there is: a call costs as much as several requests.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the collector may take for one call, connecting and retries included.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the last spans may take when the proxy ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// A failing collector is spoken of no more often than this.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// Whose spans they are.
#[derive(Clone, Debug)]
pub(crate) struct Origin<'a> {
    /// The pod's name.
    pub(crate) pod: &'a str,
    /// The pod's namespace.
    pub(crate) namespace: &'a str,
    /// `SO_MARK` of the connection to the collector, so that the redirect rules let it pass.
    pub(crate) socket_mark: Option<u32>,
}

/// The receiving end of all tracers.
#[derive(Debug)]
pub(crate) struct Export<E = opentelemetry_otlp::SpanExporter> {
    exporter: E,
    spans: mpsc::Receiver<Finished>,
    /// The queue has a whole call's spans.
    ready: Arc<Notify>,
    scope: InstrumentationScope,
    exported: Counter,
    dropped: Counter,
    complained: Option<Instant>,
}

impl Export {
    /// The export that `OTEL_*` asks for, and the tracer that feeds it. Connects when there are spans.
    ///
    /// # Errors
    /// Where OpenTelemetry's exporter cannot be built from its environment (`OTEL_EXPORTER_OTLP_HEADERS`, ...).
    pub(crate) fn new(
        settings: &Traces,
        origin: &Origin<'_>,
        counters: &Exports,
    ) -> Result<(Tracer, Self), ExporterBuildError> {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_channel(channel(settings.endpoint.clone(), origin.socket_mark))
            .with_timeout(EXPORT_TIMEOUT)
            .build()?;
        Ok(Self::over(exporter, settings, origin, counters))
    }
}

impl<E: SpanExporter> Export<E> {
    fn over(mut exporter: E, settings: &Traces, origin: &Origin<'_>, counters: &Exports) -> (Tracer, Self) {
        exporter.set_resource(&resource(settings, origin));
        let (sender, spans) = mpsc::channel(QUEUE);
        let (ready, dropped) = (Arc::<Notify>::default(), counters.spans_dropped.clone());
        let sink =
            Sink { sampler: settings.sampler, spans: sender, ready: Arc::clone(&ready), dropped: dropped.clone() };
        let scope = InstrumentationScope::builder("weft-proxy").with_version(env!("CARGO_PKG_VERSION")).build();
        let exported = counters.spans_exported.clone();
        let export = Self { exporter, spans, ready, scope, exported, dropped, complained: None };
        (Tracer { sink: Some(sink) }, export)
    }

    /// Exports until `stop` is ready, then what is left, for at most 2 s.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) {
        let (ready, stopping) = (Arc::clone(&self.ready), AtomicBool::new(false));
        let deadline = async {
            stop.await;
            stopping.store(true, Ordering::Relaxed);
            ready.notify_one();
            tokio::time::sleep(FLUSH_TIMEOUT).await;
        };
        let export = async {
            loop {
                // Whichever comes first.
                let _ = tokio::time::timeout(PAUSE, self.ready.notified()).await;
                let is_last = stopping.load(Ordering::Relaxed);
                self.drain().await;
                if is_last {
                    return;
                }
            }
        };
        tokio::select! {
            () = export => return,
            () = deadline => {}
        }
        tracing::warn!("the collector did not take the last spans in time");
        while self.spans.try_recv().is_ok() {
            self.dropped.inc();
        }
    }

    /// Exports all that is in the queue.
    async fn drain(&mut self) {
        loop {
            let batch = self.next_batch();
            if batch.is_empty() {
                return;
            }
            let mut fate = Fate { spans: batch.len() as u64, lost: &self.dropped };
            // The exporter's own time-out counts between its attempts alone.
            let error = match tokio::time::timeout(EXPORT_TIMEOUT, self.exporter.export(batch)).await {
                Ok(Ok(())) => {
                    self.exported.inc_by(fate.spans);
                    fate.spans = 0;
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("it did not answer within {} s", EXPORT_TIMEOUT.as_secs()),
            };
            drop(fate);
            complain(&mut self.complained, &error);
        }
    }

    fn next_batch(&mut self) -> Vec<SpanData> {
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Ok(span) = self.spans.try_recv()
        {
            batch.push(span.into_span_data(&self.scope));
        }
        batch
    }
}

/// Spans in a call that may be given up at any moment: they are lost unless the call ends well.
struct Fate<'a> {
    spans: u64,
    lost: &'a Counter,
}

impl Drop for Fate<'_> {
    fn drop(&mut self) {
        self.lost.inc_by(self.spans);
    }
}

fn complain(complained: &mut Option<Instant>, error: &str) {
    let now = Instant::now();
    if complained.is_none_or(|last| now.duration_since(last) >= COMPLAINT_INTERVAL) {
        *complained = Some(now);
        tracing::warn!(%error, "spans are dropped: the collector does not take them; is OTEL_EXPORTER_OTLP_ENDPOINT right?");
    }
}

/// The workload, not the proxy. What the user says of it wins.
fn resource(settings: &Traces, origin: &Origin<'_>) -> Resource {
    let own = [("k8s.namespace.name", origin.namespace), ("k8s.pod.name", origin.pod)];
    let users = settings.resource_attributes.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder_empty()
        .with_attributes(own.map(|(key, value)| KeyValue::new(key, value.to_owned())))
        .with_attributes(users)
        .with_service_name(settings.service_name.clone())
        .build()
}

/// Connects with the proxy's mark: the collector is no destination of the application.
fn channel(endpoint: Uri, mark: Option<u32>) -> tonic::transport::Channel {
    Endpoint::from(endpoint).connect_with_connector_lazy(tower::service_fn(move |uri: Uri| async move {
        connect(&uri, mark).await.map(TokioIo::new)
    }))
}

/// Tries all addresses of the collector's name, in order.
async fn connect(uri: &Uri, mark: Option<u32>) -> io::Result<TcpStream> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let found = resolver::lookup(host, uri.port_u16().unwrap_or(80)).await;
    let addresses = found.map_err(|error| io::Error::new(io::ErrorKind::NotFound, format!("{host:?}: {error}")))?;
    let mut failed = io::Error::new(io::ErrorKind::NotFound, format!("{host:?} has no address"));
    for address in addresses {
        match socket::connect(address, mark, CONNECT_TIMEOUT).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = io::Error::new(error.kind(), format!("can't reach {address}: {error}")),
        }
    }
    Err(failed)
}
