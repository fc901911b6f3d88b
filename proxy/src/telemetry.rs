//! What the proxy tells about itself and its traffic: log, metrics, traces, access log.

pub(crate) mod access_log;
pub(crate) mod conditions;
pub(crate) mod load_report;
mod log;
pub(crate) mod metrics;
pub(crate) mod trace;

use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::config::Config;
use access_log::{AccessLog, Writer};
use conditions::Conditions;
use load_report::Reporter;
use metrics::{Direction, OpenConnection, Registry, WireProtocol, WorkerMetrics};
use trace::{Export, Origin, Tracer};

pub(crate) use log::{LogHandle, init_logging};

/// How long the last lines of the access log may take when the proxy ends.
const ACCESS_LOG_FLUSH: Duration = Duration::from_secs(1);

/// What a worker reports through. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    /// Its own share of the metrics.
    pub(crate) metrics: WorkerMetrics,
    /// Makes its spans.
    pub(crate) tracer: Tracer,
    /// Takes its lines.
    pub(crate) access_log: AccessLog,
    /// What is wrong upstream, as the workers see it.
    pub(crate) conditions: Conditions,
}

impl Telemetry {
    /// Counts a connection until what is returned is dropped.
    pub(crate) fn connection(&self, direction: Direction, protocol: WireProtocol) -> OpenConnection {
        self.metrics.connection(direction, protocol)
    }
}

/// What takes the reports of all workers.
#[derive(Debug)]
pub(crate) struct Exporters {
    registry: Registry,
    conditions: Conditions,
    tracer: Tracer,
    access_log: AccessLog,
    writer: Writer,
    spans: Option<SpanTask>,
}

/// The task that exports spans; it ends when `stop` is dropped.
#[derive(Debug)]
struct SpanTask {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Starts what takes the workers' reports, as the configuration asks for it. Within a tokio runtime, which must live as
/// long as spans are to be exported.
///
/// # Errors
/// Where OpenTelemetry's variables are not usable, or the access log's thread cannot be started.
pub(crate) fn start(config: &Config) -> anyhow::Result<Exporters> {
    let conditions = Conditions::default();
    let registry = Registry::new(conditions.clone());
    let settings = &config.telemetry;
    let dropped = registry.exports.access_log_dropped.clone();
    let (access_log, writer) = AccessLog::start(settings.access_log, settings.log_format, dropped)
        .context("cannot start the access log's thread")?;
    let (tracer, spans) = match &settings.traces {
        Some(traces) => {
            let origin = Origin {
                pod: &config.identity.pod,
                namespace: config.identity.spiffe_id.namespace(),
                socket_mark: config.socket_mark,
            };
            let (tracer, export) = Export::new(traces, &origin, &registry.exports)
                .context("cannot export spans; are the variables OTEL_EXPORTER_OTLP_... right?")?;
            (tracer, Some(SpanTask::spawn(export)))
        }
        None => (Tracer::disabled(), None),
    };
    Ok(Exporters { registry, conditions, tracer, access_log, writer, spans })
}

impl SpanTask {
    fn spawn(export: Export) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(export.run(async move {
            // Nothing is ever sent: it ends when the sender is dropped.
            let _ = stopped.await;
        }));
        Self { stop, task }
    }
}

impl Exporters {
    /// All metrics.
    pub(crate) fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// What is wrong upstream, as the workers see it.
    pub(crate) fn conditions(&self) -> Conditions {
        self.conditions.clone()
    }

    /// What tells the control plane of the traffic that this pod, the node `POD.NAMESPACE`, sends.
    pub(crate) fn reporter(&self, node_id: String) -> Reporter {
        Reporter::new(node_id, self.registry(), self.conditions())
    }

    /// What one more worker reports through.
    pub(crate) fn worker(&self) -> Telemetry {
        Telemetry {
            metrics: self.registry.worker(),
            tracer: self.tracer.clone(),
            access_log: self.access_log.clone(),
            conditions: self.conditions.clone(),
        }
    }

    /// Ends the export when the workers have ended: spans and lines that wait have a little time left, at most 3 s.
    pub(crate) async fn flush(self) {
        let Self { access_log, writer, spans, .. } = self;
        if let Some(SpanTask { stop, task }) = spans {
            drop(stop);
            if let Err(error) = task.await {
                tracing::warn!(%error, "the export of spans ended unexpectedly");
            }
        }
        drop(access_log);
        writer.finish(ACCESS_LOG_FLUSH);
    }
}
