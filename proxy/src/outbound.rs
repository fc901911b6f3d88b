//! The outbound itinerary: what the application dials, from the kernel's redirect to an endpoint.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::TcpStream;

use crate::config::UnknownDestination;
use crate::discovery::{Answer, Destination, Protocol};
use crate::path::accept::{self, OriginalDestination};
use crate::path::connection::Connection;
use crate::path::detect::{self, Detected};
use crate::path::http::Version;
use crate::path::prefixed::Prefixed;
use crate::path::{http1, http2, opaque, route, socket, tls};
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
        Answer::Known(destination) => to_mesh(worker, stream, dialled, destination).await,
        Answer::Unknown | Answer::Unavailable => to_unknown(worker, stream, dialled).await,
    }
}

async fn to_mesh(
    worker: &Rc<Worker>,
    mut stream: TcpStream,
    dialled: OriginalDestination,
    destination: Arc<Destination>,
) -> io::Result<()> {
    let (protocol, routes_tls) = {
        let traffic = destination.traffic();
        (traffic.protocol, !traffic.tls.is_empty())
    };
    let mut read = BytesMut::new();
    let patience = worker.config.outbound.detect_timeout;
    let detected = match protocol {
        Protocol::Http => detect::http_version(&mut stream, &mut read).await?,
        // Whoever speaks TLS speaks first; nothing else is of interest there.
        Protocol::Opaque if routes_tls => match detect::conclude(&mut stream, &mut read, patience).await? {
            Detected::Tls => Detected::Tls,
            _ => Detected::Opaque,
        },
        Protocol::Opaque => Detected::Opaque,
        // Where TLS is routed, a client that is slow to speak is not taken for one that waits for the server.
        Protocol::Detect if routes_tls => detect::conclude(&mut stream, &mut read, patience).await?,
        Protocol::Detect => detect::detect(&mut stream, &mut read, patience).await?,
    };
    // What lasts is boxed, so that a connection is no larger than what it turned out to be.
    match detected {
        Detected::Http1 => Box::pin(serve_http(worker, stream, read, Version::Http1, dialled, destination)).await,
        Detected::Http2 => Box::pin(serve_http(worker, stream, read, Version::Http2, dialled, destination)).await,
        Detected::Tls if routes_tls => {
            // Boxed, as all that few connections need: the futures of the others are the smaller for it.
            let name = Box::pin(tls::server_name(&mut stream, &mut read)).await?;
            opaque::outbound(worker, stream, read.freeze(), &destination, name.as_deref()).await?;
        }
        Detected::Tls | Detected::Opaque => {
            opaque::outbound(worker, stream, read.freeze(), &destination, None).await?;
        }
        Detected::TimedOut => {
            worker.telemetry.metrics.detect_timed_out();
            opaque::outbound(worker, stream, read.freeze(), &destination, None).await?;
        }
        Detected::Silent => match Box::pin(opaque::server_first(worker, stream, &destination)).await? {
            opaque::Spoke::Done => {}
            opaque::Spoke::Client(stream, read, version) => {
                Box::pin(serve_http(worker, stream, read, version, dialled, destination)).await;
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
    dialled: OriginalDestination,
    destination: Arc<Destination>,
) {
    let _open = worker.telemetry.connection(Direction::Outbound, WireProtocol::Http);
    let client = route::Client::new(worker, destination, dialled.0, stream.peer_addr().ok());
    let handle = async move |request| route::outbound(&client, request).await;
    let (read, drain) = (read.freeze(), &worker.drain.outbound);
    match version {
        Version::Http1 => http1::server::serve(Connection::Socket(stream), read, drain, handle).await,
        Version::Http2 => Box::pin(http2::server::serve(Prefixed::new(read, stream), drain, handle)).await,
    }
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
