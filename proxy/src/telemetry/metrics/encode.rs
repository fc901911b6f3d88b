//! From cells to the text that Prometheus scrapes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::cells::{BUCKETS, Histogram, STATUSES};
use super::events::Event;
use super::family::Cell as _;
use super::labels::{Direction, Refusal, WireProtocol};
use super::{ProcessState, Shards};
use crate::telemetry::conditions::Conditions;

impl Collector for Shards {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = Instant::now();
        self.encode_requests(&mut encoder, now)?;
        self.encode_durations(&mut encoder, now)?;
        self.encode_failures(&mut encoder, now)?;
        self.encode_retries(&mut encoder, now)?;
        self.encode_events(&mut encoder, now)?;
        self.encode_connections(&mut encoder)?;
        self.encode_refusals(&mut encoder)
    }
}

impl Shards {
    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>, now: Instant) -> fmt::Result {
        let mut metric = encoder.encode_descriptor("weft_requests", "Requests", None, MetricType::Counter)?;
        for (key, cells) in self.requests.collect(now) {
            let counts: [u64; STATUSES.len()] = summed(cells.iter().map(|cell| cell.counts()));
            for (status, count) in STATUSES.iter().zip(counts) {
                if count > 0 {
                    let labels = [
                        ("direction", key.direction.as_str()),
                        ("destination", &*key.destination),
                        ("peer", &*key.peer),
                        ("tls", if key.tls { "mtls" } else { "none" }),
                        ("status", *status),
                    ];
                    counter(&mut metric.encode_family(&labels)?, count)?;
                }
            }
        }
        Ok(())
    }

    fn encode_failures(&self, encoder: &mut DescriptorEncoder<'_>, now: Instant) -> fmt::Result {
        let help = "Requests without an answer, with a 5xx, or with a gRPC status that is the server's fault";
        let mut metric = encoder.encode_descriptor("weft_request_failures", help, None, MetricType::Counter)?;
        for (key, cells) in self.requests.collect(now) {
            let labels = [
                ("direction", key.direction.as_str()),
                ("destination", &*key.destination),
                ("peer", &*key.peer),
                ("tls", if key.tls { "mtls" } else { "none" }),
            ];
            counter(&mut metric.encode_family(&labels)?, cells.iter().map(|cell| cell.failed()).sum())?;
        }
        Ok(())
    }

    fn encode_events(&self, encoder: &mut DescriptorEncoder<'_>, now: Instant) -> fmt::Result {
        let all = self.events.collect(now);
        for like in Event::METRICS {
            let shown = like.shown();
            let mut metric = encoder.encode_descriptor(shown.metric, shown.help, None, MetricType::Counter)?;
            for (key, cells) in all.iter().filter(|(key, _)| key.event.is_like(like)) {
                let count = cells.iter().map(|cell| cell.activity()).sum();
                let [destination, detail] = shown.labels;
                let labels = [(destination, &*key.destination), (detail, key.detail)];
                match key.event.direction() {
                    Some(direction) => {
                        let [destination, detail] = labels;
                        let labels = [("direction", direction.as_str()), destination, detail];
                        counter(&mut metric.encode_family(&labels)?, count)?;
                    }
                    None => counter(&mut metric.encode_family(&labels)?, count)?,
                }
            }
        }
        Ok(())
    }

    fn encode_durations(&self, encoder: &mut DescriptorEncoder<'_>, now: Instant) -> fmt::Result {
        let help = "Time from the first byte of a request to the last byte of its answer";
        let mut metric =
            encoder.encode_descriptor("weft_request_duration_seconds", help, None, MetricType::Histogram)?;
        for (key, cells) in self.durations.collect(now) {
            let labels = [("direction", key.direction.as_str()), ("destination", &*key.destination)];
            histogram(&mut metric.encode_family(&labels)?, &cells)?;
        }
        Ok(())
    }

    fn encode_retries(&self, encoder: &mut DescriptorEncoder<'_>, now: Instant) -> fmt::Result {
        let mut metric = encoder.encode_descriptor("weft_retries", "Repeated attempts", None, MetricType::Counter)?;
        for (key, cells) in self.retries.collect(now) {
            let count = cells.iter().map(|cell| cell.activity()).sum();
            counter(&mut metric.encode_family(&[("destination", &*key.0)])?, count)?;
        }
        Ok(())
    }

    fn encode_connections(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let workers = self.workers.lock().clone();
        let kinds = || Direction::ALL.into_iter().flat_map(|d| WireProtocol::ALL.into_iter().map(move |p| (d, p)));
        let labels = |d: Direction, p: WireProtocol| [("direction", d.as_str()), ("protocol", p.as_str())];

        let mut metric = encoder.encode_descriptor("weft_connections", "Connections", None, MetricType::Counter)?;
        for (direction, protocol) in kinds() {
            let cells = workers.iter().map(|worker| worker.connections(direction, protocol));
            let count = cells.map(|cells| cells.total.load(Ordering::Relaxed)).sum();
            counter(&mut metric.encode_family(&labels(direction, protocol))?, count)?;
        }
        let help = "Connections that are open";
        let mut metric = encoder.encode_descriptor("weft_connections_open", help, None, MetricType::Gauge)?;
        for (direction, protocol) in kinds() {
            let cells = workers.iter().map(|worker| worker.connections(direction, protocol));
            let open: i64 = cells.map(|cells| cells.open.load(Ordering::Relaxed)).sum();
            metric.encode_family(&labels(direction, protocol))?.encode_gauge(&open)?;
        }
        Ok(())
    }

    fn encode_refusals(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let workers = self.workers.lock().clone();
        let mut metric = encoder.encode_descriptor("weft_refused", "Connections refused", None, MetricType::Counter)?;
        for reason in Refusal::ALL {
            let count = workers.iter().map(|worker| worker.refused(reason).load(Ordering::Relaxed)).sum();
            counter(&mut metric.encode_family(&[("reason", reason.as_str())])?, count)?;
        }
        let help = "Connections whose protocol was not known in time";
        let mut metric = encoder.encode_descriptor("weft_detect_timeouts", help, None, MetricType::Counter)?;
        counter(&mut metric, workers.iter().map(|worker| worker.detect_timeouts.load(Ordering::Relaxed)).sum())
    }
}

