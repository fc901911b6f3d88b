//! Inbound stage 4: the rate limits of a port of the application, those of this pod first, then those that a rate limit
//! service decides. A request must be let in by all of them.

mod gate;
mod global;

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, header};
use weft_rules::rate_limit::{Decision, Quota, Told, seconds, tell};
use weft_rules::route::RequestHead;

use super::answer::{self, Reason, Status};
use super::body::Body;
use crate::discovery::RateLimits;
use crate::telemetry::metrics::Event;
use crate::worker::Worker;

pub(crate) use gate::Gate;
use global::Answer;

/// gRPC's own status for a quota that is used up.
const RESOURCE_EXHAUSTED: u32 = 8;
/// And for what may be tried again.
const UNAVAILABLE: u32 = 14;

/// How a request stands with the limits that it met, for the headers of its answer.
#[derive(Default)]
pub(super) struct Standings(Vec<Standing>);

/// How a request stands with one limit.
struct Standing {
    name: Arc<str>,
    quota: Quota,
    decision: Decision,
}

impl Standings {
    /// Tells the client, if it met a limit.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        let told =
            self.0.iter().map(|Standing { name, quota, decision }| Told { name, quota: *quota, decision: *decision });
        tell(&told.collect::<Vec<_>>(), headers);
    }
}

/// A request that is not let in, and what to answer.
pub(super) struct Limited {
    pub(super) reason: Reason,
    pub(super) answer: Response<Body>,
}

/// Lets a request in, or says why not. `peer` is the caller's identity.
pub(super) async fn admit(
    worker: &Worker,
    limits: &RateLimits,
    parts: &Parts,
    peer: Option<&str>,
) -> Result<Standings, Box<Limited>> {
    let head = RequestHead {
        method: &parts.method,
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
    };
    let mut standings = Standings::default();
    let count = |name: &Arc<str>, result| worker.telemetry.metrics.event(Event::RateLimit, name, result);
    for rule in &limits.local {
        let Some(decision) = rule.gate().take(&rule.limit, &head, peer) else { continue };
        count(&rule.limit.name, if decision.allowed { "allowed" } else { "limited" });
        if rule.tells {
            standings.0.push(Standing { name: Arc::clone(&rule.limit.name), quota: rule.limit.quota, decision });
        }
        if !decision.allowed {
            let wait = Some(decision.retry_after);
            return Err(limited(&rule.limit.name, wait, rule.resource_exhausted, &standings, parts));
        }
    }
    for rule in &limits.global {
        let (standing, limit) = match global::ask(worker, rule, &head, peer).await {
            Answer::NotAsked => continue,
            Answer::Allowed(standing) => (standing, false),
            Answer::Limited(standing) => (standing, true),
            Answer::Failed(detail) => {
                count(&rule.domain, "error");
                tracing::info!(service = %rule.cluster.name, %detail, open = rule.fail_open, "no answer on a rate limit");
                if rule.fail_open {
                    continue;
                }
                let answer = answer::answer(Reason::RateLimitService, "the rate limit is not known", &parts.headers);
                return Err(Box::new(Limited { reason: Reason::RateLimitService, answer }));
            }
        };
        count(&rule.domain, if limit { "limited" } else { "allowed" });
        let wait = standing.as_ref().map(|standing| standing.decision.reset);
        if rule.tells {
            standings.0.extend(standing);
        }
        if limit {
            return Err(limited(&rule.domain, wait, rule.resource_exhausted, &standings, parts));
        }
    }
    Ok(standings)
}

/// 429 (RFC 6585), with the time after which it is worth to come again where that is known.
fn limited(
    name: &str,
    wait: Option<Duration>,
    resource_exhausted: bool,
    standings: &Standings,
    parts: &Parts,
) -> Box<Limited> {
    let reason = Reason::RateLimited;
    let detail = format!("the limit {name:?} is used up");
    let status = if answer::is_grpc(&parts.headers) {
        Status::Grpc(if resource_exhausted { RESOURCE_EXHAUSTED } else { UNAVAILABLE })
    } else {
        Status::Http(reason.status())
    };
    let mut answer = answer::with_status(status, reason, &detail, &parts.headers);
    if let Some(wait) = wait {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds(wait).max(1)));
    }
    standings.tell(answer.headers_mut());
    Box::new(Limited { reason, answer })
}
