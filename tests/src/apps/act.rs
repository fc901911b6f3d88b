//! One answer of an application on a [`Stage`](super::Stage): well, late, broken off or none at all.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use tokio::time::sleep;

/// An application that never answers gives up after this, so that no trial is held up for ever.
const NEVER: Duration = Duration::from_secs(30);

pub(super) type Body = BoxBody<Bytes, Failure>;
pub(super) type Played = Result<Response<Body>, Failure>;

/// Why an application breaks off. A type of its own: the compiler finds boxed errors not general enough.
#[derive(Debug, thiserror::Error)]
#[error("the application breaks off")]
pub(super) struct Failure(#[source] pub(super) Box<dyn Error + Send + Sync>);

impl Failure {
    fn of<T>(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Result<T, Self> {
        Err(Self(cause.into()))
    }
}

/// What an application does with one request. The default: 200, with the pod's name for a body.
#[derive(Clone, Debug, Default)]
pub struct Act {
    after: Duration,
    status: StatusCode,
    headers: HeaderMap,
    body: Option<Bytes>,
    trailers: HeaderMap,
    flaw: Flaw,
}

/// What is wrong with the answer.
#[derive(Clone, Copy, Debug, Default)]
enum Flaw {
    #[default]
    None,
    Reset,
    Refuse,
    CutShort,
    Stall,
    Silence,
    Lie,
}

impl Act {
    /// Answers with this status, which must be one.
    pub fn status(status: u16) -> Self {
        Self { status: StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT), ..Self::default() }
    }

    /// Resets the connection instead of an answer (of HTTP/2: the stream).
    pub fn reset() -> Self {
        Self { flaw: Flaw::Reset, ..Self::default() }
    }

    /// Refuses the HTTP/2 stream (`REFUSED_STREAM`): it was not looked at.
    pub fn refuse() -> Self {
        Self { flaw: Flaw::Refuse, ..Self::default() }
    }

    /// Begins with an answer and resets the connection in the middle of its body.
    pub fn cut_short() -> Self {
        Self { flaw: Flaw::CutShort, ..Self::default() }
    }

    /// Sends the headers of an answer, and nothing more for 30 s.
    pub fn stall() -> Self {
        Self { flaw: Flaw::Stall, ..Self::default() }
    }

    /// Sends nothing at all for 30 s.
    pub fn silence() -> Self {
        Self { flaw: Flaw::Silence, ..Self::default() }
    }

    /// Says that the body is longer than it is, and ends.
    pub fn lie() -> Self {
        Self { flaw: Flaw::Lie, ..Self::default() }
    }

    /// A gRPC answer: one empty message, then this status among the trailers.
    pub fn grpc(status: u8) -> Self {
        let message = Bytes::from_static(&[0; 5]);
        Self::default()
            .header("content-type", "application/grpc")
            .body(message)
            .trailer("grpc-status", &status.to_string())
    }

    /// A gRPC answer that is nothing but headers ("trailers only").
    pub fn grpc_headers(status: u8) -> Self {
        let answer = Self::default().header("content-type", "application/grpc").body(Bytes::new());
        answer.header("grpc-status", &status.to_string())
    }

    /// The same, later.
    pub fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }

    /// With a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        append(&mut self.headers, name, value);
        self
    }

    /// With a trailer.
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        append(&mut self.trailers, name, value);
        self
    }

    /// With this body instead of the pod's name.
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: Some(body.into()), ..self }
    }

    /// The headers that it answers with.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(super) async fn play(self, pod: &str, reset_connection: impl FnOnce()) -> Played {
        sleep(self.after).await;
        let whole = self.body.unwrap_or_else(|| Bytes::copy_from_slice(pod.as_bytes()));
        let mut length = None;
        let body = match self.flaw {
            Flaw::None if self.trailers.is_empty() => full(whole),
            Flaw::None => full(whole).with_trailers(async move { Some(Ok(self.trailers)) }).boxed(),
            Flaw::Reset => {
                reset_connection();
                return Failure::of("a reset was asked for");
            }
            Flaw::Refuse => return Failure::of(h2::Error::from(h2::Reason::REFUSED_STREAM)),
            Flaw::Silence => {
                sleep(NEVER).await;
                return Failure::of("silence was asked for");
            }
            Flaw::CutShort => {
                reset_connection();
                length = Some(2 * whole.len());
                then(whole, async { Some(Failure::of("a cut was asked for")) })
            }
            Flaw::Stall => {
                length = Some(2 * whole.len());
                then(Bytes::new(), async {
                    sleep(NEVER).await;
                    Some(Failure::of("a stall was asked for"))
                })
            }
            Flaw::Lie => {
                length = Some(2 * whole.len());
                then(whole, async { None })
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        if let Some(length) = length {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        Ok(response)
    }
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed()
}

/// `begin`, which has reached the wire before `rest` goes on.
fn then(
    begin: Bytes,
    rest: impl Future<Output = Option<Result<Frame<Bytes>, Failure>>> + Send + Sync + 'static,
) -> Body {
    let first = stream::iter((!begin.is_empty()).then(|| Ok(Frame::data(begin))));
    let rest = stream::once(async {
        sleep(Duration::from_millis(50)).await;
        rest.await
    });
    let rest = futures::StreamExt::filter_map(rest, std::future::ready);
    StreamBody::new(Box::pin(futures::StreamExt::chain(first, rest))).boxed()
}

fn append(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        headers.append(name, value);
    }
}
