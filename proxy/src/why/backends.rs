//! Clusters with their share, policy and endpoints.

use std::sync::Arc;

use weft_rules::route::Backend as RuleBackend;
use weft_rules::weighted::Weighted;

use super::{Backend, EndpointStep, Setting, settings};
use crate::discovery::{Cluster, Endpoint};

/// The backends of a rule.
pub(super) fn of_requests(backends: &Weighted<RuleBackend<Arc<Cluster>>>) -> Vec<Backend> {
    let total = total(backends);
    let backends = backends.iter().map(|(backend, weight)| {
        let mut filters = settings::header_edits("requestHeaders", &backend.request_headers);
        filters.extend(settings::header_edits("responseHeaders", &backend.response_headers));
        if let Some(host) = &backend.host {
            filters.push(settings::setting("urlRewrite.hostname", String::from_utf8_lossy(host.as_bytes())));
        }
        self::backend(&backend.target, weight, total, filters)
    });
    backends.collect()
}

/// The clusters that connections go to.
pub(super) fn of_connections(clusters: &Weighted<Arc<Cluster>>) -> Vec<Backend> {
    let total = total(clusters);
    clusters.iter().map(|(cluster, weight)| backend(cluster, weight, total, Vec::new())).collect()
}

fn total<T>(weighted: &Weighted<T>) -> u64 {
    weighted.iter().map(|(_, weight)| u64::from(weight)).sum()
}

fn backend(cluster: &Cluster, weight: u32, total: u64, filters: Vec<Setting>) -> Backend {
    #[allow(clippy::cast_precision_loss, reason = "a percentage for people")]
    let share_percent = f64::from(weight) * 100.0 / total as f64;
    Backend {
        cluster: cluster.name.to_string(),
        weight,
        share_percent,
        exists: cluster.exists,
        manifest: cluster.policy.manifest.to_string(),
        filters,
        policy: if cluster.exists { settings::policy(&cluster.policy) } else { Vec::new() },
        endpoints: cluster.endpoints().all.iter().map(|endpoint| self::endpoint(endpoint)).collect(),
    }
}

fn endpoint(endpoint: &Endpoint) -> EndpointStep {
    EndpointStep {
        address: endpoint.address.to_string(),
        pod: endpoint.pod.to_string(),
        workload: endpoint.workload.to_string(),
        zone: endpoint.place.zone.to_string(),
        node: endpoint.place.node.to_string(),
        identity: endpoint.mesh.as_ref().map(|mesh| mesh.identity.as_str().to_owned()),
        draining: endpoint.draining,
    }
}
