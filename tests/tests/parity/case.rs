//! The words in which [`cases`](crate::cases) are told.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use weft_tests::apps::Act;

/// The host that every request is for.
pub(crate) const HOST: &str = "shop.example";
/// A gRPC request of one empty message.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

/// A request, what the applications do with it, and what is to become of it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What it is about; unique.
    pub(crate) name: &'static str,
    /// The Service that is dialled.
    pub(crate) service: &'static str,
    /// The request.
    pub(crate) ask: Ask,
    /// What the applications do, in order; the last act is repeated. Empty: they answer 200.
    pub(crate) script: Vec<Act>,
    /// What is looked at.
    pub(crate) look: Look,
    /// What Envoy decides.
    pub(crate) envoy: &'static str,
    /// What Weft decides and why, where that is not what Envoy does.
    pub(crate) weft: Option<(&'static str, &'static str)>,
}

/// A request to send.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// The method.
    pub(crate) method: Method,
    /// The path, with its query.
    pub(crate) path: &'static str,
    /// All headers but the host.
    pub(crate) headers: HeaderMap,
    /// The body; empty: none.
    pub(crate) body: Bytes,
    /// Whether to speak HTTP/2.
    pub(crate) http2: bool,
}

/// What of an answer, or of many, is the decision.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Look {
    /// One request: who answered what, and what was changed on the way.
    Once,
    /// The same, and whether the answer took at least this long.
    Timed(Duration),
    /// The same, and the copy that is sent to the pod `mirror`; whether there is to be one.
    Mirrored(bool),
    /// So many requests: which answers came at all.
    Spread(usize),
    /// So many requests on one connection: how many went to each pod.
    Even(usize),
    /// So many requests at once: how many of each answer came.
    Crowd(usize),
    /// Requests with many values of this header: whether each value keeps its pod.
    Sticky(&'static str),
    /// A session in this cookie, or (without `true`) in this header: whether it keeps its pod.
    Session(&'static str, bool),
}

/// A case that looks at one request.
pub(crate) fn case(name: &'static str, service: &'static str, ask: Ask, decision: &'static str) -> Case {
    Case { name, service, ask, script: Vec::new(), look: Look::Once, envoy: decision, weft: None }
}

impl Case {
    /// What the applications do, in order.
    pub(crate) fn plays(self, script: impl IntoIterator<Item = Act>) -> Self {
        Self { script: script.into_iter().collect(), ..self }
    }

    /// Looks at this.
    pub(crate) fn look(self, look: Look) -> Self {
        Self { look, ..self }
    }

    /// Weft decides otherwise, for a reason.
    pub(crate) fn differs(self, weft: &'static str, reason: &'static str) -> Self {
        Self { weft: Some((weft, reason)), ..self }
    }
}

/// A request without a body.
pub(crate) fn ask(method: Method, path: &'static str) -> Ask {
    Ask { method, path, headers: HeaderMap::new(), body: Bytes::new(), http2: false }
}

/// A GET.
pub(crate) fn get(path: &'static str) -> Ask {
    ask(Method::GET, path)
}

/// A POST with a small body.
pub(crate) fn post(path: &'static str) -> Ask {
    Ask { body: Bytes::from_static(b"an order"), ..ask(Method::POST, path) }
}

/// A gRPC request.
pub(crate) fn grpc(path: &'static str) -> Ask {
    let call = Ask { body: Bytes::from_static(EMPTY_MESSAGE), http2: true, ..ask(Method::POST, path) };
    call.header("content-type", "application/grpc").header("te", "trailers")
}

impl Ask {
    /// With a header; the same name may come again.
    pub(crate) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// Over HTTP/2.
    pub(crate) fn http2(self) -> Self {
        Self { http2: true, ..self }
    }
}
