//! Visitors who ask the web application, over and over, and keep the books.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::app::Answer;
use super::histogram::Histogram;
use crate::world::NetnsRuntime;

/// Visitors at the same time.
const VISITORS: u64 = 8;
/// The time from one request of a visitor to the next, unless the answer takes longer.
const PACE: Duration = Duration::from_millis(25);
const LIMIT: Duration = Duration::from_secs(10);
/// Failures that are kept with their text.
const KEPT_FAILURES: usize = 5;

/// How often each version of `api` answered.
pub(super) type Versions = BTreeMap<String, u64>;

/// The books. Cloning gives another handle.
#[derive(Clone, Debug, Default)]
pub(super) struct Load(Arc<Mutex<Books>>);

#[derive(Debug, Default)]
struct Books {
    stopped: bool,
    /// Requests that still run.
    open: u64,
    requests: u64,
    failed: u64,
    failures: Vec<String>,
    all: Histogram,
    since_last: Window,
    /// Whether requests that begin now count for a split, the ones of them that still run, and what the others got.
    counting: bool,
    counted_open: u64,
    counted: Versions,
}

/// What came since the last look.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    /// Answers by version of `api`.
    pub(super) versions: Versions,
    /// The time from a visitor's request to the whole answer.
    pub(super) latencies: Histogram,
}

/// All that came so far.
#[derive(Clone, Debug)]
pub(super) struct Totals {
    /// Requests that ended, well or not.
    pub(super) requests: u64,
    /// Requests without a good answer.
    pub(super) failed: u64,
    /// The first failures, in words.
    pub(super) failures: Vec<String>,
    /// The time from a visitor's request to the whole answer.
    pub(super) latencies: Histogram,
}

impl Load {
    /// Sends visitors from `place` to the web application at `web`, until [`stop`](Self::stop).
    pub(super) fn start(place: &NetnsRuntime, web: SocketAddr) -> Result<Self> {
        let uri: Uri = format!("http://{web}/").parse()?;
        let load = Self::default();
        let client = Client::builder(TokioExecutor::new()).build_http();
        for _ in 0..VISITORS {
            place.spawn(load.clone().visit(client.clone(), uri.clone()));
        }
        Ok(load)
    }

    /// Lets every visitor finish and go.
    pub(super) async fn stop(&self) {
        self.0.lock().stopped = true;
        self.until(|books| books.open == 0).await;
    }

    /// From now on, requests that begin count for a split.
    pub(super) fn start_counting(&self) {
        let mut books = self.0.lock();
        books.counting = true;
        books.counted.clear();
    }

    /// Requests that begin from now on count no more; the answer of those that count, once all of them are there.
    pub(super) async fn stop_counting(&self) -> Versions {
        self.0.lock().counting = false;
        self.until(|books| books.counted_open == 0).await;
        std::mem::take(&mut self.0.lock().counted)
    }

    async fn until(&self, holds: impl Fn(&Books) -> bool) {
        while !holds(&self.0.lock()) {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// What came since this was asked last.
    pub(super) fn window(&self) -> Window {
        std::mem::take(&mut self.0.lock().since_last)
    }

    /// All that came so far.
    pub(super) fn totals(&self) -> Totals {
        let books = self.0.lock();
        Totals {
            requests: books.requests,
            failed: books.failed,
            failures: books.failures.clone(),
            latencies: books.all.clone(),
        }
    }

    async fn visit(self, client: Client<HttpConnector, Empty<Bytes>>, uri: Uri) {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            let counts = {
                let mut books = self.0.lock();
                if books.stopped {
                    return;
                }
                books.begin()
            };
            let begun = Instant::now();
            let answer = timeout(LIMIT, ask(&client, &uri)).await.context("no answer in time").and_then(|done| done);
            self.0.lock().enter(answer, begun.elapsed(), counts);
        }
    }
}

impl Books {
    /// A request begins; whether it counts for a split.
    fn begin(&mut self) -> bool {
        self.open += 1;
        self.counted_open += u64::from(self.counting);
        self.counting
    }

    /// Enters the outcome of one request: the version of `api` that was asked for it, or why it failed.
    fn enter(&mut self, answer: Result<String>, latency: Duration, counts: bool) {
        self.requests += 1;
        self.open -= 1;
        self.counted_open -= u64::from(counts);
        self.all.record(latency);
        self.since_last.latencies.record(latency);
        match answer {
            Ok(version) => {
                if counts {
                    *self.counted.entry(version.clone()).or_default() += 1;
                }
                *self.since_last.versions.entry(version).or_default() += 1;
            }
            Err(error) => {
                self.failed += 1;
                if self.failures.len() < KEPT_FAILURES {
                    self.failures.push(format!("{error:#}"));
                }
            }
        }
    }
}

/// One request; the version of `api` that answered.
async fn ask(client: &Client<HttpConnector, Empty<Bytes>>, uri: &Uri) -> Result<String> {
    let request = Request::get(uri).body(Empty::new())?;
    let response = client.request(request).await.context("web did not answer")?;
    let status = response.status();
    let body = response.into_body().collect().await.context("web broke off its answer")?.to_bytes();
    ensure!(status.is_success(), "web answered {status}: {}", String::from_utf8_lossy(&body).trim());
    let answer: Answer = serde_json::from_slice(&body).context("the answer is not web's")?;
    Ok(answer.called.context("web did not ask api")?.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_requests_begun_while_counting_count() {
        let load = Load::default();
        let begin = || load.0.lock().begin();
        let enter = |version: &str, counts| {
            load.0.lock().enter(Ok(version.to_owned()), Duration::from_millis(1), counts);
        };
        let early = begin();
        load.start_counting();
        let (first, second) = (begin(), begin());
        enter("v1", early);
        enter("v2", first);
        let waiting = tokio::spawn({
            let load = load.clone();
            async move { load.stop_counting().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "a request that counts was still open");
        let late = begin();
        enter("v1", late);
        enter("v2", second);
        assert_eq!(waiting.await.unwrap(), Versions::from([("v2".to_owned(), 2)]));
        assert_eq!(load.totals().requests, 4);
        assert_eq!(load.window().versions, Versions::from([("v1".to_owned(), 2), ("v2".to_owned(), 2)]));
        assert!(load.window().versions.is_empty());
    }

    #[test]
    fn failures_are_counted_and_the_first_are_kept() {
        let load = Load::default();
        for number in 0..10 {
            load.0.lock().begin();
            load.0.lock().enter(Err(anyhow::anyhow!("failure {number}")), Duration::ZERO, false);
        }
        let totals = load.totals();
        assert_eq!((totals.requests, totals.failed, totals.failures.len()), (10, 10, KEPT_FAILURES));
        assert_eq!(totals.failures.first().map(String::as_str), Some("failure 0"));
    }
}
