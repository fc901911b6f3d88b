//! The application behind the pair: as little as can answer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::Response;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weft_cli::world::Pod;
use weft_tests::apps::serve;

/// The ports: HTTP/1.1, HTTP/2 with prior knowledge, and one that reads and forgets.
pub(crate) const HTTP1: u16 = 8080;
pub(crate) const HTTP2: u16 = 8081;
pub(crate) const SINK: u16 = 9001;

/// The body of every answer but the big one.
pub(crate) const BODY: &str = "the answer of the backend...";
/// The path of an answer that is larger than all buffers on the way.
pub(crate) const BIG: &str = "/big";
const BIG_BLOCKS: usize = 4096;
const BLOCK: usize = 64 * 1024;
/// The largest head of a request.
const MOST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;

/// The application, on the pod's own thread.
#[derive(Debug)]
pub(crate) struct Backend {
    sunk: Arc<AtomicU64>,
}

impl Backend {
    /// Opens all ports.
    pub(crate) async fn start(pod: &Pod) -> Result<Self> {
        let sunk = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sunk);
        serve(pod, HTTP1, http1).await?;
        serve(pod, HTTP2, http2).await?;
        serve(pod, SINK, move |stream| sink(stream, Arc::clone(&counter))).await?;
        Ok(Self { sunk })
    }

    /// Bytes that the port [`SINK`] has read.
    pub(crate) fn sunk(&self) -> u64 {
        self.sunk.load(Ordering::Relaxed)
    }
}

/// What of a request matters here.
struct Asked {
    big: bool,
    last: bool,
}

/// Answers one request after the other; they have no bodies.
async fn http1(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let answer = format!("{}{BODY}", head(BODY.len()));
    let mut received = BytesMut::with_capacity(4096);
    while stream.read_buf(&mut received).await? > 0 {
        let Some(asked) = asked(&received)? else { continue };
        received.clear();
        match asked.big {
            true => big(&mut stream).await?,
            false => stream.write_all(answer.as_bytes()).await?,
        }
        if asked.last {
            return Ok(stream.shutdown().await?);
        }
    }
    Ok(())
}

fn head(length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n")
}

/// The request, if its head is whole.
fn asked(received: &[u8]) -> Result<Option<Asked>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = request.parse(received)? else {
        ensure!(received.len() < MOST_HEAD, "a head without end");
        return Ok(None);
    };
    ensure!(length == received.len(), "more than a head came at once");
    let closes = |header: &httparse::Header<'_>| {
        header.name.eq_ignore_ascii_case("connection") && header.value.eq_ignore_ascii_case(b"close")
    };
    let big = request.path.context("a request without a path")?.ends_with(BIG);
    Ok(Some(Asked { big, last: request.headers.iter().any(closes) }))
}

/// The big answer, as far as it is read.
async fn big(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(head(BLOCK * BIG_BLOCKS).as_bytes()).await?;
    let block = vec![b'.'; BLOCK];
    for _ in 0..BIG_BLOCKS {
        stream.write_all(&block).await?;
    }
    Ok(())
}

async fn http2(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let head = Response::builder().header("content-type", "text/plain").header("content-length", BODY.len()).body(())?;
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted?;
        let mut body = respond.send_response(head.clone(), false)?;
        body.send_data(Bytes::from_static(BODY.as_bytes()), true)?;
        let rest = request.into_body();
        if !rest.is_end_stream() {
            drop(tokio::spawn(drain(rest)));
        }
    }
    Ok(())
}

/// Reads a request to its end: whoever lets go of it earlier resets its stream.
async fn drain(mut body: RecvStream) -> Result<()> {
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    Ok(())
}

async fn sink(mut stream: TcpStream, sunk: Arc<AtomicU64>) -> Result<()> {
    let mut block = vec![0; 4 * BLOCK];
    loop {
        let read = stream.read(&mut block).await?;
        if read == 0 {
            return Ok(());
        }
        sunk.fetch_add(read as u64, Ordering::Relaxed);
    }
}
