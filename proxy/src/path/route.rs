//! Outbound stage 5: one request, from the rule that it matches to what becomes of it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{HOST, LOCATION};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use hyper::upgrade::OnUpgrade;
use weft_rules::fault::{Abort, FaultPolicy};
use weft_rules::headers::{strip_hop_by_hop, strip_mesh_headers};
use weft_rules::redirect::Redirect;
use weft_rules::route::{Action, PathMatch, RequestHead, Rule};

use super::answer::{self, Reason, Status};
use super::body::Body;
use super::exchange::Exchange;
use super::{forward, upgrade};
use crate::discovery::{Cluster, Destination, Traffic};
use crate::telemetry::access_log::Flag;
use crate::telemetry::metrics::{Direction, Event};
use crate::worker::Worker;

/// A connection of the application to a destination, as the requests on it see it.
pub(crate) struct Client {
    pub(super) worker: Rc<Worker>,
    destination: Arc<Destination>,
    /// The address and port that were dialled.
    dialled: SocketAddr,
    /// The application's own end.
    pub(super) address: Option<SocketAddr>,
    /// The destination's traffic as the latest request saw it: counted by this worker alone, so that requests of
    /// several workers don't meet at one counter.
    #[allow(clippy::redundant_allocation, reason = "requests clone the Rc alone")]
    traffic: RefCell<Rc<Arc<Traffic>>>,
}

impl Client {
    pub(crate) fn new(
        worker: &Rc<Worker>,
        destination: Arc<Destination>,
        dialled: SocketAddr,
        address: Option<SocketAddr>,
    ) -> Self {
        let traffic = RefCell::new(Rc::new(Arc::clone(&destination.traffic())));
        Self { worker: Rc::clone(worker), destination, dialled, address, traffic }
    }

    #[allow(clippy::redundant_allocation, reason = "as above")]
    fn traffic(&self) -> Rc<Arc<Traffic>> {
        let current = self.destination.traffic();
        let mut held = self.traffic.borrow_mut();
        if !Arc::ptr_eq(&current, &held) {
            *held = Rc::new(Arc::clone(&current));
        }
        Rc::clone(&held)
    }
}

/// Why the proxy answers a request itself.
pub(super) struct Failure {
    pub(super) reason: Reason,
    pub(super) status: Status,
    pub(super) detail: String,
    /// The backend that was chosen, if it came to that.
    pub(super) backend: Option<Arc<str>>,
}

impl Failure {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, status: Status::Http(reason.status()), detail: detail.into(), backend: None }
    }
}

/// Answers one request of the application.
pub(crate) async fn outbound(client: &Client, mut request: Request<Body>) -> Response<Body> {
    let worker = &client.worker;
    let traffic = client.traffic();
    let Some(admitted) = worker.admit() else {
        let event = Event::ProxyAnswer(Direction::Outbound);
        worker.telemetry.metrics.event(event, &traffic.service, Reason::Overload.as_str());
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
    let head = RequestHead {
        method: &parts.method,
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
    };
    let Some(rule) = traffic.routes.find(&head) else {
        return failed(exchange, &parts, &traffic, None, Failure::new(Reason::NoRoute, ""));
    };
    exchange.matched(&rule.name);
    match follow(client, rule, &parts, incoming, &mut exchange).await {
        Ok(mut response) => {
            rule.filters.response_headers.apply(response.headers_mut());
            finish(&parts, response, client_upgrade, exchange)
        }
        Err(failure) => failed(exchange, &parts, &traffic, Some(rule), failure),
    }
}

/// The proxy's own answer.
fn failed(
    mut exchange: Exchange,
    parts: &Parts,
    traffic: &Traffic,
    rule: Option<&Rule<Arc<Cluster>>>,
    failure: Failure,
) -> Response<Body> {
    let Failure { reason, status, detail, backend } = failure;
    let destination = backend.as_ref().unwrap_or(&traffic.service);
    tracing::info!(service = %destination, reason = reason.as_str(), %detail, "request failed");
    exchange.failed_for(destination, reason);
    let mut answer = answer::with_status(status, reason, &detail, &parts.headers);
    if let Some(rule) = rule {
        rule.filters.response_headers.apply(answer.headers_mut());
    }
    exchange.answered_by_us(parts, answer, reason)
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
    if parts.headers.get_all(HOST).iter().nth(1).is_some() {
        return Err("more than one host");
    }
    Ok(())
}

/// Does what the rule says: faults first, as they stand for what could go wrong behind them.
async fn follow(
    client: &Client,
    rule: &Rule<Arc<Cluster>>,
    parts: &Parts,
    incoming: Body,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Failure> {
    if let Some(fault) = &rule.filters.fault {
        inject(client, fault, parts, exchange).await?;
    }
    match &rule.action {
        Action::Forward(forward) => {
            forward::forward(client, rule, forward, parts, incoming, exchange).await.map_err(|failure| *failure)
        }
        Action::Redirect(redirect) => Ok(redirected(client, redirect, &rule.matcher.path, parts)),
        Action::Respond(status) => {
            let reason = if *status == Reason::NoRoute.status() { Reason::NoRoute } else { Reason::RouteUnresolved };
            let failure = Failure::new(reason, "");
            Err(Failure { status: Status::Http(*status), ..failure })
        }
    }
}

/// Makes the request suffer what its route asks for.
async fn inject(client: &Client, fault: &FaultPolicy, parts: &Parts, exchange: &mut Exchange) -> Result<(), Failure> {
    let decision = fault.decide(&parts.headers, [rand::random(), rand::random()]);
    let count = |kind| client.worker.telemetry.metrics.event(Event::Fault, &client.traffic().service, kind);
    if let Some(delay) = decision.delay {
        count("delay");
        exchange.flag(Flag::DelayInjected);
        exchange.fault("delay");
        tokio::time::sleep(delay).await;
    }
    let Some(abort) = decision.abort else { return Ok(()) };
    count("abort");
    exchange.fault("abort");
    let status = match abort {
        Abort::Http(status) => Status::Http(status),
        Abort::Grpc(status) => Status::Grpc(status),
    };
    Err(Failure { status, ..Failure::new(Reason::FaultAbort, "the route asks for this failure") })
}

/// The answer that sends the client elsewhere.
fn redirected(client: &Client, redirect: &Redirect, matched: &PathMatch, parts: &Parts) -> Response<Body> {
    let named = || parts.headers.get(HOST)?.to_str().ok()?.parse::<Authority>().ok();
    let authority = parts.uri.authority().cloned().or_else(named);
    let dialled = client.dialled.ip().to_string();
    let host = authority.as_ref().map_or(dialled.as_str(), |authority| authority.host());
    let location = redirect.location(matched, host, client.dialled.port(), &parts.uri);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = redirect.status;
    match HeaderValue::try_from(location) {
        Ok(location) => {
            response.headers_mut().insert(LOCATION, location);
        }
        // A host or path that came in a header fits into one again.
        Err(error) => tracing::debug!(%error, "a redirect without a location"),
    }
    response
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
