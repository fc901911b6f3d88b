//! The policy of a cluster, as far as it is not the default.

use weft_rules::balance::{Algorithm, BalancePolicy};
use weft_rules::hash::HashKey;
use weft_rules::health::{HealthPolicy, Probe};
use weft_rules::outlier::OutlierPolicy;

use super::{list, setting, time_of};
use crate::discovery::ClusterPolicy;
use crate::why::Setting;

/// What applies to the traffic of a cluster.
pub(crate) fn policy(policy: &ClusterPolicy) -> Vec<Setting> {
    let mut lines = Vec::new();
    if policy.node_local {
        lines.push(setting("internalTrafficPolicy", "Local: the endpoints on the pod's own node alone"));
    }
    lines.extend(balance(&policy.balance, policy.node_first));
    lines.push(setting("connections.connectTimeout", time_of(policy.connect_timeout)));
    lines.extend(policy.limits.max_connections.map(|max| setting("connections.max", max)));
    lines.extend(policy.idle_timeout.map(|time| setting("connections.idleTimeout", time_of(time))));
    lines.extend(policy.max_connection_age.map(|time| setting("connections.maxAge", time_of(time))));
    lines.extend(policy.limits.max_requests.map(|max| setting("requests.max", max)));
    lines.extend(policy.limits.max_pending.map(|max| setting("requests.maxPending", max)));
    lines.extend(policy.max_stream_age.map(|time| setting("requests.maxStreamAge", time_of(time))));
    let budget = &policy.budget;
    let (percent, window) = (budget.ratio * 100.0, time_of(budget.window));
    let budget = format!("{percent:.0} %, at least {} a second, over {window}", budget.min_per_second);
    lines.push(setting("retry.budget", budget));
    lines.extend(policy.outlier.iter().flat_map(outlier));
    lines.extend(policy.health.iter().map(health));
    lines
}

fn balance(balance: &BalancePolicy, node_first: bool) -> Vec<Setting> {
    let algorithm = match balance.algorithm {
        Algorithm::PeakEwma => "PeakEwma",
        Algorithm::RoundRobin => "RoundRobin",
        Algorithm::LeastRequest => "LeastRequest",
        Algorithm::Random => "Random",
        Algorithm::RingHash => "RingHash",
        Algorithm::Maglev => "Maglev",
    };
    let mut lines = vec![setting("loadBalancer.algorithm", algorithm)];
    if !balance.hash.is_empty() {
        lines.push(setting("loadBalancer.hashOn", list(balance.hash.iter().map(hash_key))));
    }
    if let Some(slow_start) = &balance.slow_start {
        let window = time_of(slow_start.window);
        lines.push(setting("loadBalancer.slowStart", format!("{window} from {} %", slow_start.min_percent)));
    }
    if balance.zone_aware {
        lines.push(setting("loadBalancer.locality", if node_first { "PreferSameNode" } else { "PreferSameZone" }));
    }
    lines.push(setting("loadBalancer.panicPercent", balance.panic_percent));
    lines
}

fn hash_key(key: &HashKey) -> String {
    match key {
        HashKey::Header(name) => format!("the header {name}"),
        HashKey::Cookie { name, .. } => format!("the cookie {name}"),
        HashKey::Source => "the source address".to_owned(),
    }
}

fn outlier(outlier: &OutlierPolicy) -> Vec<Setting> {
    let mut lines = Vec::new();
    lines.extend(outlier.consecutive_5xx.map(|count| setting("outlierDetection.consecutive5xx", count)));
    lines.extend(outlier.consecutive_gateway.map(|count| setting("outlierDetection.consecutiveGatewayErrors", count)));
    lines.extend(outlier.success_rate.map(|rate| {
        let from = format!("{} endpoints of {} requests", rate.min_hosts, rate.min_requests);
        setting("outlierDetection.successRate", format!("{} standard deviations, from {from}", rate.stdev_factor))
    }));
    lines.push(setting("outlierDetection.interval", time_of(outlier.interval)));
    lines.push(setting("outlierDetection.baseEjection", time_of(outlier.base_ejection)));
    lines.push(setting("outlierDetection.maxEjection", time_of(outlier.max_ejection)));
    lines.push(setting("outlierDetection.maxEjectedPercent", outlier.max_ejected_percent));
    lines
}

fn health(health: &HealthPolicy) -> Setting {
    let probe = match &health.probe {
        Probe::Http { path, .. } => format!("GET {path}"),
        Probe::Grpc { service } if service.is_empty() => "gRPC".to_owned(),
        Probe::Grpc { service } => format!("gRPC of {service}"),
        Probe::Tcp => "a connection".to_owned(),
    };
    setting("healthCheck", format!("{probe} every {}", time_of(health.interval)))
}
