//! Connections carried between a network namespace and a Unix socket, which every network namespace can see.

use std::io;
use std::os::unix::net::UnixListener as Socket;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::sleep;

/// How long to wait after a failed accept: file descriptors may have run out for a moment.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Listens on a new Unix socket, for [`unix_to_tcp`] on whichever runtime.
pub(super) fn listen(path: &Path) -> Result<Socket> {
    let socket = Socket::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Carries each TCP connection to the Unix socket at `path`. Runs until it is dropped.
pub(super) async fn tcp_to_unix(listener: TcpListener, path: PathBuf) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let path = path.clone();
                tokio::spawn(async move { splice(stream, UnixStream::connect(path).await).await });
            }
            Err(_) => sleep(ACCEPT_AGAIN).await,
        }
    }
}

/// Carries each connection to the Unix socket to `target`, `HOST:PORT`. Runs until it is dropped.
pub(super) async fn unix_to_tcp(socket: Socket, target: String) -> Result<()> {
    let listener = UnixListener::from_std(socket)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let target = target.clone();
                tokio::spawn(async move { splice(stream, TcpStream::connect(target).await).await });
            }
            Err(_) => sleep(ACCEPT_AGAIN).await,
        }
    }
}

/// Copies both ways. A far side that could not be reached, or a copy that breaks, closes the near side: that is how
/// its owner learns of it.
async fn splice<N, F>(mut near: N, far: io::Result<F>)
where
    N: AsyncRead + AsyncWrite + Unpin,
    F: AsyncRead + AsyncWrite + Unpin,
{
    if let Ok(mut far) = far {
        drop(copy_bidirectional(&mut near, &mut far).await);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn bytes_pass_both_ways_and_so_does_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("middle.sock");
        let (entry, exit) = (TcpListener::bind("127.0.0.1:0"), TcpListener::bind("127.0.0.1:0"));
        let (entry, exit) = (entry.await.unwrap(), exit.await.unwrap());
        let address = entry.local_addr().unwrap();
        tokio::spawn(unix_to_tcp(listen(&path).unwrap(), exit.local_addr().unwrap().to_string()));
        tokio::spawn(tcp_to_unix(entry, path));

        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"ping").await.unwrap();
        client.shutdown().await.unwrap();
        let (mut server, _) = exit.accept().await.unwrap();
        let mut got = String::new();
        server.read_to_string(&mut got).await.unwrap();
        server.write_all(b"pong").await.unwrap();
        drop(server);
        client.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "pingpong");
    }
}
