//! Outbound stage 5: one request, from the rule that it matches to the endpoint that answers it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use weft_rules::headers::{strip_hop_by_hop, strip_mesh_headers};
use weft_rules::retry::{self, MAX_ATTEMPTS, Sent};
use weft_rules::route::{Action, RequestHead};

use super::answer::{self, Reason};
use super::body::Body;
use super::exchange::Exchange;
use super::replay::Replayable;
use super::upgrade;
use super::upstream::{ClusterState, EndpointState};
use crate::discovery::Destination;
use crate::worker::Worker;

/// What the routes say of a request.
enum Decision {
    Forward { cluster: Rc<ClusterState>, rule: Arc<str>, timeout: Option<Duration> },
    Answer { status: StatusCode, reason: Reason },
}

/// Why a request got no answer from an endpoint.
struct Failure {
    reason: Reason,
    detail: String,
}

/// Answers one request of the application.
pub(crate) async fn outbound(
    worker: &Rc<Worker>,
    destination: &Destination,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let Some(admitted) = worker.admit() else {
        return answer::answer(Reason::Overload, "too many requests in flight", request.headers());
    };
    let client_upgrade = upgrade::requested(&mut request);
    let (mut parts, incoming) = request.into_parts();
    if let Err(detail) = check(&parts) {
        return answer::answer(Reason::BadRequest, detail, &parts.headers);
    }
    let mut exchange = Exchange::outbound(worker, &parts, admitted);
    strip_mesh_headers(&mut parts.headers);
    parts.headers = strip_hop_by_hop(std::mem::take(&mut parts.headers));
    let result = match decide(worker, destination, &parts) {
        Decision::Answer { status, reason } => {
            let mut answer = answer::answer(reason, "", &parts.headers);
            *answer.status_mut() = status;
            exchange.failed_for(&destination.traffic().service, reason);
            return exchange.answered_by_us(&parts, answer, reason);
        }
        Decision::Forward { cluster, rule, timeout } => {
            exchange.matched(&rule);
            let sending = send(worker, &cluster, &parts, incoming, &mut exchange);
            match timeout {
                None => sending.await,
                Some(timeout) => within(timeout, sending).await,
            }
        }
    };
    match result {
        Ok(response) => finish(&parts, response, client_upgrade, exchange),
        Err(Failure { reason, detail }) => {
            tracing::info!(service = %destination.traffic().service, reason = reason.as_str(), %detail, "request failed");
            exchange.failed_for(&destination.traffic().service, reason);
            let answer = answer::answer(reason, &detail, &parts.headers);
            exchange.answered_by_us(&parts, answer, reason)
        }
    }
}

/// A route's time-out covers the whole answer, its body too, as Envoy's does.
async fn within(
    timeout: Duration,
    sending: impl Future<Output = Result<Response<Body>, Failure>>,
) -> Result<Response<Body>, Failure> {
    let deadline = tokio::time::Instant::now() + timeout;
    match tokio::time::timeout_at(deadline, sending).await {
        Ok(sent) => sent.map(|response| {
            let clock = super::body::Clock::new([(deadline, super::body::Over::Timeout)], None);
            match clock {
                Some(clock) => response.map(|body| body.timed(clock)),
                None => response,
            }
        }),
        Err(_) => Err(Failure { reason: Reason::Timeout, detail: format!("no answer within {timeout:?}") }),
    }
}

/// What hyper lets pass and a proxy must not: RFC 9112 6.1 calls two lengths an attempt at smuggling.
pub(super) fn check(parts: &Parts) -> Result<(), &'static str> {
    let has = |name| parts.headers.contains_key(name);
    if has(http::header::TRANSFER_ENCODING) && has(http::header::CONTENT_LENGTH) {
        return Err("both transfer-encoding and content-length");
    }
    if parts.method == Method::CONNECT && parts.version == Version::HTTP_2 {
        return Err("CONNECT over HTTP/2 is not carried; over HTTP/1.1 it is");
    }
    if parts.headers.get_all(http::header::HOST).iter().nth(1).is_some() {
        return Err("more than one host");
    }
    Ok(())
}

