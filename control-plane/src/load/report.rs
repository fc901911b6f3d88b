//! A report as it comes -> what is kept of it, within bounds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weft_api::load::{self, EJECTED_SECONDS_LEFT};
use weft_api::xds::pb::envoy::config::core::v3::{Address, address, socket_address::PortSpecifier};
use weft_api::xds::pb::envoy::config::endpoint::v3::{ClusterStats, UpstreamEndpointStats, UpstreamLocalityStats};
use weft_api::xds::pb::google::protobuf::{self, value::Kind};

use super::Figures;
use crate::xds::MAX_NAME_BYTES;

/// The most clusters of one report.
pub(super) const MAX_CLUSTERS: usize = 2_000;
/// The most ejected endpoints, and the most open breakers, of one report.
const MAX_CONDITIONS: usize = 1_000;

/// What a proxy reported.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Report {
    /// The time that it covers, up to now.
    pub(super) covers: Duration,
    /// The clusters that had requests.
    pub(super) clusters: Vec<(Arc<str>, Figures)>,
    /// What it does not use.
    pub(super) conditions: Conditions,
}

/// What a proxy keeps its requests away from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditions {
    /// Endpoints that outlier detection ejected.
    pub ejected: Vec<Ejected>,
    /// Limits that are reached.
    pub breakers: Vec<Breaker>,
}

/// An endpoint that a proxy does not use for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Ejected {
    /// The cluster, `NAMESPACE/SERVICE:PORT`.
    pub cluster: Arc<str>,
    /// The endpoint.
    pub address: SocketAddr,
    /// For how long it stays ejected, as of the report.
    pub left: Duration,
}

/// A limit that is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// The cluster, `NAMESPACE/SERVICE:PORT`.
    pub cluster: Arc<str>,
    /// Which one, such as `max_requests`.
    pub which: String,
}

impl Report {
    /// Reads a report; what is out of bounds is left out. `fallback` is the time that it covers where it does not say.
    pub(super) fn read(stats: &[ClusterStats], fallback: Duration) -> Self {
        let mut report = Self::default();
        let covered = stats.iter().filter_map(|cluster| duration(cluster.load_report_interval.as_ref()?)).max();
        report.covers = covered.unwrap_or(fallback);
        for cluster in stats.iter().take(MAX_CLUSTERS) {
            if cluster.cluster_name.is_empty() || cluster.cluster_name.len() > MAX_NAME_BYTES {
                continue;
            }
            let name: Arc<str> = cluster.cluster_name.as_str().into();
            let mut figures = Figures::default();
            for locality in &cluster.upstream_locality_stats {
                figures.add(&requests(locality));
                report.conditions.read(&name, locality);
            }
            if !figures.is_empty() {
                report.clusters.push((name, figures));
            }
        }
        report
    }
}

impl Conditions {
    /// Whether the proxy uses everything.
    pub fn is_empty(&self) -> bool {
        self.ejected.is_empty() && self.breakers.is_empty()
    }

    fn read(&mut self, cluster: &Arc<str>, locality: &UpstreamLocalityStats) {
        let breakers = locality.load_metric_stats.iter().filter(|metric| metric.num_requests_finished_with_metric > 0);
        let breakers = breakers.filter_map(|metric| load::breaker(&metric.metric_name));
        for which in breakers.take(MAX_CONDITIONS.saturating_sub(self.breakers.len())) {
            let which = which.chars().take(64).collect::<String>().escape_debug().to_string();
            self.breakers.push(Breaker { cluster: Arc::clone(cluster), which });
        }
        let ejected = locality.upstream_endpoint_stats.iter().filter_map(|endpoint| ejected(cluster, endpoint));
        self.ejected.extend(ejected.take(MAX_CONDITIONS.saturating_sub(self.ejected.len())));
    }
}

fn requests(locality: &UpstreamLocalityStats) -> Figures {
    let (successes, errors) = (locality.total_successful_requests, locality.total_error_requests);
    // Others than Weft's proxies count as issued what has not ended yet.
    let mut figures = Figures { issued: successes.saturating_add(errors), errors, ..Figures::default() };
    for metric in &locality.load_metric_stats {
        let bucket = load::latency_bucket(&metric.metric_name);
        if let Some(count) = bucket.and_then(|bucket| figures.latencies.get_mut(bucket)) {
            *count = count.saturating_add(metric.num_requests_finished_with_metric);
        }
    }
    figures
}

fn ejected(cluster: &Arc<str>, endpoint: &UpstreamEndpointStats) -> Option<Ejected> {
    let left = match endpoint.metadata.as_ref()?.fields.get(EJECTED_SECONDS_LEFT)?.kind.as_ref()? {
        Kind::NumberValue(seconds) => Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX),
        _ => return None,
    };
    Some(Ejected { cluster: Arc::clone(cluster), address: socket_address(endpoint.address.as_ref()?)?, left })
}

fn socket_address(address: &Address) -> Option<SocketAddr> {
    let address::Address::SocketAddress(address) = address.address.as_ref()? else { return None };
    let PortSpecifier::PortValue(port) = address.port_specifier.as_ref()? else { return None };
    Some(SocketAddr::new(address.address.parse().ok()?, u16::try_from(*port).ok()?))
}

fn duration(duration: &protobuf::Duration) -> Option<Duration> {
    Some(Duration::new(u64::try_from(duration.seconds).ok()?, u32::try_from(duration.nanos).ok()?.min(999_999_999)))
}

#[cfg(test)]
mod tests;
