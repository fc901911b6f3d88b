//! The outbound itinerary: what the application dials, from the kernel's redirect to an endpoint.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::TcpStream;

use crate::config::UnknownDestination;
use crate::discovery::{Answer, Destination, Protocol};
use crate::path::accept::{self, OriginalDestination};
use crate::path::detect::{self, Detected};
use crate::path::http::{self, Version};
use crate::path::prefixed::Prefixed;
use crate::path::{opaque, route, socket};
use crate::telemetry::metrics::{Direction, Refusal, WireProtocol};
use crate::worker::Worker;

/// Serves one connection that the application opened.
pub(crate) async fn serve(worker: Rc<Worker>, stream: TcpStream) {
    let dialled = match accept::original_destination(&stream) {
        Ok(dialled) => dialled,
        Err(error) => {
            worker.telemetry.metrics.refused(Refusal::NotRedirected);
            return tracing::warn!(%error, "an outbound connection is refused");
        }
    };
    if let Err(error) = forward(&worker, stream, dialled).await {
        tracing::debug!(destination = %dialled.0, %error, "an outbound connection ended in an error");
    }
}

async fn forward(worker: &Rc<Worker>, stream: TcpStream, dialled: OriginalDestination) -> io::Result<()> {
    match worker.directory.destination(dialled.0).await {
        Answer::Known(destination) => to_mesh(worker, stream, destination).await,
        Answer::Unknown | Answer::Unavailable => to_unknown(worker, stream, dialled).await,
    }
}

async fn to_mesh(worker: &Rc<Worker>, mut stream: TcpStream, destination: Arc<Destination>) -> io::Result<()> {
    let protocol = destination.traffic().protocol;
    let mut read = BytesMut::new();
    let detected = match protocol {
        Protocol::Http => detect::http_version(&mut stream, &mut read).await?,
        Protocol::Opaque => Detected::Opaque,
        Protocol::Detect => detect::detect(&mut stream, &mut read, worker.config.outbound.detect_timeout).await?,
    };
    match detected {
        Detected::Http1 => serve_http(worker, stream, read, Version::Http1, destination).await,
        Detected::Http2 => serve_http(worker, stream, read, Version::Http2, destination).await,
        Detected::Tls | Detected::Opaque => opaque::outbound(worker, stream, read.freeze(), &destination, None).await?,
        Detected::TimedOut => {
            worker.telemetry.metrics.detect_timed_out();
            opaque::outbound(worker, stream, read.freeze(), &destination, None).await?;
        }
        Detected::Silent => match opaque::server_first(worker, stream, &destination).await? {
            opaque::Spoke::Done => {}
            opaque::Spoke::Client(stream, read, version) => {
                serve_http(worker, stream, read, version, destination).await;
            }
        },
        Detected::Closed => {}
    }
    Ok(())
}

async fn serve_http(
    worker: &Rc<Worker>,
    stream: TcpStream,
    read: BytesMut,
    version: Version,
    destination: Arc<Destination>,
) {
    let _open = worker.telemetry.connection(Direction::Outbound, WireProtocol::Http);
    let handle = {
        let worker = Rc::clone(worker);
        async move |request| route::outbound(&worker, &destination, request).await
    };
    http::serve(Prefixed::new(read.freeze(), stream), version, &worker.drain, handle).await;
}

/// What nobody has described goes on as it is, or is refused, as `WEFT_UNKNOWN_DESTINATION` says.
async fn to_unknown(worker: &Rc<Worker>, stream: TcpStream, dialled: OriginalDestination) -> io::Result<()> {
    match worker.config.outbound.unknown_destination {
        UnknownDestination::Passthrough => opaque::passthrough(worker, stream, dialled.0).await,
        UnknownDestination::Refuse => {
            worker.telemetry.metrics.refused(Refusal::UnknownDestination);
            tracing::info!(
                destination = %dialled.0,
                "refused: no Service has this address; WEFT_UNKNOWN_DESTINATION=passthrough would let it pass"
            );
            socket::reset_on_close(&stream);
            Ok(())
        }
    }
}
