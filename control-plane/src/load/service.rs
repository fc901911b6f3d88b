//! `envoy.service.load_stats.v3.LoadReportingService`: a stream of reports for each proxy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use weft_api::streams::load_reporting::load_reporting_service_server::{
    LoadReportingService, LoadReportingServiceServer,
};
use weft_api::xds::pb::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};
use weft_api::xds::pb::google::protobuf;
use weft_certs::spiffe::SpiffeId;

use super::report::Report;
use super::{Loads, ReportStream};
use crate::mesh::ObjectName;
use crate::tls_listener::Peer;
use crate::xds::{Publisher, authorize};

/// How long a client may take for its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(10);

/// `envoy.service.load_stats.v3.LoadReportingService`
pub struct LoadReporting {
    loads: Arc<Loads>,
    publisher: Arc<Publisher>,
    shutdown: CancellationToken,
}

/// A stream before its first request was read.
struct Opened {
    loads: Arc<Loads>,
    publisher: Arc<Publisher>,
    peer: SpiffeId,
    requests: Streaming<LoadStatsRequest>,
    shutdown: CancellationToken,
}

/// A stream whose node is known and authorized.
struct Session {
    node: ObjectName,
    reports: ReportStream,
    /// What the client is told at its start, and again when it is to report at once.
    answer: LoadStatsResponse,
    asked: watch::Receiver<u64>,
    interval: Duration,
    requests: Streaming<LoadStatsRequest>,
    shutdown: CancellationToken,
}

impl LoadReporting {
    /// The service. All streams end when `shutdown` is cancelled.
    pub fn service(
        loads: Arc<Loads>,
        publisher: Arc<Publisher>,
        shutdown: CancellationToken,
    ) -> LoadReportingServiceServer<Self> {
        LoadReportingServiceServer::new(Self { loads, publisher, shutdown })
    }
}

#[tonic::async_trait]
impl LoadReportingService for LoadReporting {
    type StreamLoadStatsStream = BoxStream<'static, Result<LoadStatsResponse, Status>>;

    async fn stream_load_stats(
        &self,
        request: Request<Streaming<LoadStatsRequest>>,
    ) -> Result<Response<Self::StreamLoadStatsStream>, Status> {
        let Some(peer) = request.extensions().get::<Peer>().and_then(Peer::id).cloned() else {
            return Err(Status::unauthenticated("load reports need the workload's certificate"));
        };
        let opened = Opened {
            loads: Arc::clone(&self.loads),
            publisher: Arc::clone(&self.publisher),
            peer,
            requests: request.into_inner(),
            shutdown: self.shutdown.clone(),
        };
        let responses = opened.begin().into_stream().flat_map(|begun| match begun {
            Ok(Some(session)) => {
                let first = session.answer.clone();
                stream::once(async { Ok(first) }).chain(stream::unfold(session, Session::next)).boxed()
            }
            Ok(None) => stream::empty().boxed(),
            Err(status) => stream::once(async { Err(status) }).boxed(),
        });
        Ok(Response::new(responses.boxed()))
    }
}

impl Opened {
    async fn begin(mut self) -> Result<Option<Session>, Status> {
        let first = tokio::select! {
            () = self.shutdown.cancelled() => return Ok(None),
            first = tokio::time::timeout(FIRST_REQUEST, self.requests.message()) => first,
        };
        let late = |_| Status::deadline_exceeded(format!("no request came within {FIRST_REQUEST:?}"));
        let Some(request) = first.map_err(late)?? else { return Ok(None) };
        let node = request.node.as_ref().ok_or_else(|| Status::invalid_argument("the first request has no node"))?;
        let node = authorize(&self.publisher, node, &self.peer).inspect_err(|status| {
            tracing::warn!(peer = %self.peer, reason = status.message(), "a stream of load reports was refused");
        })?;
        let node = ObjectName::new(node.namespace, node.pod);
        let reports = self.loads.connect(node.clone());
        let reports =
            reports.ok_or_else(|| Status::resource_exhausted("there are too many streams of load reports"))?;
        tracing::debug!(pod = %node, "a proxy reports its load");
        let (interval, asked) = (self.loads.interval(), self.loads.asked.subscribe());
        let answer = LoadStatsResponse {
            send_all_clusters: true,
            load_reporting_interval: Some(wire(interval)),
            report_endpoint_granularity: true,
            ..LoadStatsResponse::default()
        };
        let Self { requests, shutdown, .. } = self;
        Ok(Some(Session { node, reports, answer, asked, interval, requests, shutdown }))
    }
}

impl Session {
    /// Takes in reports until the client is to be told something, or the stream ends.
    async fn next(mut self) -> Option<(Result<LoadStatsResponse, Status>, Self)> {
        loop {
            let request = tokio::select! {
                () = self.shutdown.cancelled() => return None,
                asked = self.asked.changed() => match asked {
                    Ok(()) => return Some((Ok(self.answer.clone()), self)),
                    Err(_) => return None,
                },
                request = self.requests.message() => request,
            };
            match request {
                Ok(Some(request)) => {
                    self.reports.report(Report::read(&request.cluster_stats, self.interval), Instant::now());
                }
                Ok(None) => return None,
                Err(status) => {
                    tracing::debug!(pod = %self.node, error = status.message(), "a stream of load reports broke");
                    return None;
                }
            }
        }
    }
}

fn wire(duration: Duration) -> protobuf::Duration {
    protobuf::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}