/// The conditions that hold, as gauges.
#[derive(Debug)]
pub(super) struct Upstream(pub(super) Conditions);

impl Collector for Upstream {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.0.snapshot(Instant::now());
        let mut ejected = BTreeMap::<&str, u64>::new();
        snapshot.ejected.iter().for_each(|endpoint| *ejected.entry(&endpoint.cluster).or_default() += 1);
        let help = "Endpoints that get no requests because they failed too often";
        let mut metric = encoder.encode_descriptor("weft_endpoints_ejected", help, None, MetricType::Gauge)?;
        for (destination, count) in ejected {
            metric.encode_family(&[("destination", destination)])?.encode_gauge(&count)?;
        }
        let mut metric =
            encoder.encode_descriptor("weft_breaker_open", "Limits that are reached", None, MetricType::Gauge)?;
        for breaker in &snapshot.open_breakers {
            let labels = [("destination", breaker.cluster.as_str()), ("which", breaker.which.as_str())];
            metric.encode_family(&labels)?.encode_gauge(&1_u64)?;
        }
        Ok(())
    }
}

/// What [`super::Registry::watch`] reads.
pub(super) struct Watched(pub(super) Box<dyn Fn() -> ProcessState + Send + Sync>);

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0().fmt(f)
    }
}

impl Collector for Watched {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let state = self.0();
        let expiry = state.certificate_expiry.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        for (name, help, value) in [
            ("weft_certificate_expiry_seconds", "When the certificate ends, as Unix time", expiry),
            ("weft_xds_connected", "Whether the stream to the control plane is open", state.xds_connected.into()),
            ("weft_destinations", "Destinations that are held", state.destinations as u64),
        ] {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
        }
        for (name, help, value) in [
            ("weft_destinations_evicted", "Destinations given up early to make room", state.destinations_evicted),
            ("weft_discovery_unavailable", "Look-ups not answered in time", state.discovery_unavailable),
            ("weft_resources_refused", "Resources of the control plane that were refused", state.resources_refused),
        ] {
            counter(&mut encoder.encode_descriptor(name, help, None, MetricType::Counter)?, value)?;
        }
        Ok(())
    }
}

fn counter(metric: &mut MetricEncoder<'_>, count: u64) -> fmt::Result {
    metric.encode_counter::<NoLabelSet, _, u64>(&count, None)
}

fn histogram(metric: &mut MetricEncoder<'_>, cells: &[Arc<Histogram>]) -> fmt::Result {
    let counts: [u64; BUCKETS.len() + 1] = summed(cells.iter().map(|cell| cell.counts()));
    let sum: Duration = cells.iter().map(|cell| cell.sum()).sum();
    let bounds = BUCKETS.into_iter().chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
    metric.encode_histogram::<NoLabelSet>(sum.as_secs_f64(), counts.iter().sum(), &buckets, None)
}

/// The sums over all workers, place by place.
fn summed<const N: usize>(workers: impl Iterator<Item = impl Iterator<Item = u64>>) -> [u64; N] {
    let mut sums = [0; N];
    for counts in workers {
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    sums
}
