//! Large and endless streams: every byte arrives, and the proxies' memory stays bounded.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::Stream;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use weft_cli::world::{Process, World, wait_until};
use weft_tests::apps::{self, GRPC_ECHO};
use weft_tests::duo::{Duo, HTTP, HTTP_TARGET, TCP, TCP_TARGET};
use weft_tests::pattern::Pattern;
use weft_tests::{client, trial};

const LIMIT: Duration = Duration::from_secs(240);
const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
/// What a proxy may hold at most, in bytes, whatever passes through it.
const MOST_RESIDENT: u64 = 96 * MIB;

/// What each end of a connection sends while the other one does not read: more than all buffers between them hold.
const UNREAD: u64 = 64 * MIB;
/// For how long it does not: longer than a proxy waits for a peer's acknowledgement.
const PAUSE: Duration = Duration::from_secs(40);

/// WebSockets that are opened and then say nothing.
const SILENT: u64 = 400;
/// What a silent one may take of both proxies together, in bytes: its sockets, a stream of the mesh and the tasks.
const MOST_SILENT: u64 = 12 * 1024;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("1 GiB there and back, opaque", LIMIT, gib_opaque),
        trial("1 GiB there and back, HTTP/1.1", LIMIT, gib_http1),
        trial("1 GiB there and back, HTTP/2", LIMIT, gib_http2),
        trial("an endless stream that nobody reads waits, and holds up no one", LIMIT, unread),
        trial("readers that pause for long are waited for", LIMIT, paused),
        trial("a client that goes ends an endless stream", LIMIT, client_goes),
        trial("what a burst took of memory is given back", LIMIT, burst),
        trial("WebSockets that are silent hold no buffers", LIMIT, silent),
    ]
}

async fn gib_opaque(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    apps::serve(&duo.api, TCP_TARGET, apps::echo).await?;
    let memory = Memory::watch(&duo)?;
    let address = duo.at(TCP);
    let echoed = duo.web.run(async move {
        let (read, write) = TcpStream::connect(address).await?.into_split();
        let pattern = Pattern::new();
        let sender = tokio::spawn(send(write, pattern.clone(), GIB));
        let received = receive(read, pattern).await?;
        sender.await??;
        Ok(received)
    });
    ensure!(echoed.await? == GIB, "not all came back");
    memory.stayed_bounded().await
}

async fn gib_http1(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    apps::h1(&duo.api, HTTP_TARGET).await?;
    let memory = Memory::watch(&duo)?;
    let mut sender = client::http1(&duo.web, duo.at(HTTP)).await?;
    let (pattern, body) = gib_body();
    let request = Request::post(GRPC_ECHO).header("host", "api").body(body)?;
    let response = duo.web.run(async move { Ok(sender.send_request(request).await?) }).await?;
    ensure!(duo.web.run(check(pattern, response)).await? == GIB, "not all came back");
    memory.stayed_bounded().await
}

async fn gib_http2(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    apps::h2c(&duo.api, HTTP_TARGET).await?;
    let memory = Memory::watch(&duo)?;
    let mut sender = client::http2(&duo.web, duo.at(HTTP)).await?;
    let (pattern, body) = gib_body();
    let request = Request::post(format!("http://api{GRPC_ECHO}")).body(body)?;
    let response = duo.web.run(async move { Ok(sender.send_request(request).await?) }).await?;
    ensure!(duo.web.run(check(pattern, response)).await? == GIB, "not all came back");
    memory.stayed_bounded().await
}

