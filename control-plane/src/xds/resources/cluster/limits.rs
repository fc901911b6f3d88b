//! How much may be under way, and for how long.

use weft_api::xds::pb::envoy::config::cluster::v3::circuit_breakers::{
    Thresholds, thresholds::RetryBudget as XdsBudget,
};
use weft_api::xds::pb::envoy::config::cluster::v3::{CircuitBreakers, Cluster};
use weft_api::xds::pb::envoy::config::core::v3::HttpProtocolOptions;

use super::super::values::{duration, number, percent};
use crate::mesh::{RetryBudget, TrafficPolicy};

pub(super) fn apply(cluster: &mut Cluster, policy: &TrafficPolicy) {
    let (connections, requests) = (&policy.connections, &policy.requests);
    cluster.connect_timeout = connections.connect_timeout.map(duration);
    let thresholds = Thresholds {
        max_connections: connections.max.map(number),
        max_pending_requests: requests.max_pending.map(number),
        max_requests: requests.max.map(number),
        retry_budget: policy.retry.as_ref().and_then(|retry| retry.budget).map(budget),
        ..Thresholds::default()
    };
    if thresholds != Thresholds::default() {
        cluster.circuit_breakers = Some(CircuitBreakers { thresholds: vec![thresholds], ..CircuitBreakers::default() });
    }
    let options = HttpProtocolOptions {
        idle_timeout: connections.idle_timeout.map(duration),
        max_connection_duration: connections.max_age.map(duration),
        max_stream_duration: requests.max_stream_age.map(duration),
        ..HttpProtocolOptions::default()
    };
    if options != HttpProtocolOptions::default() {
        // Deprecated in favour of an extension that says the same in another place.
        #[allow(deprecated)]
        cluster.common_http_protocol_options.replace(options);
    }
}

fn budget(budget: RetryBudget) -> XdsBudget {
    XdsBudget {
        budget_percent: Some(percent(budget.percent)),
        budget_interval: Some(duration(budget.window)),
        min_retry_concurrency: Some(number(budget.min_per_second)),
    }
}
