//! A proxy's side of a stream of load reports.

use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, Streaming};
use weft_api::load::latency_metric;
use weft_api::xds::pb::envoy::config::core::v3::Node;
use weft_api::xds::pb::envoy::config::endpoint::v3::{ClusterStats, EndpointLoadMetricStats, UpstreamLocalityStats};
use weft_api::xds::pb::envoy::service::load_stats::v3::load_reporting_service_client::LoadReportingServiceClient;
use weft_api::xds::pb::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};
use weft_api::xds::pb::google::protobuf::Duration;
use weft_certs::identity::WorkloadIdentity;

use super::{Control, LONG};

/// A stream of load reports.
pub struct Reports {
    requests: mpsc::UnboundedSender<LoadStatsRequest>,
    responses: Streaming<LoadStatsResponse>,
}

impl Reports {
    /// A stream whose node was sent; the answer is still to come.
    pub async fn open(control: &Control, identity: Option<&WorkloadIdentity>, node: &str) -> Result<Self, Status> {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let node = Node { id: node.to_owned(), ..Node::default() };
        requests.send(LoadStatsRequest { node: Some(node), cluster_stats: vec![] }).unwrap();
        let mut client = LoadReportingServiceClient::new(control.xds(identity).await);
        let responses = client.stream_load_stats(UnboundedReceiverStream::new(outgoing)).await?.into_inner();
        Ok(Self { requests, responses })
    }

    pub async fn answer(&mut self) -> Result<Option<LoadStatsResponse>, Status> {
        tokio::time::timeout(LONG, self.responses.message()).await.expect("an answer")
    }

    /// Reports that so many requests to a cluster ended in the last moment, each in 4 ms, and how many failed.
    pub fn send(&self, cluster: &str, all: u64, failed: u64) {
        self.send_stats(vec![stats(cluster, all, failed)]);
    }

    pub fn send_stats(&self, cluster_stats: Vec<ClusterStats>) {
        self.requests.send(LoadStatsRequest { node: None, cluster_stats }).unwrap();
    }
}

/// So many requests to a cluster that ended in the last moment, each in 4 ms.
pub fn stats(cluster: &str, all: u64, failed: u64) -> ClusterStats {
    let latency = EndpointLoadMetricStats {
        metric_name: latency_metric(3),
        num_requests_finished_with_metric: all,
        total_metric_value: 0.0,
    };
    let locality = UpstreamLocalityStats {
        total_successful_requests: all - failed,
        total_error_requests: failed,
        total_issued_requests: all,
        load_metric_stats: vec![latency],
        ..UpstreamLocalityStats::default()
    };
    ClusterStats {
        cluster_name: cluster.to_owned(),
        upstream_locality_stats: vec![locality],
        load_report_interval: Some(Duration { seconds: 0, nanos: 1 }),
        ..ClusterStats::default()
    }
}
