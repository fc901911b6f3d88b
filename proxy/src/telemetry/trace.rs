//! Traces: one span for each attempt outbound (CLIENT) and each request inbound (SERVER), with right parents.
//!
//! ```text
//! application ── its span id ──► outbound proxy ── ours ──► inbound proxy ── ours ──► application
//!                                CLIENT span                SERVER span
//! ```
//!
//! What makes the parents right is the headers: each proxy makes its own span a child of the id that it reads, and writes
//! its own id where it read the other. A request that is not sampled costs the reading of its headers and no more.
//! Finished spans go through a bounded queue to the control thread; see [`export`].

mod context;
mod export;
mod span;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::HeaderMap;
use opentelemetry::trace::{SpanId, SpanKind, TraceId};
use prometheus_client::metrics::counter::Counter;
use rand::Rng as _;
use tokio::sync::{Notify, mpsc};

use crate::config::Sampler;

use context::{Forms, Incoming, Outgoing};

pub(crate) use export::{Export, Origin};
pub(crate) use span::SpanEnd;

use span::Finished;

/// Makes the spans of one worker. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Tracer {
    /// None: nothing is exported, and the headers of requests are left as they are.
    sink: Option<Sink>,
}

#[derive(Clone, Debug)]
struct Sink {
    sampler: Sampler,
    spans: mpsc::Sender<Finished>,
    /// Told when there are as many spans as one call takes.
    ready: Arc<Notify>,
    dropped: Counter,
}

impl Sink {
    /// Never waits: a span for which there is no room is dropped and counted.
    fn put(&self, span: Finished) {
        if self.spans.try_send(span).is_err() {
            self.dropped.inc();
        }
        if self.spans.max_capacity() - self.spans.capacity() >= export::BATCH {
            self.ready.notify_one();
        }
    }
}

/// The part of a trace that one request has in this proxy. Unsampled ones allocate nothing.
#[derive(Debug)]
pub(crate) struct RequestTrace {
    /// None: there is no trace, and none was started.
    ids: Option<Ids>,
    /// How the ids came and go on.
    forms: Forms,
    /// What the proxy writes into the request; none: what is there stays.
    writes: Option<Write>,
    recording: Option<Box<Recording>>,
}

#[derive(Clone, Copy, Debug)]
struct Ids {
    trace: TraceId,
    /// The span that the request came with.
    parent: Option<SpanId>,
    /// The span of the present attempt.
    span: SpanId,
}

/// Which decision goes on with the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    Sampled,
    NotSampled,
}

/// A span under way.
#[derive(Debug)]
struct Recording {
    sink: Sink,
    kind: SpanKind,
    trace_state: String,
    /// The attempts before this one.
    resends: u32,
    /// None: it has ended.
    started: Option<(SystemTime, Instant)>,
}

impl Tracer {
    /// A tracer that leaves requests as they are.
    pub(crate) fn disabled() -> Self {
        Self { sink: None }
    }

    /// Reads what trace a request belongs to, starts one where it has none, and decides whether it is sampled.
    ///
    /// `kind` is CLIENT outbound and SERVER inbound.
    pub(crate) fn request(&self, kind: SpanKind, headers: &HeaderMap) -> RequestTrace {
        let incoming = Incoming::read(headers);
        let Some(sink) = &self.sink else {
            return RequestTrace::untouched(&incoming);
        };
        let (trace, parent) = match incoming.ids {
            Some((trace, parent)) => (trace, Some(parent)),
            None => (random_trace_id(), None),
        };
        let writes = match (incoming.sampled, sink.sampler) {
            (Some(sampled), Sampler { parent_based: true, .. }) => sampled.then_some(Write::Sampled),
            (_, sampler) if is_chosen(trace, sampler.ratio) => Some(Write::Sampled),
            // The decision of others stays, also where it is not ours.
            (Some(_), _) => None,
            // Who asked for no traces at all does not decide for applications that make their own.
            (None, Sampler { ratio: 0.0, .. }) => None,
            (None, _) => Some(Write::NotSampled),
        };
        if writes.is_none() {
            return RequestTrace::untouched(&incoming);
        }
        let recording = (writes == Some(Write::Sampled)).then(|| {
            Box::new(Recording {
                sink: sink.clone(),
                kind,
                trace_state: incoming.trace_state(headers),
                resends: 0,
                started: Some((SystemTime::now(), Instant::now())),
            })
        });
        let ids = Ids { trace, parent, span: random_span_id() };
        RequestTrace { ids: Some(ids), forms: incoming.forms, writes, recording }
    }
}

impl RequestTrace {
    fn untouched(incoming: &Incoming) -> Self {
        let ids = incoming.ids.map(|(trace, span)| Ids { trace, parent: None, span });
        Self { ids, forms: incoming.forms, writes: None, recording: None }
    }

    /// The trace's id, for logs; none where there is no trace.
    pub(crate) fn trace_id(&self) -> Option<TraceId> {
        self.ids.map(|ids| ids.trace)
    }

    /// Whether a span is recorded.
    pub(crate) fn is_sampled(&self) -> bool {
        self.recording.is_some()
    }

    /// Writes the ids of the present attempt into the request that goes on: W3C always, B3 in the forms that came in.
    /// Headers that were there keep their place.
    pub(crate) fn inject(&self, headers: &mut HeaderMap) {
        if let (Some(writes), Some(ids)) = (self.writes, self.ids) {
            let outgoing = Outgoing {
                trace: ids.trace,
                span: ids.span,
                parent: ids.parent,
                sampled: writes == Write::Sampled,
                forms: self.forms,
            };
            outgoing.write(headers);
        }
    }

    /// Begins the next attempt of the same request, as a span of its own beside the one before.
    pub(crate) fn next_attempt(&mut self) {
        if let (Some(recording), Some(ids)) = (&mut self.recording, &mut self.ids) {
            ids.span = random_span_id();
            recording.resends += 1;
            recording.started = Some((SystemTime::now(), Instant::now()));
        }
    }

    /// Ends the span of the present attempt and hands it to the export. Ending an attempt again does nothing.
    pub(crate) fn finish(&mut self, end: &SpanEnd<'_>) {
        let (Some(recording), Some(ids)) = (&mut self.recording, self.ids) else { return };
        let Some((start_time, started)) = recording.started.take() else { return };
        let span = Finished::new(ids, recording, start_time, started.elapsed(), end);
        recording.sink.put(span);
    }
}

/// Whether a trace is among the share `ratio` of all. By its id, as OpenTelemetry's `TraceIdRatioBased` does it, so that
/// every proxy chooses the same traces.
fn is_chosen(trace: TraceId, ratio: f64) -> bool {
    let low = u128::from_be_bytes(trace.to_bytes()) as u64;
    ratio >= 1.0 || (low >> 1) < (ratio.max(0.0) * (1_u64 << 63) as f64) as u64
}

/// Zero is no id (W3C Trace Context, 3.2.2.3).
fn random_trace_id() -> TraceId {
    TraceId::from_bytes(rand::rng().random_range(1..=u128::MAX).to_be_bytes())
}

fn random_span_id() -> SpanId {
    SpanId::from_bytes(rand::rng().random_range(1..=u64::MAX).to_be_bytes())
}
