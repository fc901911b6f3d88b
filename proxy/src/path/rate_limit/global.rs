//! Limits that a rate limit service decides, over `envoy.service.ratelimit.v3`. The call goes the way of the traffic:
//! over the mesh's transport where the service has a sidecar.

use std::time::{Duration, Instant};

use tonic::Request;
use weft_api::xds::pb::envoy::extensions::common::ratelimit::v3::{RateLimitDescriptor, rate_limit_descriptor::Entry};
use weft_api::xds::pb::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus};
use weft_api::xds::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use weft_api::xds::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use weft_rules::rate_limit::{Decision, Quota};
use weft_rules::route::RequestHead;

use super::Standing;
use crate::discovery::GlobalRule;
use crate::path::upstream::{GrpcEndpoint, PickBy};
use crate::worker::Worker;

/// What the service says of a request.
pub(super) enum Answer {
    /// Nothing: the request has none of what the limits are by.
    NotAsked,
    Allowed(Option<Standing>),
    Limited(Option<Standing>),
    /// It did not answer, for this reason.
    Failed(String),
}

/// Asks the service.
pub(super) async fn ask(worker: &Worker, rule: &GlobalRule, head: &RequestHead<'_>, peer: Option<&str>) -> Answer {
    let descriptors: Vec<_> = rule.descriptors.iter().filter_map(|descriptor| descriptor.of(head, peer)).collect();
    if descriptors.is_empty() {
        return Answer::NotAsked;
    }
    let descriptors = descriptors.into_iter().map(|entries| {
        let entries = entries.into_iter().map(|(key, value)| Entry { key: key.to_owned(), value: value.to_owned() });
        RateLimitDescriptor { entries: entries.collect(), ..RateLimitDescriptor::default() }
    });
    let request =
        RateLimitRequest { domain: rule.domain.to_string(), descriptors: descriptors.collect(), hits_addend: 0 };
    match tokio::time::timeout(rule.timeout, call(worker, rule, request)).await {
        Ok(Ok(response)) => decided(&response),
        Ok(Err(reason)) => Answer::Failed(reason),
        Err(_) => Answer::Failed(format!("no answer within {:?}", rule.timeout)),
    }
}

async fn call(worker: &Worker, rule: &GlobalRule, request: RateLimitRequest) -> Result<RateLimitResponse, String> {
    let cluster = worker.upstreams.cluster(&rule.cluster);
    let _permit = cluster.admit().map_err(|overflow| overflow.to_string())?;
    let endpoint = cluster.pick(&worker.upstreams, &PickBy::default(), Instant::now());
    let endpoint = endpoint.ok_or_else(|| format!("{} has no endpoint", rule.cluster.name))?;
    let transport = GrpcEndpoint(endpoint);
    let origin = transport.origin();
    let mut client = RateLimitServiceClient::with_origin(transport, origin);
    let answered = client.should_rate_limit(Request::new(request)).await;
    answered.map(tonic::Response::into_inner).map_err(|status| format!("{:?}: {}", status.code(), status.message()))
}

fn decided(response: &RateLimitResponse) -> Answer {
    let standing = response.statuses.iter().filter_map(standing).min_by_key(|standing| standing.decision.remaining);
    match Code::try_from(response.overall_code) {
        Ok(Code::OverLimit) => Answer::Limited(standing),
        Ok(Code::Ok) => Answer::Allowed(standing),
        Ok(Code::Unknown) | Err(_) => Answer::Failed("the answer has no overall_code".to_owned()),
    }
}

/// How far the client is from a limit, where the service tells.
fn standing(status: &DescriptorStatus) -> Option<Standing> {
    let limit = status.current_limit.as_ref()?;
    let reset = status.duration_until_reset.as_ref();
    let reset = reset.map_or(0, |reset| u64::try_from(reset.seconds).unwrap_or_default());
    let quota = Quota { requests: limit.requests_per_unit, per: unit(limit.unit), burst: limit.requests_per_unit };
    let reset = Duration::from_secs(reset);
    let decision = Decision {
        allowed: status.code() == Code::Ok,
        limit: limit.requests_per_unit,
        remaining: status.limit_remaining,
        reset,
        retry_after: reset,
    };
    Some(Standing { name: limit.name.as_str().into(), quota, decision })
}

/// The length of `RateLimit.Unit`; months and years as calendars have them on average.
fn unit(unit: i32) -> Duration {
    const DAY: u64 = 24 * 3600;
    Duration::from_secs(match unit {
        2 => 60,
        3 => 3600,
        4 => DAY,
        5 => 30 * DAY,
        6 => 365 * DAY,
        7 => 7 * DAY,
        _ => 1,
    })
}
