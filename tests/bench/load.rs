//! Load from the pod `web`, on that pod's own thread: bounded in count and, by whoever holds it, in time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Error, Result, bail};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use weft_cli::world::Pod;

pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod steady;

/// A load ends by itself after so many answers, each of its connections after so many failures, bulk after so many blocks.
const MOST_ANSWERS: u64 = 50_000_000;
const MOST_FAILURES: u32 = 1_000;
const MOST_BLOCKS: u32 = 4_000_000;
const BLOCK: usize = 128 * 1024;

/// How connections are used.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// HTTP/1.1, one request after the other.
    KeptAlive,
    /// HTTP/1.1, one request.
    Fresh,
    /// HTTP/2, so many requests at once.
    Streams(usize),
}

/// What came of the requests so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    good: AtomicU64,
    bad: AtomicU64,
    first: Mutex<Option<String>>,
}

impl Tally {
    /// Requests that were answered 200 with a whole body.
    pub(crate) fn good(&self) -> u64 {
        self.good.load(Ordering::Relaxed)
    }

    /// What else came of requests and connections.
    pub(crate) fn bad(&self) -> u64 {
        self.bad.load(Ordering::Relaxed)
    }

    /// The first failure, in words.
    pub(crate) fn first_failure(&self) -> String {
        self.first.lock().clone().unwrap_or_else(|| "nothing failed, either".to_owned())
    }

    fn answered(&self) {
        self.good.fetch_add(1, Ordering::Relaxed);
    }

    fn failed(&self, error: &Error) {
        self.bad.fetch_add(1, Ordering::Relaxed);
        self.first.lock().get_or_insert_with(|| format!("{error:#}"));
    }

    fn goes_on(&self) -> bool {
        self.good() < MOST_ANSWERS
    }
}

/// Connections over which requests are sent as fast as answers come. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) tally: Arc<Tally>,
    workers: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(pod: &Pod, at: SocketAddr, kind: Kind, connections: usize) -> Self {
        let tally = Arc::new(Tally::default());
        let workers = (0..connections).map(|_| pod.spawn(work(at, kind, Arc::clone(&tally)))).collect();
        Self { tally, workers }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.workers.iter().for_each(JoinHandle::abort);
    }
}

/// One connection after the other: each until it fails.
async fn work(at: SocketAddr, kind: Kind, tally: Arc<Tally>) {
    for _ in 0..MOST_FAILURES {
        let ended = match kind {
            Kind::KeptAlive => http1::keep_asking(at, &tally).await,
            Kind::Fresh => http1::keep_connecting(at, &tally).await,
            Kind::Streams(streams) => http2::keep_asking(at, streams, &tally).await,
        };
        match ended {
            Ok(()) => return,
            Err(error) => tally.failed(&error),
        }
    }
}

/// One connection that is written to as fast as the other end reads. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Bulk(JoinHandle<Result<()>>);

impl Bulk {
    pub(crate) fn start(pod: &Pod, at: SocketAddr) -> Self {
        Self(pod.spawn(async move {
            let mut stream = TcpStream::connect(at).await?;
            let block = vec![b'.'; BLOCK];
            for _ in 0..MOST_BLOCKS {
                stream.write_all(&block).await?;
            }
            bail!("the bulk has ended by itself")
        }))
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        self.0.abort();
    }
}
