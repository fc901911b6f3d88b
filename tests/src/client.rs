//! Clients inside a pod's namespace: bare bytes, HTTP/1 and HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weft_cli::world::Pod;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(15);

/// A request's body.
pub type Body = BoxBody<Bytes, Infallible>;

/// No body.
pub fn empty() -> Body {
    Empty::new().boxed()
}

/// A body that is there at once.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// Connects from inside the pod. The stream can be used anywhere.
///
/// # Errors
/// Where nobody answers within 15 seconds.
pub async fn connect(pod: &Pod, address: SocketAddr) -> Result<TcpStream> {
    let dial = pod.run(async move { Ok(TcpStream::connect(address).await?) });
    let stream = timeout(ANSWER, dial).await.map_err(|_| anyhow!("no connection within {ANSWER:?}"));
    let stream =
        stream.and_then(|result| result).with_context(|| format!("connect to {address} from {}", pod.name()))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads until what was read ends with `until`.
///
/// # Errors
/// Where the stream ends or pauses for 15 seconds before that; with what came.
pub async fn read_until(stream: &mut TcpStream, until: impl AsRef<[u8]>) -> Result<Vec<u8>> {
    let mut received = Vec::new();
    while !received.ends_with(until.as_ref()) {
        let came = || format!("after {:?}", String::from_utf8_lossy(&received));
        let byte = timeout(ANSWER, stream.read_u8()).await.map_err(|_| anyhow!("silence"));
        let byte = byte.and_then(|read| Ok(read?)).with_context(came)?;
        received.push(byte);
    }
    Ok(received)
}

/// Reads until the stream ends.
///
/// # Errors
/// Where it is reset, or does not end within 15 seconds.
pub async fn read_to_end(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut received = Vec::new();
    timeout(ANSWER, stream.read_to_end(&mut received)).await.context("the stream does not end")??;
    Ok(received)
}

/// Sends bytes on a fresh connection and reads until the answer ends with `until`.
///
/// # Errors
/// As for [`connect`] and [`read_until`].
pub async fn exchange(
    pod: &Pod,
    address: SocketAddr,
    send: impl AsRef<[u8]>,
    until: impl AsRef<[u8]>,
) -> Result<Vec<u8>> {
    let mut stream = connect(pod, address).await?;
    stream.write_all(send.as_ref()).await?;
    read_until(&mut stream, until).await
}

/// Sends bytes on a fresh connection, half-closes it and reads all that comes back.
///
/// # Errors
/// As for [`connect`] and [`read_to_end`].
pub async fn send_and_end(pod: &Pod, address: SocketAddr, send: impl AsRef<[u8]>) -> Result<Vec<u8>> {
    let mut stream = connect(pod, address).await?;
    stream.write_all(send.as_ref()).await?;
    stream.shutdown().await?;
    read_to_end(&mut stream).await
}

/// An HTTP/1.1 connection. Header names keep their case.
///
/// # Errors
/// As for [`connect`].
pub async fn http1(pod: &Pod, address: SocketAddr) -> Result<http1::SendRequest<Body>> {
    let stream = connect(pod, address).await?;
    pod.run(async move {
        let mut builder = http1::Builder::new();
        builder.preserve_header_case(true);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        drop(tokio::spawn(connection.with_upgrades()));
        Ok(sender)
    })
    .await
}

/// An HTTP/2 connection with prior knowledge.
///
/// # Errors
/// As for [`connect`].
pub async fn http2(pod: &Pod, address: SocketAddr) -> Result<http2::SendRequest<Body>> {
    let stream = connect(pod, address).await?;
    pod.run(async move {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        drop(tokio::spawn(connection));
        Ok(sender)
    })
    .await
}

/// A GET for HTTP/1.1.
///
/// # Errors
/// Where the path is none.
pub fn get_request(path: &str) -> Result<Request<Body>> {
    Ok(Request::get(path).header(header::HOST, "api").body(empty())?)
}

/// GETs a path on a fresh HTTP/1.1 connection: the status and the body.
///
/// # Errors
/// Where no whole answer comes within 15 seconds.
pub async fn get(pod: &Pod, address: SocketAddr, path: &str) -> Result<(StatusCode, String)> {
    let mut sender = http1(pod, address).await?;
    let response = whole(sender.send_request(get_request(path)?)).await?;
    Ok((response.status(), String::from_utf8_lossy(response.body()).into_owned()))
}

/// Waits for a response and all of its body.
///
/// # Errors
/// Where it does not come within 15 seconds.
pub async fn whole(response: impl Future<Output = hyper::Result<Response<Incoming>>>) -> Result<Response<Bytes>> {
    let exchange = async {
        let (parts, body) = response.await?.into_parts();
        Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
    };
    timeout(ANSWER, exchange).await.context("no whole answer within 15 s")?
}

/// An answer as far as it came.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as text.
    pub body: String,
    /// The trailers; `None`: the body broke off.
    pub trailers: Option<HeaderMap>,
    /// From the request's first byte to the answer's last.
    pub elapsed: Duration,
}

impl Answer {
    /// A header, or else a trailer.
    pub fn header(&self, name: &str) -> Option<&str> {
        let trailer = || self.trailers.as_ref()?.get(name);
        self.headers.get(name).or_else(trailer)?.to_str().ok()
    }

    /// Why a proxy answered by itself (`x-weft-reason`); empty: it did not.
    pub fn reason(&self) -> &str {
        self.header("x-weft-reason").unwrap_or_default()
    }

    /// Asserts the status and the reason.
    ///
    /// # Errors
    /// With the whole answer.
    pub fn expect(&self, status: u16, reason: &str) -> Result<()> {
        let as_wanted = self.status == status && self.reason() == reason;
        anyhow::ensure!(as_wanted, "expected {status} {reason:?}, not {self:?}");
        Ok(())
    }
}

/// Sends a request on a fresh connection (HTTP/2 where that is its version) and takes what comes back, whole or not.
///
/// # Errors
/// Where there are no headers of an answer, or no end of it, within 15 seconds.
pub async fn ask(pod: &Pod, address: SocketAddr, request: Request<Body>) -> Result<Answer> {
    let begun = Instant::now();
    let exchange = async {
        let response = match request.version() {
            Version::HTTP_2 => http2(pod, address).await?.send_request(request).await?,
            _ => http1(pod, address).await?.send_request(request).await?,
        };
        let (parts, mut incoming) = response.into_parts();
        let (mut body, mut trailers) = (Vec::new(), Some(HeaderMap::new()));
        while let Some(frame) = incoming.frame().await {
            match frame.map(hyper::body::Frame::into_data) {
                Ok(Ok(data)) => body.extend_from_slice(&data),
                Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
                Err(_) => {
                    trailers = None;
                    break;
                }
            }
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        let (status, headers) = (parts.status.as_u16(), parts.headers);
        anyhow::Ok(Answer { status, headers, body, trailers, elapsed: begun.elapsed() })
    };
    timeout(ANSWER, exchange).await.context("no whole answer within 15 s")?
}
