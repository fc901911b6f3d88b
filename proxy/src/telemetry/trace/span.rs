//! What a span tells, by OpenTelemetry's semantic conventions for HTTP.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, Version};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use opentelemetry_semantic_conventions::trace as semconv;

use super::{Ids, Recording};

/// From this length on, a path or a host name is cut.
const TEXT_MAX: usize = 1024;

/// What is known of a request when its span ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanEnd<'a> {
    /// The request's method.
    pub(crate) method: &'a Method,
    /// The name or the path template of the rule that matched; never the path of the request.
    pub(crate) route: Option<&'a Arc<str>>,
    /// `http` or `https`, as the application meant it.
    pub(crate) scheme: &'static str,
    /// The request's path, without the query, which often carries secrets.
    pub(crate) path: &'a str,
    /// The host that the request is for, without the port; empty if it names none.
    pub(crate) host: &'a str,
    /// The port that was dialled.
    pub(crate) port: u16,
    /// The HTTP version that the application speaks or is spoken to in.
    pub(crate) version: Version,
    /// The status of the answer; none where there was none.
    pub(crate) status: Option<u16>,
    /// Why there was no answer, or why the proxy made it: a short name, such as `connect_failed`.
    pub(crate) error: Option<&'static str>,
    /// Which fault was injected: `delay` or `abort`.
    pub(crate) fault: Option<&'static str>,
    /// The other end of the connection, beyond the proxies.
    pub(crate) peer: Option<SocketAddr>,
    /// The other side's SPIFFE id.
    pub(crate) peer_identity: Option<&'a str>,
    /// The name of a destination that has no sidecar to report itself.
    pub(crate) peer_service: Option<&'a str>,
}

/// A span that has ended, as it waits for its export. Smaller, and made faster, than what is exported.
#[derive(Debug)]
pub(super) struct Finished {
    ids: Ids,
    kind: SpanKind,
    trace_state: String,
    resends: u32,
    start_time: SystemTime,
    duration: Duration,
    method: Method,
    route: Option<Arc<str>>,
    scheme: &'static str,
    path: String,
    host: String,
    port: u16,
    version: Version,
    status: Option<u16>,
    error: Option<&'static str>,
    fault: Option<&'static str>,
    peer: Option<SocketAddr>,
    peer_identity: Option<String>,
    peer_service: Option<String>,
}

impl Finished {
    pub(super) fn new(
        ids: Ids,
        recording: &Recording,
        start_time: SystemTime,
        duration: Duration,
        end: &SpanEnd<'_>,
    ) -> Self {
        Self {
            ids,
            kind: recording.kind.clone(),
            trace_state: recording.trace_state.clone(),
            resends: recording.resends,
            start_time,
            duration,
            method: end.method.clone(),
            route: end.route.cloned(),
            scheme: end.scheme,
            path: cut(end.path),
            host: cut(end.host),
            port: end.port,
            version: end.version,
            status: end.status,
            error: end.error,
            fault: end.fault,
            peer: end.peer,
            peer_identity: end.peer_identity.map(ToOwned::to_owned),
            peer_service: end.peer_service.map(ToOwned::to_owned),
        }
    }

    /// As the SDK's exporters take it.
    pub(super) fn into_span_data(self, scope: &InstrumentationScope) -> SpanData {
        let trace_state = TraceState::from_str(&self.trace_state).unwrap_or_default();
        SpanData {
            span_context: SpanContext::new(self.ids.trace, self.ids.span, TraceFlags::SAMPLED, false, trace_state),
            parent_span_id: self.ids.parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: self.ids.parent.is_some(),
            name: self.name(),
            status: self.outcome(),
            attributes: self.attributes(),
            span_kind: self.kind,
            start_time: self.start_time,
            end_time: self.start_time + self.duration,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            instrumentation_scope: scope.clone(),
        }
    }

    /// `{method} {route}`, else `{method}`.
    fn name(&self) -> Cow<'static, str> {
        let method = known_method(&self.method).unwrap_or("HTTP");
        match &self.route {
            Some(route) => format!("{method} {route}").into(),
            None => method.into(),
        }
    }

    /// A server's 4xx is the client's mistake and no error of its own; a client's is one.
    fn is_error(&self) -> bool {
        let least = if self.kind == SpanKind::Server { 500 } else { 400 };
        self.error.is_some() || self.status.is_none_or(|status| status >= least)
    }

    fn outcome(&self) -> Status {
        if self.is_error() { Status::error(self.error.unwrap_or_default()) } else { Status::Unset }
    }

    fn attributes(&self) -> Vec<KeyValue> {
        let mut attributes = Vec::with_capacity(16);
        let mut add = |key: &'static str, value: Value| attributes.push(KeyValue::new(key, value));
        match known_method(&self.method) {
            Some(method) => add(semconv::HTTP_REQUEST_METHOD, method.into()),
            None => {
                add(semconv::HTTP_REQUEST_METHOD, "_OTHER".into());
                add(semconv::HTTP_REQUEST_METHOD_ORIGINAL, cut(self.method.as_str()).into());
            }
        }
        if self.kind == SpanKind::Server {
            add(semconv::URL_PATH, self.path.clone().into());
            add(semconv::URL_SCHEME, self.scheme.into());
            if let Some(route) = &self.route {
                add(semconv::HTTP_ROUTE, route.to_string().into());
            }
        } else {
            add(semconv::URL_FULL, self.url().into());
            if self.resends > 0 {
                add(semconv::HTTP_REQUEST_RESEND_COUNT, i64::from(self.resends).into());
            }
        }
        if !self.host.is_empty() {
            add(semconv::SERVER_ADDRESS, self.host.clone().into());
        }
        add(semconv::SERVER_PORT, i64::from(self.port).into());
        if let Some(version) = protocol_version(self.version) {
            add(semconv::NETWORK_PROTOCOL_VERSION, version.into());
        }
        if let Some(status) = self.status {
            add(semconv::HTTP_RESPONSE_STATUS_CODE, i64::from(status).into());
        }
        if self.is_error() {
            let status = || self.status.map_or_else(|| "_OTHER".to_owned(), |status| status.to_string());
            add(semconv::ERROR_TYPE, self.error.map_or_else(|| status().into(), Value::from));
        }
        if let Some(fault) = self.fault {
            add("weft.fault", fault.into());
        }
        if let Some(peer) = self.peer {
            add(semconv::NETWORK_PEER_ADDRESS, peer.ip().to_string().into());
            add(semconv::NETWORK_PEER_PORT, i64::from(peer.port()).into());
        }
        if let Some(identity) = &self.peer_identity {
            add("weft.peer.identity", identity.clone().into());
        }
        if let Some(service) = &self.peer_service {
            // Deprecated, and still what Jaeger draws the dependency graph by.
            add("peer.service", service.clone().into());
        }
        attributes
    }

    fn url(&self) -> String {
        let Self { scheme, host, port, path, .. } = self;
        // An IPv6 address stands in brackets.
        let (open, close) = if host.contains(':') && !host.starts_with('[') { ("[", "]") } else { ("", "") };
        format!("{scheme}://{open}{host}{close}:{port}{path}")
    }
}

/// The methods of RFC 9110 and RFC 5789; others could be anything.
fn known_method(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

fn protocol_version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(TEXT_MAX)).unwrap_or_default().to_owned()
}
