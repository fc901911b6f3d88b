use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Streaming};
use weft_api::load;
use weft_api::xds::pb::envoy::config::endpoint::v3::ClusterStats;
use weft_api::xds::pb::envoy::service::load_stats::v3::load_reporting_service_server::{
    LoadReportingService, LoadReportingServiceServer,
};
use weft_api::xds::pb::google::protobuf;

use super::*;
use crate::telemetry::conditions::Breaker;
use crate::telemetry::metrics::{Direction, RequestLabels};

const LABELS: RequestLabels<'_> = RequestLabels {
    direction: Direction::Outbound,
    destination: "shop/api-v2:80",
    peer: "spiffe://cluster.local/ns/shop/sa/api",
    tls: true,
};

fn reporter() -> (Registry, Conditions, Reporter) {
    let conditions = Conditions::default();
    let registry = Registry::new(conditions.clone());
    let reporter = Reporter::new("web.shop".to_owned(), registry.clone(), conditions.clone());
    (registry, conditions, reporter)
}

/// Cluster, all, failed, and the latencies by bucket.
type Summary = (String, u64, u64, Vec<(usize, u64)>);

fn summary(stats: &[ClusterStats]) -> Vec<Summary> {
    let one = |stats: &ClusterStats| {
        let locality = &stats.upstream_locality_stats[0];
        let metrics = locality.load_metric_stats.iter();
        let buckets =
            metrics.filter_map(|m| Some((load::latency_bucket(&m.metric_name)?, m.num_requests_finished_with_metric)));
        assert_eq!(locality.total_successful_requests + locality.total_error_requests, locality.total_issued_requests);
        (stats.cluster_name.clone(), locality.total_issued_requests, locality.total_error_requests, buckets.collect())
    };
    stats.iter().map(one).collect()
}

#[test]
fn a_report_has_what_is_new() {
    let (registry, _, mut reporter) = reporter();
    let worker = registry.worker();
    let meshed = worker.requests(&LABELS);
    let unanswered = worker.requests(&RequestLabels { peer: "", tls: false, ..LABELS });
    let inbound = worker.requests(&RequestLabels { direction: Direction::Inbound, ..LABELS });
    meshed.record(200, false, Duration::from_millis(4));
    meshed.record(503, true, Duration::from_secs(60));
    unanswered.record(0, true, Duration::from_millis(4));
    inbound.record(500, true, Duration::from_millis(4));
    assert_eq!(summary(&reporter.report()), [("shop/api-v2:80".to_owned(), 3, 2, vec![(3, 2), (14, 1)])]);
    assert_eq!(summary(&reporter.report()), []);
    meshed.record(200, false, Duration::from_millis(4));
    assert_eq!(summary(&reporter.report()), [("shop/api-v2:80".to_owned(), 1, 0, vec![(3, 1)])]);
}

#[test]
fn what_is_kept_away_is_reported_as_long_as_it_is() {
    let (_, conditions, mut reporter) = reporter();
    let (cluster, now): (Arc<str>, _) = ("shop/api:80".into(), Instant::now());
    conditions.eject(&cluster, ([10, 0, 0, 1], 8080).into(), now + Duration::from_secs(30));
    conditions.breaker_opened(&cluster, Breaker::Requests, now);
    for _ in 0..2 {
        let report = reporter.report();
        assert_eq!(summary(&report), [("shop/api:80".to_owned(), 0, 0, vec![])]);
        let locality = &report[0].upstream_locality_stats[0];
        assert_eq!(load::breaker(&locality.load_metric_stats[0].metric_name), Some("requests"));
        let endpoint = &locality.upstream_endpoint_stats[0];
        assert!(endpoint.metadata.as_ref().unwrap().fields.contains_key(load::EJECTED_SECONDS_LEFT));
    }
    conditions.uneject(&cluster, ([10, 0, 0, 1], 8080).into());
    conditions.breaker_closed(&cluster, Breaker::Requests);
    assert_eq!(summary(&reporter.report()), []);
}

