//! Connections of bytes: one endpoint is picked for the whole connection, by weight, then by load.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures::future::LocalBoxFuture;
use http::HeaderMap;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use weft_rules::hash::hash_of;

use super::connection::Connection;
use super::detect::{self, Detected};
use super::http::Version;
use super::upstream::{Carried, ClusterState, PickBy, SendError};
use super::{copy, socket};
use crate::discovery::Destination;
use crate::telemetry::metrics::{Direction, WireProtocol};
use crate::worker::Worker;

/// Endpoints that are tried before the client is reset: nothing was sent to any of them.
const MAX_TRIES: usize = 3;

/// Carries a connection of the application to an endpoint; `read` goes first. `server_name` is that of a TLS connection,
/// where routes ask for it.
///
/// # Errors
/// What broke, after the client was reset.
pub(crate) async fn outbound(
    worker: &Rc<Worker>,
    stream: TcpStream,
    read: Bytes,
    destination: &Destination,
    server_name: Option<&str>,
) -> io::Result<()> {
    let _open = worker.telemetry.connection(Direction::Outbound, WireProtocol::Opaque);
    // Boxed, like what follows: it is large and soon over.
    match Box::pin(connect(worker, &stream, destination, server_name)).await {
        Ok((upstream, carried)) => {
            let passing = copy::connections(Connection::Socket(stream), read, upstream, Bytes::new());
            within(&carried, passing).await
        }
        Err(error) => {
            socket::reset_on_close(&stream);
            Err(error)
        }
    }
}

/// Who spoke first on a connection whose client was silent at first.
pub(crate) enum Spoke {
    /// The server, or both closed; the connection is over.
    Done,
    /// The client after all, and it speaks HTTP; what was read comes with it.
    Client(TcpStream, BytesMut, Version),
}

/// The client is silent: opens the upstream as opaque and listens to both. If the server speaks first, the connection
/// is opaque; if the client then starts HTTP, it is HTTP, and the upstream is let go unused.
///
/// # Errors
/// What broke, after the client was reset.
pub(crate) async fn server_first(
    worker: &Rc<Worker>,
    mut stream: TcpStream,
    destination: &Destination,
) -> io::Result<Spoke> {
    let (upstream, carried) = match connect(worker, &stream, destination, None).await {
        Ok(upstream) => upstream,
        Err(error) => {
            socket::reset_on_close(&stream);
            return Err(error);
        }
    };
    let (mut upstream, mut read) = (Ahead::new(upstream), BytesMut::new());
    let client_spoke = tokio::select! {
        read = stream.read_buf(&mut read) => read.map(|read| read > 0),
        spoke = upstream.readable() => spoke.map(|()| false),
    };
    if client_spoke.inspect_err(|_| socket::reset_on_close(&stream))? {
        match detect::conclude(&mut stream, &mut read, worker.config.outbound.detect_timeout).await? {
            Detected::Http1 => return Ok(Spoke::Client(stream, read, Version::Http1)),
            Detected::Http2 => return Ok(Spoke::Client(stream, read, Version::Http2)),
            Detected::TimedOut => worker.telemetry.metrics.detect_timed_out(),
            Detected::Tls | Detected::Opaque | Detected::Silent | Detected::Closed => {}
        }
    }
    let _open = worker.telemetry.connection(Direction::Outbound, WireProtocol::Opaque);
    let passing = copy::connections(Connection::Socket(stream), read.freeze(), upstream.connection, upstream.read);
    within(&carried, passing).await?;
    Ok(Spoke::Done)
}

/// Carries a connection to the address that was dialled, as it is.
///
/// # Errors
/// What broke, after the client was reset.
pub(crate) async fn passthrough(worker: &Rc<Worker>, stream: TcpStream, address: SocketAddr) -> io::Result<()> {
    let _open = worker.telemetry.connection(Direction::Outbound, WireProtocol::Opaque);
    match worker.upstreams.passthrough(address).await {
        Ok(upstream) => {
            let (client, upstream) = (Connection::Socket(stream), Connection::Socket(upstream));
            copy::connections(client, Bytes::new(), upstream, Bytes::new()).await
        }
        Err(error) => {
            socket::reset_on_close(&stream);
            Err(io::Error::other(error))
        }
    }
}

async fn connect(
    worker: &Rc<Worker>,
    client: &TcpStream,
    destination: &Destination,
    server_name: Option<&str>,
) -> io::Result<(Connection, Carried)> {
    let cluster = {
        let traffic = destination.traffic();
        let Some(clusters) = traffic.for_server_name(server_name) else {
            return Err(io::Error::other(format!("{} takes HTTP alone", traffic.service)));
        };
        worker.upstreams.cluster(clusters.pick(rand::random()))
    };
    let hash = place(&cluster, client);
    let mut tried = Vec::new();
    let mut last: Option<SendError> = None;
    while tried.len() < MAX_TRIES {
        let by = PickBy { hash, tried: &tried, ..PickBy::default() };
        let Some(endpoint) = cluster.pick(&worker.upstreams, &by, Instant::now()) else { break };
        if tried.contains(&endpoint.endpoint.address) {
            break;
        }
        match endpoint.connect().await {
            Ok(connection) => return Ok(connection),
            // Another endpoint would meet the same limit.
            Err(error @ SendError::Overflow(_)) => return Err(io::Error::other(error)),
            Err(error) => {
                tracing::info!(cluster = %cluster.name(), %error, "an endpoint does not take a connection");
                tried.push(endpoint.endpoint.address);
                last = Some(error);
            }
        }
    }
    Err(match last {
        Some(error) => io::Error::other(error),
        None => io::Error::other(format!("{} has no endpoint", cluster.name())),
    })
}

/// The connection's place by its client's address, where the cluster's policy asks for that.
fn place(cluster: &ClusterState, client: &TcpStream) -> Option<u64> {
    let keys = Some(cluster.hash_keys()).filter(|keys| !keys.is_empty())?;
    let source = socket::canonical(client.peer_addr().ok()?).ip();
    hash_of(keys, &HeaderMap::new(), source, rand::random()).map(|hashed| hashed.hash)
}

/// Ends a connection that has become as old as its cluster's policy allows.
async fn within(carried: &Carried, passing: LocalBoxFuture<'static, io::Result<()>>) -> io::Result<()> {
    let Some(age) = carried.max_age else { return passing.await };
    match Box::pin(tokio::time::timeout(age, passing)).await {
        Ok(ended) => ended,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the connection has reached requests.maxStreamAge")),
    }
}

/// An upstream connection of which the first bytes may have been read already.
struct Ahead {
    connection: Connection,
    read: Bytes,
}

impl Ahead {
    fn new(connection: Connection) -> Self {
        Self { connection, read: Bytes::new() }
    }

    /// Waits until the upstream has spoken or ended.
    async fn readable(&mut self) -> io::Result<()> {
        match &mut self.connection {
            Connection::Socket(socket) => socket.readable().await,
            Connection::Tunnel(tunnel) => {
                let chunk = std::future::poll_fn(|cx| tunnel.poll_chunk(cx)).await?;
                self.read = chunk.unwrap_or_default();
                tunnel.release(self.read.len());
                Ok(())
            }
        }
    }
}
