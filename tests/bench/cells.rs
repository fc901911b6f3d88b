//! All cells, one after the other: rounds in which the peers take turns, and in being the first of a round, too.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use weft_cli::world::World;

use crate::backend::Backend;
use crate::peers::Peer;
use crate::wire::Wire;
use crate::workloads::Workload;
use crate::{Options, workloads};

/// How long a cell may take beyond four times what is measured.
const LONGEST: Duration = Duration::from_secs(60);
/// Lines of each process's log that a failed cell shows.
const LOG_LINES: usize = 10;

/// What a cell came to, by name.
pub(crate) type Metrics = BTreeMap<&'static str, f64>;

/// A cell and what it came to.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) round: u32,
    pub(crate) workload: Workload,
    pub(crate) peer: Peer,
    pub(crate) metrics: Metrics,
}

/// What all cells came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) samples: Vec<Sample>,
    /// Of the cells that came to nothing: which one, and why.
    pub(crate) failed: Vec<String>,
}

/// Measures all cells. One that fails is told of, and left out.
///
/// # Errors
/// Where a signal asks to end.
pub(crate) async fn all(options: &Options) -> Result<Measured> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // What is under way ends when it is dropped: processes, namespaces, files.
    tokio::select! {
        measured = rounds(options) => Ok(measured),
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("asked to end"),
    }
}

async fn rounds(options: &Options) -> Measured {
    let mut measured = Measured::default();
    for (turn, round) in (1..=options.rounds).enumerate() {
        for workload in &options.workloads {
            for peer in in_turn(&options.peers, *workload, turn) {
                let name = format!("{round}/{} {workload} {peer}", options.rounds);
                match cell(peer, *workload, options).await {
                    Ok(metrics) => {
                        eprintln!("{name}:{}", brief(&metrics));
                        measured.samples.push(Sample { round, workload: *workload, peer, metrics });
                    }
                    Err(error) => {
                        eprintln!("{name} FAILED: {error:#}");
                        measured.failed.push(format!("{name}: {error:#}"));
                    }
                }
            }
        }
    }
    measured
}

/// The peers that the workload concerns. Each round begins with another one: a machine that becomes slower or faster meanwhile
/// favours none of them.
fn in_turn(peers: &[Peer], workload: Workload, turn: usize) -> Vec<Peer> {
    let mut peers: Vec<Peer> = peers.iter().copied().filter(|peer| workload.concerns(*peer)).collect();
    let first = turn % peers.len().max(1);
    peers.rotate_left(first);
    peers
}

/// One cell, in a world of its own: so nothing is left of the one before, neither connections nor memory.
async fn cell(peer: Peer, workload: Workload, options: &Options) -> Result<Metrics> {
    let world = World::new()?;
    let limit = LONGEST + 4 * options.span();
    let measured = timeout(limit, inside(&world, peer, workload, options)).await;
    let measured = measured.with_context(|| format!("still at it after {limit:?}")).and_then(|measured| measured);
    if measured.is_err() {
        eprint!("{}", world.log_tails(LOG_LINES));
    }
    measured
}

async fn inside(world: &World, peer: Peer, workload: Workload, options: &Options) -> Result<Metrics> {
    let traffic = workload.traffic();
    let wire = Wire::watch(world)?;
    let pair = peer.start(world, traffic).await?;
    pair.make_room().await?;
    let backend = Backend::start(&pair.api).await?;
    workloads::ready(&pair, &backend, traffic).await?;
    match pair.proxies.is_empty() {
        true => drop(wire),
        false => wire.check(world, &pair, traffic).await?,
    }
    let metrics = workload.measure(&pair, &backend, options).await?;
    if options.terminate {
        for proxy in &pair.proxies {
            let status = proxy.terminate(LONGEST).await?;
            ensure!(status.success(), "a proxy that was told to end did so with {status}");
        }
    }
    Ok(metrics)
}

fn brief(metrics: &Metrics) -> String {
    metrics.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = write!(text, " {name} {}", weft_tests::plot::figure(*value));
        text
    })
}