async fn unread(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    let sent = Arc::new(AtomicU64::new(0));
    serve_endless(&duo, Arc::clone(&sent)).await?;
    apps::h1(&duo.api, HTTP_TARGET).await?;
    let memory = Memory::watch(&duo)?;
    let mut unread = Vec::new();
    for _ in 0..6 {
        let mut stream = client::connect(&duo.web, duo.at(TCP)).await?;
        stream.read_u8().await?;
        unread.push(stream);
    }
    let stalled = wait_until("the server to be held up", Duration::from_secs(60), || async {
        let before = sent.load(Ordering::Relaxed);
        sleep(Duration::from_millis(500)).await;
        let after = sent.load(Ordering::Relaxed);
        ensure!(before == after, "{after} bytes are sent, and more is");
        Ok(after)
    });
    let stalled = stalled.await?;
    for _ in 0..20 {
        let (status, _) = client::get(&duo.web, duo.at(HTTP), "/").await.context("others are held up, too")?;
        ensure!(status == StatusCode::OK, "{status}");
    }
    let first = unread.first_mut().context("no stream")?;
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..64 {
        first.read_exact(&mut buffer).await?;
    }
    ensure!(sent.load(Ordering::Relaxed) > stalled, "it does not go on when it is read");
    memory.stayed_bounded().await
}

async fn paused(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    let pattern = Pattern::new();
    let servers = pattern.clone();
    apps::serve(&duo.api, TCP_TARGET, move |stream| send_then_read(stream, servers.clone())).await?;
    let stream = client::connect(&duo.web, duo.at(TCP)).await?;
    duo.web.run(send_then_read(stream, pattern)).await
}

/// Sends all, does not read for [`PAUSE`], then reads all: the other end does the same.
async fn send_then_read(stream: TcpStream, pattern: Pattern) -> Result<()> {
    let (read, write) = stream.into_split();
    let sender = tokio::spawn(send(write, pattern.clone(), UNREAD));
    sleep(PAUSE).await;
    let received = receive(read, pattern).await?;
    ensure!(received == UNREAD, "{received} of {UNREAD} bytes");
    sender.await?
}

/// Writes so many bytes, and the end.
async fn send(mut write: OwnedWriteHalf, mut pattern: Pattern, mut left: u64) -> Result<()> {
    while left > 0 {
        let block = pattern.next(left);
        write.write_all(&block).await?;
        left -= block.len() as u64;
    }
    Ok(write.shutdown().await?)
}

/// Reads to the end; gives how much it was.
async fn receive(mut read: OwnedReadHalf, mut expected: Pattern) -> Result<u64> {
    let (mut received, mut buffer) = (0, vec![0; 256 * 1024]);
    loop {
        let length = read.read(&mut buffer).await.with_context(|| format!("broken after {received} bytes"))?;
        let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else { return Ok(received) };
        ensure!(expected.continues_with(bytes), "another byte within the {length} after {received}");
        received += length as u64;
    }
}

async fn client_goes(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    let (gone, mut told) = watch::channel(false);
    let gone = Arc::new(gone);
    apps::serve(&duo.api, TCP_TARGET, move |stream| {
        let gone = Arc::clone(&gone);
        async move {
            let _ = apps::endless(stream).await;
            gone.send_replace(true);
            Ok(())
        }
    })
    .await?;
    let mut stream = client::connect(&duo.web, duo.at(TCP)).await?;
    stream.read_exact(&mut vec![0; 1 << 20]).await?;
    drop(stream);
    let end = tokio::time::timeout(Duration::from_secs(15), told.wait_for(|gone| *gone));
    end.await.context("the application still sends to nobody")??;
    Ok(())
}

async fn burst(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    serve_endless(&duo, Arc::default()).await?;
    let stream = async || client::connect(&duo.web, duo.at(TCP)).await;
    // What the first stream brings about stays: pages of the program, the sidecars' connection.
    stream().await?.read_exact(&mut vec![0; 8 << 20]).await?;
    let before = resident(&duo)?;
    let mut unread = Vec::new();
    for _ in 0..48 {
        unread.push(stream().await?);
    }
    wait_until("what nobody reads to fill the proxies", Duration::from_secs(30), async || {
        let now = resident(&duo)?;
        ensure!(now.iter().sum::<u64>() > before.iter().sum::<u64>() + 16 * MIB, "{before:?}, then {now:?}");
        Ok(())
    })
    .await?;
    drop(unread);
    wait_until("the proxies to give it back", Duration::from_secs(30), async || {
        let now = resident(&duo)?;
        ensure!(now.iter().zip(&before).all(|(now, before)| *now < before + 4 * MIB), "{before:?}, now {now:?}");
        Ok(())
    })
    .await
}

