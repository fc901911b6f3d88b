//! The proxy's own sockets: listeners for each worker, and connections that the redirect rules leave alone.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections that wait to be accepted, for each worker.
const BACKLOG: i32 = 4096;
/// How long written bytes may stay unacknowledged, or unsent as the other end takes none, before a connection with a peer that always
/// reads counts as dead (`TCP_USER_TIMEOUT`).
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// A silent connection is probed after this long, and at this interval.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// One worker's listener, for IPv4 and IPv6; the kernel spreads connections over the workers (`SO_REUSEPORT`).
///
/// # Errors
/// With the address and the likely cause.
pub(crate) fn listen(port: u16) -> io::Result<std::net::TcpListener> {
    listen_on((Ipv6Addr::UNSPECIFIED, port).into())
        .or_else(|error| match error.raw_os_error() {
            // A kernel without IPv6.
            Some(nix::libc::EAFNOSUPPORT | nix::libc::EADDRNOTAVAIL) => listen_on((Ipv4Addr::UNSPECIFIED, port).into()),
            _ => Err(error),
        })
        .map_err(|error| io::Error::new(error.kind(), format!("port {port} cannot be listened on: {error}")))
}

fn listen_on(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Takes a listener into the current runtime.
pub(crate) fn adopt(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    TcpListener::from_std(listener)
}

/// Connects with the proxy's mark, so that the redirect rules let it pass.
///
/// # Errors
/// The kernel's, or `TimedOut` after `timeout`.
pub(crate) async fn connect(address: SocketAddr, mark: Option<u32>, timeout: Duration) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(mark) = mark {
        SockRef::from(&socket).set_mark(mark)?;
    }
    let connected = tokio::time::timeout(timeout, socket.connect(address)).await;
    let stream = connected.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))??;
    tune(&stream)?;
    Ok(stream)
}

/// Sends small writes at once and notices a silent peer that is gone.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream)
        .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE).with_retries(3))
}

/// Notices within 30 s also a peer that is gone while bytes are on their way to it. Only for one that always reads, as sidecars and the
/// control plane do: an application may pause for as long as it likes, which looks the same to the kernel.
pub(crate) fn expect_reader(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_tcp_user_timeout(Some(USER_TIMEOUT))
}

/// Makes closing the connection a reset, so that the peer sees that something was lost rather than a normal end.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    // It is already closed where this fails.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// A connection whose bytes are passed on. Closed before [`ended`](Self::ended) it is reset, also where its task is dropped.
pub(crate) struct PassedOn {
    socket: TcpStream,
    ended: bool,
}

impl PassedOn {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self { socket, ended: false }
    }

    /// The connection itself, to read from and write to.
    pub(crate) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Everything was passed on, to the end of both directions.
    pub(crate) fn ended(mut self) {
        self.ended = true;
    }
}

impl Drop for PassedOn {
    fn drop(&mut self) {
        if !self.ended {
            reset_on_close(&self.socket);
        }
    }
}

/// An IPv4 address that came through an IPv6 socket, as itself.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