#[test]
fn the_interval_is_what_is_asked_for_within_bounds() {
    let asked = |seconds, nanos| {
        let load_reporting_interval = Some(protobuf::Duration { seconds, nanos });
        interval(&LoadStatsResponse { load_reporting_interval, ..LoadStatsResponse::default() })
    };
    assert_eq!(asked(2, 500_000_000), Duration::from_millis(2500));
    assert_eq!(asked(0, 1), INTERVALS.0);
    assert_eq!(asked(100_000, 0), INTERVALS.2);
    assert_eq!(asked(-1, -1), INTERVALS.1);
    assert_eq!(interval(&LoadStatsResponse::default()), INTERVALS.1);
}

/// Ends each stream after the first report, which it passes on.
struct Impatient(mpsc::UnboundedSender<(Option<String>, Vec<ClusterStats>)>);

#[tonic::async_trait]
impl LoadReportingService for Impatient {
    type StreamLoadStatsStream = ReceiverStream<Result<LoadStatsResponse, Status>>;

    async fn stream_load_stats(
        &self,
        request: Request<Streaming<LoadStatsRequest>>,
    ) -> Result<Response<Self::StreamLoadStatsStream>, Status> {
        let (answers, stream) = mpsc::channel(1);
        let (mut requests, seen) = (request.into_inner(), self.0.clone());
        tokio::spawn(async move {
            let node = requests.message().await.unwrap().unwrap().node.map(|node| node.id);
            let load_reporting_interval = Some(protobuf::Duration { seconds: 0, nanos: 1 });
            let answer = LoadStatsResponse { load_reporting_interval, ..LoadStatsResponse::default() };
            answers.send(Ok(answer)).await.unwrap();
            let report = requests.message().await.unwrap().unwrap();
            let _ = seen.send((node, report.cluster_stats));
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

#[tokio::test]
async fn a_stream_that_ends_is_followed_by_another_which_goes_on() {
    let (seen, mut reports) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = LoadReportingServiceServer::new(Impatient(seen));
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
    let (registry, _, reporter) = reporter();
    let requests = registry.worker().requests(&LABELS);
    requests.record(200, false, Duration::from_millis(4));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    tokio::spawn(reporter.run(channel));
    let (node, first) = reports.recv().await.unwrap();
    assert_eq!((node.as_deref(), summary(&first)[0].1), (Some("web.shop"), 1));
    requests.record(200, false, Duration::from_millis(4));
    requests.record(200, false, Duration::from_millis(4));
    let (node, second) = reports.recv().await.unwrap();
    assert_eq!((node.as_deref(), summary(&second)[0].1), (Some("web.shop"), 2));
}

/// Asks twice for a report in five minutes; passes on what it gets.
struct Curious(mpsc::UnboundedSender<Vec<ClusterStats>>);

#[tonic::async_trait]
impl LoadReportingService for Curious {
    type StreamLoadStatsStream = ReceiverStream<Result<LoadStatsResponse, Status>>;

    async fn stream_load_stats(
        &self,
        request: Request<Streaming<LoadStatsRequest>>,
    ) -> Result<Response<Self::StreamLoadStatsStream>, Status> {
        let (answers, stream) = mpsc::channel(2);
        let (mut requests, seen) = (request.into_inner(), self.0.clone());
        tokio::spawn(async move {
            let load_reporting_interval = Some(protobuf::Duration { seconds: 300, nanos: 0 });
            let answer = LoadStatsResponse { load_reporting_interval, ..LoadStatsResponse::default() };
            answers.send(Ok(answer.clone())).await.unwrap();
            requests.message().await.unwrap();
            answers.send(Ok(answer)).await.unwrap();
            while let Ok(Some(report)) = requests.message().await {
                let _ = seen.send(report.cluster_stats);
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

#[tokio::test]
async fn who_asks_again_gets_a_report_at_once() {
    let (seen, mut reports) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = LoadReportingServiceServer::new(Curious(seen));
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
    let (registry, _, reporter) = reporter();
    registry.worker().requests(&LABELS).record(200, false, Duration::from_millis(4));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    tokio::spawn(reporter.run(channel));
    assert_eq!(summary(&reports.recv().await.unwrap())[0].1, 1);
}
