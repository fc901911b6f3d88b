//! Applications on HTTP.

use std::convert::Infallible;

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use weft_cli::world::Pod;

use super::serve;

/// The path at which [`h2c`] streams back each message as it comes, with gRPC's trailers.
pub const GRPC_ECHO: &str = "/echo.Echo/Stream";

type Body = BoxBody<Bytes, hyper::Error>;

/// An HTTP/1 server that answers with its pod's name; the request's body follows, the headers are sent back as
/// `x-seen-...`.
///
/// # Errors
/// Where the port cannot be opened.
pub async fn h1(pod: &Pod, port: u16) -> Result<()> {
    let name = pod.name().to_owned();
    serve(pod, port, move |stream| {
        let name = name.clone();
        async move {
            let service = service_fn(move |request| answer(name.clone(), request));
            let mut server = hyper::server::conn::http1::Builder::new();
            server.half_close(true).auto_date_header(false);
            Ok(server.serve_connection(TokioIo::new(stream), service).with_upgrades().await?)
        }
    })
    .await
}

/// The same over HTTP/2 with prior knowledge, and the streaming echo at [`GRPC_ECHO`].
///
/// # Errors
/// Where the port cannot be opened.
pub async fn h2c(pod: &Pod, port: u16) -> Result<()> {
    let name = pod.name().to_owned();
    serve(pod, port, move |stream| {
        let name = name.clone();
        async move {
            let service = service_fn(move |request| answer(name.clone(), request));
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            Ok(server.serve_connection(TokioIo::new(stream), service).await?)
        }
    })
    .await
}

/// An HTTP/1 server that answers nothing but `name`, for counting.
///
/// # Errors
/// Where the port cannot be opened.
pub async fn named(pod: &Pod, port: u16, name: &'static str) -> Result<()> {
    serve(pod, port, move |stream: TcpStream| async move {
        let service = service_fn(move |_: Request<Incoming>| async move {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(name.as_bytes()))))
        });
        Ok(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?)
    })
    .await
}

async fn answer(pod: String, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    if request.uri().path() == GRPC_ECHO {
        return Ok(stream_back(request));
    }
    if request.headers().contains_key(header::UPGRADE) {
        return Ok(upgrade(request));
    }
    let (parts, body) = request.into_parts();
    let received = body.collect().await?;
    let trailers = received.trailers().cloned();
    let text = [pod.as_bytes(), b"\n", &received.to_bytes()].concat();
    let body = Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {});
    let mut response = Response::new(body.with_trailers(async move { trailers.map(Ok) }).boxed());
    for (name, value) in &parts.headers {
        if let Ok(seen) = http::HeaderName::try_from(format!("x-seen-{name}")) {
            response.headers_mut().append(seen, value.clone());
        }
    }
    Ok(response)
}

/// Sends each frame back as it comes, then `grpc-status`.
fn stream_back(request: Request<Incoming>) -> Response<Body> {
    let body = request.into_body();
    let trailers = HeaderMap::from_iter([
        (http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0")),
        (http::HeaderName::from_static("grpc-message"), HeaderValue::from_static("all echoed")),
    ]);
    let frames = futures::stream::unfold(Some((body, trailers)), |state| async {
        let (mut body, trailers) = state?;
        match body.frame().await {
            Some(Ok(frame)) if frame.is_data() => Some((Ok(frame), Some((body, trailers)))),
            Some(Err(error)) => Some((Err(error), None)),
            _ => Some((Ok(Frame::trailers(trailers)), None)),
        }
    });
    let mut response = Response::new(StreamBody::new(Box::pin(frames) as SyncStream).boxed());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

type SyncStream = std::pin::Pin<Box<dyn futures::Stream<Item = Result<Frame<Bytes>, hyper::Error>> + Send + Sync>>;

/// Switches to whatever protocol was asked for; in it, everything is echoed.
fn upgrade(mut request: Request<Incoming>) -> Response<Body> {
    let protocol = request.headers().get(header::UPGRADE).cloned();
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let stream = TokioIo::new(upgraded.await?);
        let (mut read, mut write) = tokio::io::split(stream);
        tokio::io::copy(&mut read, &mut write).await?;
        tokio::io::AsyncWriteExt::shutdown(&mut write).await?;
        anyhow::Ok(())
    });
    let empty = Full::default().map_err(|never: Infallible| match never {});
    let mut response = Response::new(empty.boxed());
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Some(protocol) = protocol {
        response.headers_mut().insert(header::UPGRADE, protocol);
    }
    response
}