fn decide(worker: &Worker, destination: &Destination, parts: &Parts) -> Decision {
    let head = RequestHead {
        method: &parts.method,
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
    };
    let traffic = destination.traffic();
    let Some(rule) = traffic.routes.find(&head) else {
        return Decision::Answer { status: Reason::NoRoute.status(), reason: Reason::NoRoute };
    };
    match &rule.action {
        Action::Respond(status) => Decision::Answer { status: *status, reason: Reason::RouteUnresolved },
        // No configuration asks for a redirect yet.
        Action::Redirect(redirect) => Decision::Answer { status: redirect.status, reason: Reason::RouteUnresolved },
        Action::Forward(forward) => {
            let cluster = &forward.backends.pick(rand::random()).target;
            if !cluster.exists {
                // The Gateway API: what is meant for a backend that doesn't exist fails, and goes nowhere else.
                return Decision::Answer { status: Reason::RouteUnresolved.status(), reason: Reason::RouteUnresolved };
            }
            Decision::Forward {
                cluster: worker.upstreams.cluster(cluster),
                rule: Arc::clone(&rule.name),
                timeout: forward.timeouts.request,
            }
        }
    }
}

/// Tries endpoints until one answers, or until the request may have been handled by one that did not.
async fn send(
    worker: &Rc<Worker>,
    cluster: &Rc<ClusterState>,
    parts: &Parts,
    incoming: Incoming,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Failure> {
    let replayable = (!http_body::Body::is_end_stream(&incoming)).then(|| Replayable::new(incoming));
    let mut tried: Vec<SocketAddr> = Vec::new();
    cluster.deposit(Instant::now());
    loop {
        let Some(endpoint) = cluster.pick(
            &worker.upstreams,
            &super::upstream::PickBy { tried: &tried, ..Default::default() },
            Instant::now(),
        ) else {
            let detail = format!("{} has no endpoint", cluster.name());
            return Err(Failure { reason: Reason::NoEndpoint, detail });
        };
        let body = match &replayable {
            None => Body::empty(),
            Some(replayable) => match replayable.next_try() {
                Some(replay) => replay.into(),
                None => {
                    let detail = "the body is too long to be sent again".to_owned();
                    return Err(Failure { reason: Reason::UpstreamReset, detail });
                }
            },
        };
        match attempt(&endpoint, parts, body, exchange).await {
            Ok(response) => return Ok(response),
            Err(error) => {
                let sent = if error.is_unhandled() { Sent::Nothing } else { Sent::Maybe };
                exchange.attempt_over(None, Some("failed"));
                tried.push(endpoint.endpoint.address);
                let attempts = u32::try_from(tried.len()).unwrap_or(u32::MAX);
                if !(retry::may_retry(attempts, sent, MAX_ATTEMPTS) && cluster.withdraw(Instant::now())) {
                    let reason = if error.is_unhandled() { Reason::ConnectFailed } else { Reason::UpstreamReset };
                    return Err(Failure { reason, detail: error.to_string() });
                }
            }
        }
    }
}

async fn attempt(
    endpoint: &Rc<EndpointState>,
    parts: &Parts,
    body: Body,
    exchange: &mut Exchange,
) -> Result<Response<Body>, super::upstream::SendError> {
    let mut request = Request::from_parts(parts.clone(), body);
    exchange.attempt(endpoint, request.headers_mut());
    endpoint.send(request).await
}

/// Takes the endpoint's answer over, or joins the two connections where both left HTTP.
pub(super) fn finish(
    request: &Parts,
    mut response: Response<Body>,
    client_upgrade: Option<OnUpgrade>,
    mut exchange: Exchange,
) -> Response<Body> {
    let upgraded = upgrade::is_upgrade(&request.method, &response);
    let headers: HeaderMap = std::mem::take(response.headers_mut());
    *response.headers_mut() = strip_hop_by_hop(headers);
    match client_upgrade {
        Some(client) if upgraded => {
            let upstream = hyper::upgrade::on(&mut response);
            exchange.upgraded(request, response.status().as_u16());
            let (parts, body) = response.into_parts();
            upgrade::join(client, upstream, (body, exchange));
            Response::from_parts(parts, Body::empty())
        }
        _ => exchange.answered(request, response),
    }
}
