//! Keeps the stream to the control plane open: connects, reconnects, hands on what comes.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use weft_api::streams::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use weft_api::xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

/// The largest response: 64 MiB. After a long absence it may hold everything that changed.
const MAX_RESPONSE_BYTES: usize = 64 << 20;
/// Requests that are handed over, but not sent.
const QUEUE: usize = 16;

/// What happens on the link, in this order for each stream: `Opening`, `Open`, `Response`s, `Closed`.
#[derive(Debug)]
pub(super) enum Event {
    /// A stream is being opened; requests are taken here.
    Opening(mpsc::Sender<DeltaDiscoveryRequest>),
    /// The control plane has accepted the stream.
    Open,
    /// A response.
    Response(Box<DeltaDiscoveryResponse>),
    /// The stream has ended or could not be opened, for this reason. The next one follows by itself.
    Closed(String),
}

/// Keeps a stream open for as long as somebody takes the events.
pub(super) async fn run(channel: Channel, events: mpsc::Sender<Event>) {
    let client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(MAX_RESPONSE_BYTES);
    let mut backoff = Backoff::default();
    loop {
        let (requests, taken) = mpsc::channel(QUEUE);
        if events.send(Event::Opening(requests)).await.is_err() {
            return;
        }
        let ended = stream(client.clone(), taken, &events, &mut backoff).await;
        let Some(reason) = ended else { return };
        if events.send(Event::Closed(reason)).await.is_err() {
            return;
        }
        tokio::time::sleep(backoff.next(rand::random())).await;
    }
}

/// Runs one stream to its end. Returns why it ended; `None`: nobody takes the events any more.
async fn stream(
    mut client: AggregatedDiscoveryServiceClient<Channel>,
    requests: mpsc::Receiver<DeltaDiscoveryRequest>,
    events: &mpsc::Sender<Event>,
    backoff: &mut Backoff,
) -> Option<String> {
    let opened = client.delta_aggregated_resources(ReceiverStream::new(requests)).await;
    let mut responses = match opened {
        Ok(response) => response.into_inner(),
        Err(status) => return Some(explain(&status)),
    };
    events.send(Event::Open).await.ok()?;
    loop {
        match responses.message().await {
            Ok(Some(response)) => {
                backoff.reset();
                events.send(Event::Response(Box::new(response))).await.ok()?;
            }
            Ok(None) => return Some("the control plane ended the stream".to_owned()),
            Err(status) => return Some(explain(&status)),
        }
    }
}

/// The status with its causes: 'transport error' alone helps nobody.
fn explain(status: &tonic::Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// 50 ms, doubled for each failure in a row up to 5 s; each wait is between half of that and all of it, so that
/// proxies which lost the control plane together do not come back together.
#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(5);

    /// The next wait; `random` is uniform in 0..1.
    fn next(&mut self, random: f64) -> Duration {
        let whole = Self::FIRST.saturating_mul(1 << self.failures.min(16)).min(Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests;
