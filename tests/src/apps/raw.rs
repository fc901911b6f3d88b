//! Applications on bare TCP.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use weft_cli::world::Pod;

use super::serve;

/// What [`greet_first`] says before it has read anything.
pub const GREETING: &[u8] = b"220 ready when you are\r\n";

/// Sends back what comes, and ends when the client has ended.
pub async fn echo(mut stream: TcpStream) -> Result<()> {
    let (mut read, mut write) = stream.split();
    tokio::io::copy(&mut read, &mut write).await?;
    Ok(write.shutdown().await?)
}

/// Reads until the client half-closes, then answers with the number of bytes and all of them.
pub async fn read_all_then_answer(mut stream: TcpStream) -> Result<()> {
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await?;
    stream.write_all(format!("{}:", received.len()).as_bytes()).await?;
    stream.write_all(&received).await?;
    Ok(stream.shutdown().await?)
}

/// Speaks first, as mail and database servers do; then echoes.
pub async fn greet_first(mut stream: TcpStream) -> Result<()> {
    stream.write_all(GREETING).await?;
    echo(stream).await
}

/// Reads and forgets.
pub async fn sink(mut stream: TcpStream) -> Result<()> {
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(())
}

/// Sends without end, until the client goes.
pub async fn endless(mut stream: TcpStream) -> Result<()> {
    let block = vec![0x5a; 64 * 1024];
    loop {
        stream.write_all(&block).await?;
    }
}

/// Resets the connection once it has read something.
pub async fn resetting(mut stream: TcpStream) -> Result<()> {
    stream.read_u8().await?;
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Ok(())
}

/// Echoes inside a TLS session of the application's own.
pub async fn tls_echo(pod: &Pod, port: u16, config: Arc<rustls::ServerConfig>) -> Result<()> {
    let acceptor = TlsAcceptor::from(config);
    serve(pod, port, move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let (mut read, mut write) = tokio::io::split(acceptor.accept(stream).await?);
            tokio::io::copy(&mut read, &mut write).await?;
            Ok(write.shutdown().await?)
        }
    })
    .await
}

/// One exchange: the bytes that end a request, and the bytes of the answer.
#[derive(Clone, Debug)]
pub struct Script {
    /// The request is complete when it ends with this.
    pub until: Vec<u8>,
    /// What is sent then.
    pub answer: Vec<u8>,
    /// Whether the connection is closed after it.
    pub close: bool,
}

impl Script {
    /// Answers a request that ends with `until`, and keeps the connection.
    pub fn new(until: impl AsRef<[u8]>, answer: impl AsRef<[u8]>) -> Self {
        Self { until: until.as_ref().to_vec(), answer: answer.as_ref().to_vec(), close: false }
    }

    /// Closes the connection after the answer.
    pub fn then_close(self) -> Self {
        Self { close: true, ..self }
    }
}

/// An application that plays its scripts, in order, on every connection, and hands out the bytes that it was sent.
#[derive(Debug)]
pub struct Scripted {
    requests: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl Scripted {
    /// Starts it on a port of the pod.
    ///
    /// # Errors
    /// Where the port cannot be opened.
    pub async fn start(pod: &Pod, port: u16, scripts: impl IntoIterator<Item = Script>) -> Result<Self> {
        let scripts: Arc<[Script]> = scripts.into_iter().collect();
        let (seen, requests) = mpsc::unbounded_channel();
        serve(pod, port, move |stream| play(stream, Arc::clone(&scripts), seen.clone())).await?;
        Ok(Self { requests })
    }

    /// The next request's bytes, as they arrived.
    ///
    /// # Errors
    /// Where none comes within 10 seconds.
    pub async fn request(&mut self) -> Result<Vec<u8>> {
        let next = tokio::time::timeout(Duration::from_secs(10), self.requests.recv()).await;
        next.context("the application got no request within 10 s")?.context("the application is gone")
    }

    /// How many requests arrived that nobody took.
    pub fn waiting(&self) -> usize {
        self.requests.len()
    }
}

async fn play(mut stream: TcpStream, scripts: Arc<[Script]>, seen: mpsc::UnboundedSender<Vec<u8>>) -> Result<()> {
    for Script { until, answer, close } in scripts.iter() {
        let mut request = Vec::new();
        while !request.ends_with(until) {
            match stream.read_u8().await {
                Ok(byte) => request.push(byte),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof && request.is_empty() => return Ok(()),
                Err(error) => {
                    seen.send(request)?;
                    bail!("the request was cut short: {error}");
                }
            }
        }
        seen.send(request)?;
        stream.write_all(answer).await?;
        if *close {
            break;
        }
    }
    Ok(stream.shutdown().await?)
}
