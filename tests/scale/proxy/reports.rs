//! The reports of what the application sent, which every proxy makes, on a stream beside that of discovery.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use weft_api::load;
use weft_api::xds::pb::envoy::config::core::v3::Node;
use weft_api::xds::pb::envoy::config::endpoint::v3::{ClusterStats, EndpointLoadMetricStats, UpstreamLocalityStats};
use weft_api::xds::pb::envoy::service::load_stats::v3::LoadStatsRequest;
use weft_api::xds::pb::envoy::service::load_stats::v3::load_reporting_service_client::LoadReportingServiceClient;

use super::Proxy;
use crate::mesh;

/// Requests to each Service between two reports, spread over as many buckets of latencies.
const REQUESTS: u64 = 300;
const BUCKETS: usize = 3;

/// Reports as often as the control plane asks for it: each time, that all Services were asked.
///
/// # Errors
/// When the stream ends.
pub(super) async fn send(channel: Channel, proxy: &Proxy) -> Result<()> {
    let (requests, outgoing) = mpsc::channel(1);
    let node = Node { id: proxy.node.clone(), ..Node::default() };
    requests.send(LoadStatsRequest { node: Some(node), ..LoadStatsRequest::default() }).await?;
    let mut client = LoadReportingServiceClient::new(channel);
    let mut responses = client.stream_load_stats(ReceiverStream::new(outgoing)).await?.into_inner();
    let answer = responses.message().await?.context("the control plane wants no reports")?;
    let interval = answer.load_reporting_interval.context("the control plane names no interval for reports")?;
    let every = Duration::new(u64::try_from(interval.seconds)?, u32::try_from(interval.nanos)?);
    let cluster_stats: Vec<_> = proxy.dialled.iter().map(|service| stats(*service, interval)).collect();
    let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let cluster_stats = cluster_stats.clone();
                requests.send(LoadStatsRequest { cluster_stats, ..LoadStatsRequest::default() }).await?;
            }
            response = responses.message() => if response?.is_none() {
                bail!("the control plane ended the stream of reports");
            },
        }
    }
}

fn stats(service: u32, interval: weft_api::xds::pb::google::protobuf::Duration) -> ClusterStats {
    let bucket = |bucket| EndpointLoadMetricStats {
        metric_name: load::latency_metric(bucket),
        num_requests_finished_with_metric: REQUESTS / BUCKETS as u64,
        ..EndpointLoadMetricStats::default()
    };
    let locality = UpstreamLocalityStats {
        total_successful_requests: REQUESTS,
        total_issued_requests: REQUESTS,
        load_metric_stats: (0..BUCKETS).map(bucket).collect(),
        ..UpstreamLocalityStats::default()
    };
    ClusterStats {
        cluster_name: mesh::service_name(service),
        upstream_locality_stats: vec![locality],
        load_report_interval: Some(interval),
        ..ClusterStats::default()
    }
}
