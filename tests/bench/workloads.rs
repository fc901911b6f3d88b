//! What is measured, and how.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use weft_cli::world::wait_until;
use weft_tests::quantile::quantile;

use crate::Options;
use crate::backend::{BODY, Backend, HTTP1, HTTP2, SINK};
use crate::cells::Metrics;
use crate::load::http1::{self, Http1};
use crate::load::steady::{Latencies, Steady};
use crate::load::{Bulk, Kind, Load, http2};
use crate::meter::{Memory, Meter, Reading, memory};
use crate::peers::{Pair, Peer, Protocol, Traffic};

/// Connections at saturation, and at the steady rate.
const CONNECTIONS: usize = 64;
const STEADY_CONNECTIONS: usize = 32;
/// Of `h2mux`: connections, and requests at once on each.
const SHARED: usize = 8;
const STREAMS: usize = 8;
/// Of `stalled`: clients that stop to read, and those that go on.
const STALLED: u32 = 6;
const BESIDE: usize = 58;
/// How long each load runs before it counts.
const WARM: Duration = Duration::from_secs(1);
/// How long proxies have to put away what they no longer need, before their memory is looked at.
const SETTLE: Duration = Duration::from_secs(1);
/// How long a pair may take until it answers, and one attempt.
const READY: Duration = Duration::from_secs(15);
const ATTEMPT: Duration = Duration::from_secs(2);
/// Bulk is counted in these.
const GIGABYTE: f64 = 1e9;

/// What the load does, and what is measured of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Workload {
    /// HTTP/1.1, 64 connections that are kept.
    H1,
    /// HTTP/2, 64 connections with one request at a time each.
    H2,
    /// HTTP/2, 8 connections with 8 requests at a time each.
    H2mux,
    /// As h1, carried as bytes.
    L4,
    /// One connection with as many bytes as get through.
    Tcp,
    /// HTTP/1.1, a connection for each request, 64 at a time.
    Churn,
    /// As churn, carried as bytes.
    Churn4,
    /// HTTP/1.1 at a fixed rate on 32 connections: CPU time and latency.
    Steady,
    /// Memory at rest and with idle HTTP connections.
    Mem,
    /// Memory with idle connections that are carried as bytes.
    Mem4,
    /// Latency at a fixed rate on 58 connections, without and with six that stop reading a big answer.
    Stalled,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

impl Workload {
    /// How it is carried, and to which port of the backend.
    pub(crate) fn traffic(self) -> Traffic {
        let (protocol, target) = match self {
            Self::H1 | Self::Churn | Self::Steady | Self::Mem | Self::Stalled => (Protocol::Http1, HTTP1),
            Self::H2 | Self::H2mux => (Protocol::Http2, HTTP2),
            Self::L4 | Self::Churn4 | Self::Mem4 => (Protocol::Tcp, HTTP1),
            Self::Tcp => (Protocol::Tcp, SINK),
        };
        Traffic { protocol, target }
    }

    /// Whether something that counts is measured of it: without a proxy, that is the latency which there is anyway.
    pub(crate) fn concerns(self, peer: Peer) -> bool {
        peer != Peer::Direct || self == Self::Steady
    }

    /// Measures it.
    pub(crate) async fn measure(self, pair: &Pair, backend: &Backend, options: &Options) -> Result<Metrics> {
        match self {
            Self::H1 | Self::L4 => saturated(pair, Kind::KeptAlive, CONNECTIONS, options).await,
            Self::H2 => saturated(pair, Kind::Streams(1), CONNECTIONS, options).await,
            Self::H2mux => saturated(pair, Kind::Streams(STREAMS), SHARED, options).await,
            Self::Churn | Self::Churn4 => saturated(pair, Kind::Fresh, CONNECTIONS, options).await,
            Self::Tcp => bulk(pair, backend, options).await,
            Self::Steady => steady(pair, options).await,
            Self::Mem | Self::Mem4 => idle(pair, options).await,
            Self::Stalled => stalled(pair, options).await,
        }
    }
}

/// Waits until something gets through the pair.
///
/// # Errors
/// Where nothing does within 15 seconds.
pub(crate) async fn ready(pair: &Pair, backend: &Backend, traffic: Traffic) -> Result<()> {
    let at = pair.at;
    wait_until("an answer through the pair", READY, async || {
        let sunk = backend.sunk();
        let attempt = pair.web.run(async move {
            match traffic.target {
                HTTP2 => http2::ask_once(at).await.map(|()| None),
                HTTP1 => Http1::open(at).await?.ask(&http1::request("/", "")).await.map(|()| None),
                _ => {
                    let mut stream = TcpStream::connect(at).await?;
                    // What is then looked for on the wire.
                    stream.write_all(BODY.as_bytes()).await?;
                    Ok(Some(stream))
                }
            }
        });
        let held = timeout(ATTEMPT, attempt).await.context("no answer")??;
        if held.is_some() {
            wait_until("the bytes to arrive", ATTEMPT, async || arrived(backend, sunk)).await?;
        }
        Ok(())
    })
    .await
}

fn arrived(backend: &Backend, before: u64) -> Result<()> {
    ensure!(backend.sunk() > before, "none came");
    Ok(())
}

