//! The headers that carry a trace: W3C Trace Context (`traceparent`, `tracestate`) and B3 (`b3`, `x-b3-*`).
//!
//! Read strictly: what is malformed counts as not there. Where both forms came in, W3C wins.

#[cfg(test)]
mod tests;

use std::io::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanId, TraceId};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// Version, trace id, parent id, flags, and the dashes between them.
const TRACEPARENT_LEN: usize = 55;

/// In which forms a trace came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Forms {
    w3c: bool,
    b3_single: bool,
    b3_multi: bool,
    /// B3's debug flag, which is sampled and more.
    b3_debug: bool,
}

/// What a request says about its trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) ids: Option<(TraceId, SpanId)>,
    /// None: the decision is left to us.
    pub(super) sampled: Option<bool>,
    pub(super) forms: Forms,
}

impl Incoming {
    /// Reads the headers of a request.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let w3c = traceparent(headers);
        let b3 = Self::b3_single(headers).or_else(|| Self::b3_multi(headers)).unwrap_or_default();
        let forms = Forms { w3c: w3c.is_some(), ..b3.forms };
        match w3c {
            Some((trace, span, sampled)) => Self { ids: Some((trace, span)), sampled: Some(sampled), forms },
            None => Self { forms, ..b3 },
        }
    }

    /// The vendors' part, which goes on as it is; it belongs to `traceparent` and is nothing without.
    pub(super) fn trace_state(&self, headers: &HeaderMap) -> String {
        if !self.forms.w3c {
            return String::new();
        }
        let lists: Vec<&str> = headers.get_all(TRACESTATE).iter().filter_map(|value| value.to_str().ok()).collect();
        lists.join(",")
    }

    /// `{trace id}-{span id}[-{state}[-{parent span id}]]`, or the state alone.
    fn b3_single(headers: &HeaderMap) -> Option<Self> {
        let text = only(headers, &B3)?;
        let forms = Forms { b3_single: true, ..Forms::default() };
        if let Some((sampled, b3_debug)) = b3_state(text) {
            return Some(Self { ids: None, sampled: Some(sampled), forms: Forms { b3_debug, ..forms } });
        }
        let mut parts = text.split('-');
        let ids = (b3_trace_id(parts.next()?)?, span_id(parts.next()?)?);
        let (sampled, b3_debug) = match parts.next() {
            Some(state) => b3_state(state).map(|(sampled, debug)| (Some(sampled), debug))?,
            None => (None, false),
        };
        let well_formed = parts.next().is_none_or(|parent| span_id(parent).is_some()) && parts.next().is_none();
        well_formed.then_some(Self { ids: Some(ids), sampled, forms: Forms { b3_debug, ..forms } })
    }

    fn b3_multi(headers: &HeaderMap) -> Option<Self> {
        let debug = only(headers, &B3_FLAGS).is_some_and(|flags| flags == "1");
        let sampled = match only(headers, &B3_SAMPLED) {
            _ if debug => Some(true),
            Some("1" | "true") => Some(true),
            Some("0" | "false") => Some(false),
            _ => None,
        };
        let trace = only(headers, &B3_TRACE_ID).and_then(b3_trace_id);
        let ids = trace.zip(only(headers, &B3_SPAN_ID).and_then(span_id));
        let forms = Forms { b3_multi: true, b3_debug: debug, ..Forms::default() };
        (ids.is_some() || sampled.is_some()).then_some(Self { ids, sampled, forms })
    }
}

/// What a request says when it goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) sampled: bool,
    pub(super) forms: Forms,
}

impl Outgoing {
    /// Writes W3C, and B3 in the forms that came in. Headers that are there are replaced in their place.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        if !self.forms.w3c {
            // It belongs to no trace, or to one that could not be read (W3C Trace Context, 4.3).
            weft_rules::headers::remove(headers, &TRACESTATE);
        }
        let mut line = [0; TRACEPARENT_LEN];
        // The line has exactly this length.
        let _ = write!(line.as_mut_slice(), "00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.sampled));
        insert(headers, TRACEPARENT, &line);
        if self.forms.b3_single {
            self.write_b3_single(headers);
        }
        if self.forms.b3_multi {
            self.write_b3_multi(headers);
        }
    }

    fn write_b3_single(&self, headers: &mut HeaderMap) {
        let state = if self.forms.b3_debug { "d" } else { self.b3_sampled() };
        let mut text = format!("{}-{}-{state}", self.b3_trace_id(), self.span);
        if let Some(parent) = self.parent {
            text.push_str(&format!("-{parent}"));
        }
        insert(headers, B3, text.as_bytes());
    }

    fn write_b3_multi(&self, headers: &mut HeaderMap) {
        insert(headers, B3_TRACE_ID, self.b3_trace_id().as_bytes());
        insert(headers, B3_SPAN_ID, self.span.to_string().as_bytes());
        if let Some(parent) = self.parent {
            insert(headers, B3_PARENT_SPAN_ID, parent.to_string().as_bytes());
        }
        // The debug flag says it already, and stays.
        if !self.forms.b3_debug {
            insert(headers, B3_SAMPLED, self.b3_sampled().as_bytes());
        }
    }

    fn b3_sampled(&self) -> &'static str {
        if self.sampled { "1" } else { "0" }
    }

    /// 64 bits where it has no more, as it came.
    fn b3_trace_id(&self) -> String {
        let id = u128::from_be_bytes(self.trace.to_bytes());
        match u64::try_from(id) {
            Ok(short) => format!("{short:016x}"),
            Err(_) => format!("{id:032x}"),
        }
    }
}

/// W3C Trace Context, 3.2. Of later versions the part that this one has is read.
fn traceparent(headers: &HeaderMap) -> Option<(TraceId, SpanId, bool)> {
    let text = only(headers, &TRACEPARENT)?;
    let (version, rest) = text.split_once('-')?;
    let (trace, rest) = rest.split_once('-')?;
    let (parent, rest) = rest.split_once('-')?;
    let (flags, more) = rest.split_once('-').map_or((rest, None), |(flags, more)| (flags, Some(more)));
    let (version, flags) = (hex(version, 2)?, hex(flags, 2)?);
    if version == 0xff || (version == 0 && more.is_some()) {
        return None;
    }
    let trace = TraceId::from_bytes(hex(trace, 32)?.to_be_bytes());
    (trace != TraceId::INVALID).then_some((trace, span_id(parent)?, flags & 1 == 1))
}

/// Whether sampled, and whether for debugging.
fn b3_state(text: &str) -> Option<(bool, bool)> {
    match text {
        "0" => Some((false, false)),
        "1" => Some((true, false)),
        "d" => Some((true, true)),
        _ => None,
    }
}

fn b3_trace_id(text: &str) -> Option<TraceId> {
    let id = hex(text, 32).or_else(|| hex(text, 16))?;
    (id != 0).then(|| TraceId::from_bytes(id.to_be_bytes()))
}

fn span_id(text: &str) -> Option<SpanId> {
    let id = u64::try_from(hex(text, 16)?).ok()?;
    (id != 0).then(|| SpanId::from_bytes(id.to_be_bytes()))
}

/// So many lower-case digits; at most 32.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let well_formed = text.len() == digits && text.bytes().all(is_hex);
    well_formed.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// The value of a header that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

/// `value` is made of digits and dashes, which a header always takes.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(name, value);
    }
}
