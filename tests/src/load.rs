//! Steady load from inside a pod: bounded in rate and count, and it counts what came of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use http::StatusCode;
use hyper::client::conn::http1::SendRequest;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use weft_cli::world::Pod;

use crate::client::{self, Body};

/// Between two requests of one worker.
const PAUSE: Duration = Duration::from_millis(2);
/// A load ends by itself after so many requests.
const MOST_REQUESTS: u64 = 200_000;
/// How long it may take until the next answers come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Workers that GET `/` one request after the other, each on a kept-alive HTTP/1.1 connection.
#[derive(Debug)]
pub struct Load {
    stop: watch::Sender<bool>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    workers: Vec<JoinHandle<()>>,
    tally: Tally,
}

/// What came of one request: the answer's first line, or what went wrong.
#[derive(Debug)]
struct Outcome {
    begun: Instant,
    result: Result<String, String>,
}

/// What came of the requests.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests that were answered 200, by the first line of the answer.
    pub answers: BTreeMap<String, u64>,
    /// What went wrong, of each request that was not.
    pub failures: Vec<String>,
}

impl Tally {
    /// Requests that were answered 200.
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }

    /// Asserts that there were requests, and that each was answered 200.
    ///
    /// # Errors
    /// With the number and the first of the failures.
    pub fn nothing_lost(&self) -> Result<()> {
        let first: Vec<&String> = self.failures.iter().take(5).collect();
        ensure!(
            self.failures.is_empty(),
            "{} requests of {} failed, among them {first:?}",
            self.failures.len(),
            self.answered() + self.failures.len() as u64
        );
        ensure!(self.answered() > 0, "there were no requests");
        Ok(())
    }

    fn note(&mut self, result: Result<String, String>) {
        match result {
            Ok(answer) => *self.answers.entry(answer).or_default() += 1,
            Err(failure) => self.failures.push(failure),
        }
    }
}

impl Load {
    /// Starts `workers` workers inside the pod.
    pub fn start(pod: &Pod, address: SocketAddr, workers: usize) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (report, outcomes) = mpsc::unbounded_channel();
        let start = |_| {
            let worker = work(pod.clone(), address, stopped.clone(), report.clone(), MOST_REQUESTS / workers as u64);
            pod.spawn(worker)
        };
        Self { workers: (0..workers).map(start).collect(), stop, outcomes, tally: Tally::default() }
    }

    /// Waits until `more` requests that were begun after this call have come to an end, well or not; gives what came of
    /// these.
    ///
    /// # Errors
    /// Where there is none for more than a minute.
    pub async fn more(&mut self, more: u64) -> Result<Tally> {
        let (now, mut seen, mut left) = (Instant::now(), Tally::default(), more);
        while left > 0 {
            let outcome = timeout(PATIENCE, self.outcomes.recv()).await.context("the load does not proceed")?;
            let outcome = outcome.context("the load has ended by itself")?;
            if outcome.begun >= now {
                seen.note(outcome.result.clone());
                left -= 1;
            }
            self.tally.note(outcome.result);
        }
        Ok(seen)
    }

    /// Waits for what is still due, within the bounds of [`more`](Self::more); forgets nothing.
    ///
    /// # Errors
    /// Where a worker panicked or does not end.
    pub async fn stop(mut self) -> Result<Tally> {
        self.stop.send(true).map_err(|_| anyhow!("the load has ended by itself"))?;
        for worker in self.workers {
            timeout(PATIENCE, worker).await.context("a worker does not end")??;
        }
        while let Ok(outcome) = self.outcomes.try_recv() {
            self.tally.note(outcome.result);
        }
        Ok(self.tally)
    }
}

async fn work(
    pod: Pod,
    address: SocketAddr,
    stopped: watch::Receiver<bool>,
    report: mpsc::UnboundedSender<Outcome>,
    most: u64,
) {
    let mut connection = None;
    for _ in 0..most {
        if *stopped.borrow() {
            return;
        }
        let begun = Instant::now();
        let result = request(&pod, address, &mut connection).await.map_err(|error| format!("{error:#}"));
        if result.is_err() {
            connection = None;
        }
        if report.send(Outcome { begun, result }).is_err() {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// One request, on the connection that is there, or else a fresh one.
async fn request(pod: &Pod, address: SocketAddr, connection: &mut Option<SendRequest<Body>>) -> Result<String> {
    if connection.as_ref().is_none_or(SendRequest::is_closed) {
        *connection = Some(client::http1(pod, address).await?);
    }
    let Some(sender) = connection else { return Err(anyhow!("no connection")) };
    sender.ready().await?;
    let response = client::whole(sender.send_request(client::get_request("/")?)).await?;
    let text = String::from_utf8_lossy(response.body()).into_owned();
    ensure!(response.status() == StatusCode::OK, "{}: {text}", response.status());
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
