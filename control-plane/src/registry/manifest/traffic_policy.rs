//! `weft.dev/v1alpha1` TrafficPolicy. Whatever is wrong with one is told at once, and the last good one stays.

use std::sync::Arc;

use weft_api::names::is_dns_label;

use super::Refused;
use crate::mesh::{ObjectName, PolicyTarget, TrafficPolicy};
use crate::registry::fault::{FieldPath, Report};

mod balance;
mod fields;
mod health;
mod limits;
mod raw;
mod requests;

use fields::Fields;
pub(super) use raw::Spec;

pub(super) fn read(
    name: &ObjectName,
    created: i64,
    raw: Spec,
    unknown: &[FieldPath],
    report: &mut Report,
) -> Result<TrafficPolicy, Refused> {
    let before = report.errors();
    for field in unknown {
        report.error(field.clone(), "is no field of a TrafficPolicy");
    }
    let spec = FieldPath::of(&["spec"]);
    let mut fields = Fields { report };
    let requests = requests::requests(raw.requests.unwrap_or_default(), &spec.key("requests"), &mut fields);
    let hedge = raw.hedge.and_then(|raw| requests::hedge(raw, &requests, &spec.key("hedge"), &mut fields));
    let (limits, field) = (raw.rate_limit.unwrap_or_default(), spec.key("rateLimit"));
    let policy = TrafficPolicy {
        name: name.clone(),
        created,
        targets: targets(name, raw.target_refs, &spec.key("targetRefs"), &mut fields),
        balance: balance::read(raw.load_balancer.unwrap_or_default(), &spec.key("loadBalancer"), &mut fields),
        connections: requests::connections(raw.connections.unwrap_or_default(), &spec.key("connections"), &mut fields),
        requests,
        retry: raw.retry.map(|raw| requests::retry(raw, &spec.key("retry"), &mut fields)),
        hedge,
        outlier: raw.outlier_detection.map(|raw| health::outlier(raw, &spec.key("outlierDetection"), &mut fields)),
        health: raw.health_check.and_then(|raw| health::check(raw, &spec.key("healthCheck"), &mut fields)),
        local_limits: limits::local(limits.local.unwrap_or_default(), &field.key("local"), &mut fields),
        global_limit: limits.global.and_then(|raw| limits::global(name, raw, &field.key("global"), &mut fields)),
    };
    if fields.report.errors() > before { Err(Refused) } else { Ok(policy) }
}

/// Services of the policy's own namespace; a policy that is for none of them is of no use.
fn targets(
    policy: &ObjectName,
    written: Vec<raw::TargetRef>,
    field: &FieldPath,
    fields: &mut Fields<'_>,
) -> Vec<PolicyTarget> {
    let mut targets = Vec::new();
    if written.is_empty() {
        fields.error(field.clone(), "is empty: the policy is for no Service");
    }
    for (place, raw) in written.into_iter().enumerate() {
        let field = field.index(place);
        if !matches!(raw.group.as_str(), "" | "core") || raw.kind != "Service" {
            let message = format!("{:?} of {:?} is not supported: a policy is for Services", raw.kind, raw.group);
            fields.error(field.key("kind"), message);
        } else if !is_dns_label(&raw.name) {
            fields.error(field.key("name"), format!("{:?} is not the name of a Service", raw.name));
        } else {
            let service = ObjectName::new(policy.namespace.clone(), raw.name);
            targets.push(PolicyTarget { service, section: raw.section_name.map(Arc::from) });
        }
    }
    targets
}

#[cfg(test)]
mod tests;
