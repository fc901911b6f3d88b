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

use super::answer::Reason;
use super::body::{Body, OnEnd};
use super::upstream::{EndpointState, SendError};
use crate::inbound::Caller;
use crate::telemetry::access_log::Entry;
use crate::telemetry::metrics::{Direction, RequestMetrics};
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
    reason: Option<&'static str>,
    _admitted: Admitted,
}

/// What a span or an access-log line says of a request.
struct Details {
    method: Method,
    path: String,
    host: String,
    version: Version,
    route: Option<Arc<str>>,
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
            reason: None,
            _admitted: admitted,
        }
    }

    /// The rule that the request falls under.
    pub(crate) fn matched(&mut self, rule: &Arc<str>) {
        if let Some(details) = &mut self.details {
            details.route = Some(Arc::clone(rule));
        }
    }

    /// The Service that the request is for, where no endpoint is known yet.
    pub(crate) fn towards(&mut self, service: &str) {
        if self.metrics.is_none() {
            self.metrics = Some(self.worker.upstreams.unanswered(service));
        }
    }

    /// The request goes to this endpoint, with the trace's headers.
    pub(crate) fn attempt(&mut self, endpoint: &Rc<EndpointState>, headers: &mut HeaderMap) {
        if self.endpoint.is_some() {
            self.trace.next_attempt();
        }
        if let Some(metrics) = &endpoint.metrics {
            self.metrics = Some(Arc::clone(metrics));
        }
        self.endpoint = Some(Rc::clone(endpoint));
        self.trace.inject(headers);
    }

    /// The endpoint did not answer.
    pub(crate) fn attempt_failed(&mut self, error: &SendError) {
        self.reason = Some(if error.is_unhandled() { "connect_failed" } else { "upstream_reset" });
        self.end_span();
        self.reason = None;
    }

    /// An endpoint answered; reports when the answer's body has ended.
    pub(crate) fn answered(mut self, request: &Parts, response: Response<Body>) -> Response<Body> {
        self.status(request, response.status().as_u16());
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
            peer,
            peer_identity: peer_identity(self.caller.as_ref(), self.endpoint.as_ref()),
            peer_service: unmeshed.map(|endpoint| &*endpoint.cluster).filter(|cluster| !cluster.is_empty()),
        });
    }

    fn log(&self) {
        let Some(details) = &self.details else { return };
        let destination = match (&self.caller, &self.endpoint) {
            (Some(caller), _) => caller.service.as_str(),
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
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.reason = Some("client_left");
        }
        if let Some(metrics) = &self.metrics {
            metrics.record(self.status.unwrap_or(0), self.started.elapsed());
        }
        self.end_span();
        self.log();
    }
}