async fn silent(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    apps::h1(&duo.api, HTTP_TARGET).await?;
    let open = async || {
        let mut stream = client::connect(&duo.web, duo.at(HTTP)).await?;
        stream.write_all(b"GET /up HTTP/1.1\r\nHost: api\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await?;
        client::read_until(&mut stream, "\r\n\r\n").await?;
        stream.write_all(b"hello").await?;
        client::read_until(&mut stream, "hello").await?;
        anyhow::Ok(stream)
    };
    // What the first ones bring about stays whether or not more come.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(open().await?);
    }
    let before = resident(&duo)?;
    for _ in 0..SILENT {
        silent.push(open().await?);
    }
    let now = resident(&duo)?;
    let each = now.iter().sum::<u64>().saturating_sub(before.iter().sum()) / SILENT;
    ensure!(each < MOST_SILENT, "each of {SILENT} takes {each} bytes of the pair: {before:?}, then {now:?}");
    Ok(())
}

/// What both proxies have resident, in bytes.
fn resident(duo: &Duo) -> Result<[u64; 2]> {
    Ok([duo.web.sidecar()?.process().resident_bytes()?, duo.api.sidecar()?.process().resident_bytes()?])
}

async fn serve_endless(duo: &Duo, sent: Arc<AtomicU64>) -> Result<()> {
    apps::serve(&duo.api, TCP_TARGET, move |mut stream| {
        let sent = Arc::clone(&sent);
        async move {
            let block = vec![0x5a; 64 * 1024];
            loop {
                let length = stream.write(&block).await?;
                sent.fetch_add(length as u64, Ordering::Relaxed);
            }
        }
    })
    .await
}

fn gib_body() -> (Pattern, client::Body) {
    let pattern = Pattern::new();
    let frames = futures::stream::unfold((pattern.clone(), GIB), |(mut pattern, left)| async move {
        let block: Bytes = (left > 0).then(|| pattern.next(left))?;
        let left = left - block.len() as u64;
        Some((Ok(Frame::data(block)), (pattern, left)))
    });
    let frames: Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + Sync>> = Box::pin(frames);
    (pattern, BodyExt::boxed(StreamBody::new(frames)))
}

/// Reads the body to its end; gives its length.
async fn check(mut pattern: Pattern, response: http::Response<hyper::body::Incoming>) -> Result<u64> {
    ensure!(response.status() == StatusCode::OK, "{response:?}");
    let (mut body, mut received) = (response.into_body(), 0);
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame?.into_data() {
            ensure!(pattern.continues_with(&bytes), "another byte within the {} after {received}", bytes.len());
            received += bytes.len() as u64;
        }
    }
    Ok(received)
}

/// Looks at both proxies' memory again and again, and keeps the most that it saw.
struct Memory {
    peak: Arc<AtomicU64>,
    watcher: JoinHandle<Result<()>>,
}

impl Memory {
    fn watch(duo: &Duo) -> Result<Self> {
        let processes = [duo.web.sidecar()?.process().clone(), duo.api.sidecar()?.process().clone()];
        let peak = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&peak);
        let watcher = tokio::spawn(async move {
            loop {
                for resident in processes.iter().map(Process::resident_bytes) {
                    seen.fetch_max(resident?, Ordering::Relaxed);
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
        Ok(Self { peak, watcher })
    }

    async fn stayed_bounded(self) -> Result<()> {
        if self.watcher.is_finished() {
            return self.watcher.await?;
        }
        self.watcher.abort();
        let peak = self.peak.load(Ordering::Relaxed) / MIB;
        ensure!(peak > 0 && peak <= MOST_RESIDENT / MIB, "a proxy took {peak} MiB");
        Ok(())
    }
}
