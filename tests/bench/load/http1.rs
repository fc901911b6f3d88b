//! A client of HTTP/1.1 that costs little: it sends the same bytes again and reads one whole answer.

use std::net::SocketAddr;
use std::str;

use anyhow::{Context, Result, ensure};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Tally;
use crate::backend::BIG;

const MOST_HEADERS: usize = 64;

/// What is asked for.
pub(crate) fn request(path: &str, more: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: api\r\n{more}\r\n").into_bytes()
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Http1 {
    stream: TcpStream,
    received: BytesMut,
}

impl Http1 {
    pub(crate) async fn open(at: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: BytesMut::with_capacity(4096) })
    }

    /// Sends a request and reads the whole answer, which has to be a 200.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<()> {
        let length = self.begin(request).await?;
        while self.received.len() < length {
            self.read().await?;
        }
        ensure!(self.received.len() == length, "more than an answer came");
        self.received.clear();
        Ok(())
    }

    /// Sends a request and reads until the answer's head is there; how long the answer will be.
    async fn begin(&mut self, request: &[u8]) -> Result<usize> {
        self.stream.write_all(request).await?;
        loop {
            self.read().await?;
            if let Some(length) = answer_length(&self.received)? {
                return Ok(length);
            }
        }
    }

    async fn read(&mut self) -> Result<()> {
        let read = self.stream.read_buf(&mut self.received).await?;
        ensure!(read > 0, "the connection ended before the answer did");
        Ok(())
    }
}

/// The length of the answer with its head, once that is whole.
fn answer_length(received: &[u8]) -> Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = answer.parse(received)? else { return Ok(None) };
    ensure!(answer.code == Some(200), "the answer is {:?}", answer.code);
    let length = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let body: usize = str::from_utf8(length.context("an answer without a length")?.value)?.parse()?;
    Ok(Some(head + body))
}

/// One request after the other on one connection.
pub(super) async fn keep_asking(at: SocketAddr, tally: &Tally) -> Result<()> {
    let request = request("/", "");
    let mut connection = Http1::open(at).await?;
    while tally.goes_on() {
        connection.ask(&request).await?;
        tally.answered();
    }
    Ok(())
}

/// One request after the other, each on a connection of its own.
pub(super) async fn keep_connecting(at: SocketAddr, tally: &Tally) -> Result<()> {
    let request = request("/", "connection: close\r\n");
    while tally.goes_on() {
        Http1::open(at).await?.ask(&request).await?;
        tally.answered();
    }
    Ok(())
}

/// Opens connections one after the other, and sends one request over each.
pub(crate) async fn open_idle(at: SocketAddr, count: u32) -> Result<Vec<Http1>> {
    let request = request("/", "");
    let mut connections = Vec::new();
    for number in 1..=count {
        let mut connection = Http1::open(at).await?;
        connection.ask(&request).await.with_context(|| format!("idle connection {number} of {count}"))?;
        connections.push(connection);
    }
    Ok(connections)
}

/// Opens connections that begin to read the big answer and read no more.
pub(crate) async fn open_stalled(at: SocketAddr, count: u32) -> Result<Vec<Http1>> {
    let request = request(BIG, "");
    let mut connections = Vec::new();
    for _ in 0..count {
        let mut connection = Http1::open(at).await?;
        connection.begin(&request).await?;
        connections.push(connection);
    }
    Ok(connections)
}
