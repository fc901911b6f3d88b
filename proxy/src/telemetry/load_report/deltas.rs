//! Counters that only grow -> what is new since the last report.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weft_api::load;
use weft_api::xds::pb::envoy::config::core::v3::{Address, SocketAddress, address, socket_address::PortSpecifier};
use weft_api::xds::pb::envoy::config::endpoint::v3::{
    ClusterStats, EndpointLoadMetricStats, UpstreamEndpointStats, UpstreamLocalityStats,
};
use weft_api::xds::pb::google::protobuf::{self, Struct, Value, value::Kind};

use crate::telemetry::conditions::{EjectedEndpoint, Snapshot};
use crate::telemetry::metrics::{Ended, LATENCY_BUCKETS, OutboundLoads, Series};

/// What was reported already.
#[derive(Debug)]
pub(super) struct Deltas {
    since: Instant,
    requests: BTreeMap<Series, Ended>,
    latencies: BTreeMap<Arc<str>, [u64; LATENCY_BUCKETS]>,
}

/// What a report says of one cluster.
#[derive(Debug, Default)]
struct ClusterDelta {
    ended: Ended,
    latencies: [u64; LATENCY_BUCKETS],
    breakers: Vec<&'static str>,
    ejected: Vec<UpstreamEndpointStats>,
}

impl Deltas {
    /// Nothing was reported; the first report covers the time from `now` on.
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, requests: BTreeMap::new(), latencies: BTreeMap::new() }
    }

    /// What is new since the last call, which is thereby reported.
    pub(super) fn report(&mut self, loads: &OutboundLoads, conditions: &Snapshot, now: Instant) -> Vec<ClusterStats> {
        let mut clusters = BTreeMap::<Arc<str>, ClusterDelta>::new();
        // A series that is idle for long is forgotten and begins anew, so what is reported is kept of those alone that
        // are there.
        let requests = std::mem::take(&mut self.requests);
        for (series, ended) in &loads.requests {
            let before = requests.get(series).copied().unwrap_or_default();
            let new = Ended { all: since(ended.all, before.all), failed: since(ended.failed, before.failed) };
            if new != Ended::default() {
                let sum = &mut clusters.entry(Arc::clone(series.destination())).or_default().ended;
                *sum = Ended { all: sum.all + new.all, failed: sum.failed + new.failed };
            }
            self.requests.insert(series.clone(), *ended);
        }
        let latencies = std::mem::take(&mut self.latencies);
        for (destination, buckets) in &loads.latencies {
            let before = latencies.get(destination).copied().unwrap_or([0; LATENCY_BUCKETS]);
            if *buckets != before {
                let sums = &mut clusters.entry(Arc::clone(destination)).or_default().latencies;
                let new = buckets.iter().zip(before).map(|(count, before)| since(*count, before));
                sums.iter_mut().zip(new).for_each(|(sum, new)| *sum = new);
            }
            self.latencies.insert(Arc::clone(destination), *buckets);
        }
        for open in &conditions.open_breakers {
            clusters.entry(open.cluster.as_str().into()).or_default().breakers.push(open.which.as_str());
        }
        for ejected in &conditions.ejected {
            clusters.entry(ejected.cluster.as_str().into()).or_default().ejected.push(endpoint(ejected));
        }
        let covers = now.saturating_duration_since(self.since);
        self.since = now;
        clusters.into_iter().map(|(name, delta)| delta.into_stats(&name, covers)).collect()
    }
}

/// A counter that is less than it was has begun anew.
fn since(count: u64, before: u64) -> u64 {
    count.checked_sub(before).unwrap_or(count)
}

impl ClusterDelta {
    fn into_stats(self, name: &str, covers: Duration) -> ClusterStats {
        let Ended { all, failed } = self.ended;
        let buckets = self.latencies.into_iter().enumerate().filter(|(_, count)| *count > 0);
        let buckets = buckets.map(|(bucket, count)| metric(load::latency_metric(bucket), count));
        let breakers = self.breakers.into_iter().map(|which| metric(load::breaker_metric(which), 1));
        let locality = UpstreamLocalityStats {
            // A request is counted and then seen to have failed: read between the two it counts as a success.
            total_successful_requests: all.saturating_sub(failed),
            total_error_requests: failed,
            total_issued_requests: all,
            load_metric_stats: buckets.chain(breakers).collect(),
            upstream_endpoint_stats: self.ejected,
            ..UpstreamLocalityStats::default()
        };
        ClusterStats {
            cluster_name: name.to_owned(),
            upstream_locality_stats: vec![locality],
            load_report_interval: Some(protobuf::Duration {
                seconds: i64::try_from(covers.as_secs()).unwrap_or(i64::MAX),
                nanos: i32::try_from(covers.subsec_nanos()).unwrap_or_default(),
            }),
            ..ClusterStats::default()
        }
    }
}

fn metric(metric_name: String, count: u64) -> EndpointLoadMetricStats {
    EndpointLoadMetricStats { metric_name, num_requests_finished_with_metric: count, total_metric_value: 0.0 }
}

fn endpoint(ejected: &EjectedEndpoint) -> UpstreamEndpointStats {
    let left = Value { kind: Some(Kind::NumberValue(ejected.seconds_left as f64)) };
    UpstreamEndpointStats {
        address: Some(address(ejected.address)),
        metadata: Some(Struct { fields: [(load::EJECTED_SECONDS_LEFT.to_owned(), left)].into() }),
        ..UpstreamEndpointStats::default()
    }
}

fn address(address: SocketAddr) -> Address {
    let socket = SocketAddress {
        address: address.ip().to_string(),
        port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
        ..SocketAddress::default()
    };
    Address { address: Some(address::Address::SocketAddress(socket)) }
}
