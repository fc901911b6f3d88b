//! Tells the control plane of the requests that this pod sends (LRS): how many, how many failed, how long they took, and
//! what the proxy keeps them away from.
//!
//! ```text
//! metric cells ─┐
//!               ├─ now and then ─► deltas (since the last report) ─► StreamLoadStats
//! conditions ───┘
//! ```
//!
//! It runs on the control thread and reads atomics: no request ever waits for it. A report that a broken stream swallowed
//! is not sent again, so that nothing is counted twice.

mod deltas;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};
use weft_api::streams::load_reporting::load_reporting_service_client::LoadReportingServiceClient;
use weft_api::xds::pb::envoy::config::core::v3::Node;
use weft_api::xds::pb::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};

use super::conditions::Conditions;
use super::metrics::Registry;
use deltas::Deltas;

/// Reports that are handed over, but not sent.
const QUEUE: usize = 1;
/// How often reports are sent where the control plane asks for less or more than it may, and where it does not say.
const INTERVALS: (Duration, Duration, Duration) =
    (Duration::from_millis(200), Duration::from_secs(5), Duration::from_secs(300));
/// A pause between two streams is at least the first, doubled with each failure up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A control plane that knows no load reports is asked again after so long: it may have been replaced.
const UNKNOWN: Duration = Duration::from_secs(300);

/// Reports for as long as the proxy runs; reconnects by itself.
#[derive(Debug)]
pub(crate) struct Reporter {
    node_id: String,
    registry: Registry,
    conditions: Conditions,
    deltas: Deltas,
}

impl Reporter {
    /// A reporter for the node `POD.NAMESPACE`. What ended before is reported too.
    pub(crate) fn new(node_id: String, registry: Registry, conditions: Conditions) -> Self {
        Self { node_id, registry, conditions, deltas: Deltas::new(Instant::now()) }
    }

    /// Never returns.
    pub(crate) async fn run(mut self, channel: Channel) {
        let client = LoadReportingServiceClient::new(channel);
        let mut pause = PAUSES.0;
        loop {
            let began = Instant::now();
            let ended = self.stream(client.clone()).await;
            if began.elapsed() > PAUSES.1 {
                pause = PAUSES.0;
            }
            let wait = match &ended {
                Err(status) if status.code() == Code::Unimplemented => UNKNOWN,
                _ => pause,
            };
            tracing::debug!(?ended, ?wait, "load reports have no stream");
            // Proxies that lost the control plane together do not come back together.
            tokio::time::sleep(wait.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Runs one stream to its end.
    async fn stream(&mut self, mut client: LoadReportingServiceClient<Channel>) -> Result<(), Status> {
        let (requests, taken) = mpsc::channel(QUEUE);
        let node = Node { id: self.node_id.clone(), user_agent_name: "weft-proxy".to_owned(), ..Node::default() };
        let first = LoadStatsRequest { node: Some(node), ..LoadStatsRequest::default() };
        // There is room: nothing was sent before.
        let _ = requests.try_send(first);
        let mut responses = client.stream_load_stats(ReceiverStream::new(taken)).await?.into_inner();
        let Some(response) = responses.message().await? else { return Ok(()) };
        let mut ticks = ticks(interval(&response));
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    // A control plane that is slow to read gets the sum later.
                    let Ok(room) = requests.try_reserve() else { continue };
                    room.send(LoadStatsRequest { node: None, cluster_stats: self.report() });
                }
                response = responses.message() => match response? {
                    Some(response) => {
                        // It is asked for a report now, so that the next one is of the time after.
                        if let Ok(room) = requests.try_reserve() {
                            room.send(LoadStatsRequest { node: None, cluster_stats: self.report() });
                        }
                        ticks = self::ticks(interval(&response));
                    }
                    None => return Ok(()),
                },
            }
        }
    }

    fn report(&mut self) -> Vec<weft_api::xds::pb::envoy::config::endpoint::v3::ClusterStats> {
        let now = Instant::now();
        self.deltas.report(&self.registry.outbound(now), &self.conditions.snapshot(now), now)
    }
}

/// How often the control plane wants reports.
fn interval(response: &LoadStatsResponse) -> Duration {
    let (least, usual, most) = INTERVALS;
    let asked = response.load_reporting_interval.as_ref().and_then(|duration| {
        Some(Duration::new(u64::try_from(duration.seconds).ok()?, u32::try_from(duration.nanos).ok()?.min(999_999_999)))
    });
    asked.unwrap_or(usual).clamp(least, most)
}

fn ticks(interval: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
