//! Requests at a fixed rate, whether or not answers come. Latency counts from when a request was due, so a stall is not hidden.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, ensure};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use weft_cli::world::Pod;

use super::http1::{Http1, request};

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Until the first request is due.
const HEAD_START: Duration = Duration::from_millis(50);
/// The share of the requests that have to be answered.
const ANSWERED: f64 = 0.9;

/// A steady load under way. It ends by itself.
#[derive(Debug)]
pub(crate) struct Steady {
    /// Whatever is due from then on counts, until the end.
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
    due: f64,
    workers: Vec<JoinHandle<Outcome>>,
}

#[derive(Debug, Default)]
struct Outcome {
    done: Vec<Done>,
    /// The first failure, in words.
    first: Option<String>,
}

/// A request that was answered, or failed.
#[derive(Clone, Copy, Debug)]
struct Done {
    due: Instant,
    /// From when it was due until its whole answer was there. A failure takes [`PATIENCE`], or longer: failing soon is not being
    /// fast.
    took: Duration,
    is_good: bool,
}

/// What came of the requests that count.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    /// Of each of them, those that failed with all of their patience.
    pub(crate) took: Vec<Duration>,
    /// How many had a whole answer that is a 200.
    pub(crate) good: u64,
    /// How many of all requests failed, also of those before.
    pub(crate) failed: u64,
}

impl Steady {
    /// Starts `rate` requests a second, which take turns on the connections.
    pub(crate) fn start(
        pod: &Pod,
        at: SocketAddr,
        rate: u32,
        connections: usize,
        (warm, counted): (Duration, Duration),
    ) -> Result<Self> {
        let (lanes, due): (Vec<_>, Vec<_>) = (0..connections).map(|_| unbounded_channel()).unzip();
        let workers = due.into_iter().map(|due| pod.spawn(work(at, due))).collect();
        let first = Instant::now() + HEAD_START;
        let begin = first + warm;
        let end = begin + counted;
        let pacer = thread::Builder::new().name("pacer".to_owned());
        pacer.spawn(move || pace(first, end, rate, &lanes)).context("cannot start a thread")?;
        Ok(Self { begin, end, due: f64::from(rate) * counted.as_secs_f64(), workers })
    }

    /// Waits until all is answered.
    ///
    /// # Errors
    /// Where fewer than nine in ten were, with the first failure.
    pub(crate) async fn finish(self) -> Result<Latencies> {
        let (mut done, mut first): (Vec<Done>, _) = (Vec::new(), None);
        for worker in self.workers {
            let outcome = worker.await?;
            done.extend(outcome.done);
            first = first.or(outcome.first);
        }
        let failed = done.iter().filter(|request| !request.is_good).count() as u64;
        done.retain(|request| (self.begin..self.end).contains(&request.due));
        let good = done.iter().filter(|request| request.is_good).count() as u64;
        let enough = good as f64 >= ANSWERED * self.due;
        ensure!(enough, "{good} of {} requests were answered in time; {first:?}", self.due);
        Ok(Latencies { took: done.iter().map(|request| request.took).collect(), good, failed })
    }
}

/// Says to one connection after the other that a request is due. A thread: the runtime's timers have a grain of a millisecond.
fn pace(first: Instant, end: Instant, rate: u32, lanes: &[UnboundedSender<Instant>]) {
    let interval = Duration::from_secs(1) / rate;
    for (number, lane) in (0..).zip(lanes.iter().cycle()) {
        let due = first + interval * number;
        if due >= end {
            return;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if lane.send(due).is_err() {
            return;
        }
    }
}

/// One connection, and another one when it fails.
async fn work(at: SocketAddr, mut due: UnboundedReceiver<Instant>) -> Outcome {
    let (mut outcome, mut connection) = (Outcome::default(), None);
    let request = request("/", "");
    while let Some(due) = due.recv().await {
        let asked = timeout(PATIENCE, ask(at, &mut connection, &request)).await.map_err(Error::from).flatten();
        let elapsed = due.elapsed();
        let took = if asked.is_ok() { elapsed } else { elapsed.max(PATIENCE) };
        outcome.done.push(Done { due, took, is_good: asked.is_ok() });
        if let Err(error) = asked {
            connection = None;
            outcome.first.get_or_insert_with(|| format!("{error:#}"));
        }
    }
    outcome
}

async fn ask(at: SocketAddr, connection: &mut Option<Http1>, request: &[u8]) -> Result<()> {
    match connection {
        Some(connection) => connection.ask(request).await,
        None => connection.insert(Http1::open(at).await?).ask(request).await,
    }
}
