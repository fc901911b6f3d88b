//! One request as telemetry sees it: a metric, a span if it is sampled, a line in the access log.
//!
//! An [`Exchange`] goes along with the request and then, in the body, with the answer. When it is dropped it reports: a
//! client that leaves is reported too. What only a span or a line needs is gathered only where there will be one.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, Response, Version};
use opentelemetry::trace::SpanKind;

use super::answer::{self, Reason};
use super::body::{Body, OnEnd, Over};
use super::upstream::{ClusterPermit, EndpointState};
use crate::inbound::Caller;
use crate::telemetry::access_log::{Entry, Flag, Flags};
use crate::telemetry::metrics::{Direction, Event, RequestMetrics};
use crate::telemetry::trace::{RequestTrace, SpanEnd};
use crate::worker::{Admitted, Worker};

/// One request, until its answer has ended.
pub(crate) struct Exchange {
    worker: Rc<Worker>,
    direction: Direction,
    started: Instant,
    trace: RequestTrace,
    metrics: Option<Arc<RequestMetrics>>,
    endpoint: Option<Rc<EndpointState>>,
    caller: Option<Rc<Caller>>,
    details: Option<Box<Details>>,
    status: Option<u16>,
    /// The outcome of a gRPC call, from the headers or the trailers of its answer.
    grpc_status: Option<u32>,
    reason: Option<&'static str>,
    flags: Flags,
    _admitted: Admitted,
    /// Its place among the requests that its cluster takes.
    _permit: Option<ClusterPermit>,
}

/// What a span or an access-log line says of a request.
struct Details {
    method: Method,
    path: String,
    host: String,
    version: Version,
    route: Option<Arc<str>>,
    fault: Option<&'static str>,
}

impl Details {
    fn of(parts: &Parts) -> Box<Self> {
        let host = || parts.headers.get(HOST)?.to_str().ok()?.parse::<Authority>().ok();
        let authority = parts.uri.authority().cloned().or_else(host);
        Box::new(Self {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            host: authority.map(|authority| authority.host().to_owned()).unwrap_or_default(),
            version: parts.version,
            route: None,
            fault: None,
        })
    }
}

impl Exchange {
    /// A request of the pod's own application.
    pub(crate) fn outbound(worker: &Rc<Worker>, parts: &Parts, admitted: Admitted) -> Self {
        Self::start(worker, Direction::Outbound, SpanKind::Client, parts, admitted)
    }

    /// A request to the pod's own application.
    pub(crate) fn inbound(worker: &Rc<Worker>, caller: &Rc<Caller>, parts: &Parts, admitted: Admitted) -> Self {
        let mut exchange = Self::start(worker, Direction::Inbound, SpanKind::Server, parts, admitted);
        exchange.metrics = Some(Arc::clone(&caller.metrics));
        exchange.caller = Some(Rc::clone(caller));
        exchange
    }

    fn start(worker: &Rc<Worker>, direction: Direction, kind: SpanKind, parts: &Parts, admitted: Admitted) -> Self {
        let trace = worker.telemetry.tracer.request(kind, &parts.headers);
        let details = trace.is_sampled().then(|| Details::of(parts));
        Self {
            worker: Rc::clone(worker),
            direction,
            started: Instant::now(),
            trace,
            metrics: None,
            endpoint: None,
            caller: None,
            details,
            status: None,
            grpc_status: None,
            reason: None,
            flags: Flags::default(),
            _admitted: admitted,
            _permit: None,
        }
    }

    /// The rule that the request falls under.
    pub(crate) fn matched(&mut self, rule: &Arc<str>) {
        if let Some(details) = &mut self.details {
            details.route = Some(Arc::clone(rule));
        }
    }

    /// The request has a place among those of its cluster as long as this lives.
    pub(crate) fn hold(&mut self, permit: ClusterPermit) {
        self._permit = Some(permit);
    }

    /// Something out of the ordinary, for the access log.
    pub(crate) fn flag(&mut self, flag: Flag) {
        self.flags.set(flag);
    }

    /// A fault was injected, for the span.
    pub(crate) fn fault(&mut self, kind: &'static str) {
        if let Some(details) = &mut self.details {
            details.fault = Some(kind);
        }
    }

    /// The proxy answers for a destination: the backend that was chosen, else the Service that was dialled.
    pub(crate) fn failed_for(&mut self, destination: &Arc<str>, reason: Reason) {
        if self.metrics.is_none() {
            self.metrics = Some(self.worker.upstreams.unanswered(destination));
        }
        self.worker.telemetry.metrics.event(Event::ProxyAnswer(self.direction), destination, reason.as_str());
    }

    /// The request goes to this endpoint, with the trace's headers.
    pub(crate) fn attempt(&mut self, endpoint: &Rc<EndpointState>, headers: &mut HeaderMap) {
        if self.endpoint.is_some() {
            self.trace.next_attempt();
        }
        self.went_to(endpoint);
        self.trace.inject(headers);
    }