/// As many requests as get through.
async fn saturated(pair: &Pair, kind: Kind, connections: usize, options: &Options) -> Result<Metrics> {
    let load = Load::start(&pair.web, pair.at, kind, connections);
    let tally = &load.tally;
    sleep(WARM).await;
    let (good, bad, meter) = (tally.good(), tally.bad(), Meter::start(pair)?);
    sleep(options.span()).await;
    let reading = meter.stop()?;
    let (good, bad) = (tally.good() - good, tally.bad() - bad);
    ensure!(good > 0, "there was no good answer; {}", tally.first_failure());
    let mut metrics = per_answer(&reading, good);
    metrics.insert("rps", good as f64 / reading.took.as_secs_f64());
    metrics.insert("failed", bad as f64);
    Ok(metrics)
}

async fn bulk(pair: &Pair, backend: &Backend, options: &Options) -> Result<Metrics> {
    let bulk = Bulk::start(&pair.web, pair.at);
    sleep(WARM).await;
    let (sunk, meter) = (backend.sunk(), Meter::start(pair)?);
    sleep(options.span()).await;
    let reading = meter.stop()?;
    let gigabytes = (backend.sunk() - sunk) as f64 / GIGABYTE;
    drop(bulk);
    ensure!(gigabytes > 0.0, "nothing arrived");
    let mut metrics = cpu(&reading, 1.0 / gigabytes);
    metrics.insert("gbps", 8.0 * gigabytes / reading.took.as_secs_f64());
    Ok(metrics)
}

/// A fixed rate, far from saturation.
async fn steady(pair: &Pair, options: &Options) -> Result<Metrics> {
    let (reading, latencies) = at_a_rate(pair, STEADY_CONNECTIONS, options).await?;
    let mut metrics = per_answer(&reading, latencies.good);
    metrics.insert("p50_ms", millis(&latencies, 0.5));
    metrics.insert("p99_ms", millis(&latencies, 0.99));
    metrics.insert("failed", latencies.failed as f64);
    Ok(metrics)
}

/// What becomes of the others when some clients stop reading.
async fn stalled(pair: &Pair, options: &Options) -> Result<Metrics> {
    let (_, alone) = at_a_rate(pair, BESIDE, options).await?;
    let held = pair.web.run(http1::open_stalled(pair.at, STALLED)).await?;
    let (reading, beside) = at_a_rate(pair, BESIDE, options).await?;
    drop(held);
    let (without, with) = (millis(&alone, 0.99), millis(&beside, 0.99));
    Ok(Metrics::from([
        ("p99_alone_ms", without),
        ("p99_beside_ms", with),
        ("ratio", with / without),
        ("failed", (alone.failed + beside.failed) as f64),
        ("noise", reading.noise),
    ]))
}

async fn at_a_rate(pair: &Pair, connections: usize, options: &Options) -> Result<(Reading, Latencies)> {
    let load = Steady::start(&pair.web, pair.at, options.rate, connections, (WARM, options.span()))?;
    sleep_until(Instant::from_std(load.begin)).await;
    let meter = Meter::start(pair)?;
    sleep_until(Instant::from_std(load.end)).await;
    let reading = meter.stop()?;
    Ok((reading, load.finish().await?))
}

/// At rest the pair has answered a few requests and has no work.
async fn idle(pair: &Pair, options: &Options) -> Result<Metrics> {
    sleep(SETTLE).await;
    let rest = memory(pair)?;
    let held = pair.web.run(http1::open_idle(pair.at, options.idle)).await?;
    sleep(SETTLE).await;
    let busy = memory(pair)?;
    drop(held);
    let (proxies, connections) = (rest.len() as f64, f64::from(options.idle));
    let resident = |memory: &[Memory]| memory.iter().map(|proxy| proxy.resident).sum::<f64>();
    let anonymous = |memory: &[Memory]| memory.iter().map(|proxy| proxy.anonymous).sum::<f64>();
    Ok(Metrics::from([
        ("resident_mib", resident(&rest) / proxies / 1024.0),
        ("anonymous_mib", anonymous(&rest) / proxies / 1024.0),
        ("connection_kib", (resident(&busy) - resident(&rest)) / connections),
        ("connection_anonymous_kib", (anonymous(&busy) - anonymous(&rest)) / connections),
    ]))
}

/// CPU time in microseconds for each good answer.
fn per_answer(reading: &Reading, good: u64) -> Metrics {
    cpu(reading, 1e6 / good as f64)
}

/// CPU time of the pair and of each side, of which a second counts as `scale`; and the noise.
fn cpu(reading: &Reading, scale: f64) -> Metrics {
    let mut metrics = Metrics::from([("noise", reading.noise)]);
    if let [client, server] = reading.cpu.as_slice() {
        let each = [("cpu", *client + *server), ("cpu_client", *client), ("cpu_server", *server)];
        metrics.extend(each.map(|(name, cpu)| (name, scale * cpu.as_secs_f64())));
    }
    metrics
}

/// A quantile, in milliseconds.
fn millis(latencies: &Latencies, q: f64) -> f64 {
    quantile(&latencies.took, q).as_secs_f64() * 1000.0
}