    /// This endpoint's answer is the one that counts.
    pub(crate) fn went_to(&mut self, endpoint: &Rc<EndpointState>) {
        if let Some(metrics) = &endpoint.metrics {
            self.metrics = Some(Arc::clone(metrics));
        }
        self.endpoint = Some(Rc::clone(endpoint));
    }

    /// An attempt is over, with this status or for this reason, and another one may follow.
    pub(crate) fn attempt_over(&mut self, status: Option<u16>, reason: Option<&'static str>) {
        let before = (self.status, self.reason);
        (self.status, self.reason) = (status, reason);
        self.end_span();
        (self.status, self.reason) = before;
    }

    /// An endpoint answered; reports when the answer's body has ended.
    pub(crate) fn answered(mut self, request: &Parts, response: Response<Body>) -> Response<Body> {
        self.status(request, response.status().as_u16());
        self.grpc_status = answer::grpc_status(response.headers());
        response.map(|body| body.on_end(self))
    }

    /// The proxy answers itself.
    pub(crate) fn answered_by_us(
        mut self,
        request: &Parts,
        response: Response<Body>,
        reason: Reason,
    ) -> Response<Body> {
        self.reason = Some(reason.as_str());
        self.flags.set(reason.flag());
        self.answered(request, response)
    }

    /// Both sides leave HTTP; the exchange goes on with their connection.
    pub(crate) fn upgraded(&mut self, request: &Parts, status: u16) {
        self.status(request, status);
    }

    fn status(&mut self, request: &Parts, status: u16) {
        self.status = Some(status);
        if self.details.is_none() && self.worker.telemetry.access_log.wants(Some(status), self.reason) {
            self.details = Some(Details::of(request));
        }
    }

    fn end_span(&mut self) {
        let Some(details) = &self.details else { return };
        let peer = self.endpoint.as_ref().map(|endpoint| endpoint.endpoint.address);
        let unmeshed = self.endpoint.as_ref().filter(|endpoint| endpoint.endpoint.mesh.is_none());
        self.trace.finish(&SpanEnd {
            method: &details.method,
            route: details.route.as_ref(),
            scheme: "http",
            path: &details.path,
            host: &details.host,
            port: peer.map_or(0, |peer| peer.port()),
            version: details.version,
            status: self.status,
            error: self.reason,
            fault: details.fault,
            peer,
            peer_identity: peer_identity(self.caller.as_ref(), self.endpoint.as_ref()),
            peer_service: unmeshed.map(|endpoint| &*endpoint.cluster).filter(|cluster| !cluster.is_empty()),
        });
    }

    fn log(&self) {
        let Some(details) = &self.details else { return };
        let destination = match (&self.caller, &self.endpoint) {
            (Some(caller), _) => &caller.service,
            (None, Some(endpoint)) => &endpoint.cluster,
            (None, None) => "",
        };
        self.worker.telemetry.access_log.record(&Entry {
            time: SystemTime::now(),
            direction: self.direction,
            method: Some(details.method.as_str()),
            path: Some(&details.path),
            protocol: version(details.version),
            status: self.status,
            reason: self.reason,
            flags: self.flags,
            bytes: None,
            duration: self.started.elapsed(),
            peer: peer_identity(self.caller.as_ref(), self.endpoint.as_ref()),
            destination,
            upstream: self.endpoint.as_ref().map(|endpoint| endpoint.endpoint.address),
            trace_id: self.trace.trace_id(),
        });
    }
}

fn peer_identity<'a>(caller: Option<&'a Rc<Caller>>, endpoint: Option<&'a Rc<EndpointState>>) -> Option<&'a str> {
    match caller {
        Some(caller) => caller.peer.as_ref().map(|peer| peer.as_str()),
        None => endpoint?.endpoint.mesh.as_ref().map(|mesh| mesh.identity.as_str()),
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

impl OnEnd for Exchange {
    fn complete(&mut self) {}

    fn trailers(&mut self, trailers: &HeaderMap) {
        self.grpc_status = answer::grpc_status(trailers).or(self.grpc_status);
    }

    fn cut_off(&mut self, why: Over) {
        self.reason = Some(why.as_str());
        self.flags.set(match why {
            Over::Timeout => Flag::RequestTimeout,
            Over::Idle => Flag::IdleTimeout,
            Over::MaxAge { .. } => Flag::MaxStreamAge,
        });
    }
}

impl Exchange {
    /// Whether it failed in a way that is not the client's doing: without an answer, with a 5xx, or with a gRPC status
    /// that OpenTelemetry's conventions call the server's error.
    fn is_failure(&self) -> bool {
        const SERVER_ERRORS: [u32; 6] = [2, 4, 12, 13, 14, 15];
        self.status.is_none_or(|status| status >= 500)
            || self.grpc_status.is_some_and(|status| SERVER_ERRORS.contains(&status))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.reason = Some("client_left");
            self.flags.set(Flag::ClientLeft);
        }
        if let Some(metrics) = &self.metrics {
            metrics.record(self.status.unwrap_or(0), self.is_failure(), self.started.elapsed());
        }
        self.end_span();
        self.log();
    }
}
