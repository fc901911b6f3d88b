//! What a pair of sidecars costs: Weft's beside Envoy's, HAProxy's and none. `make bench` runs it; docs/performance.md tells
//! what is compared and what came of it.
//!
//! ```text
//! Load (a thread in the pod `web`) ─> client's proxy ══ TLS over the bridge ══> server's proxy ─> Backend (a thread in `api`)
//!                                            └── Meter: CPU time and memory of these two processes ──┘
//! ```
//!
//! A cell is one peer under one workload in one round, in a world of its own.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use weft_cli::world;

mod backend;
mod cells;
mod figures;
mod load;
mod meter;
mod peers;
mod report;
mod setting;
mod wire;
mod workloads;

use peers::Peer;
use setting::Setting;
use workloads::Workload;

/// Open files of this process and of each proxy: idle connections, twice.
const OPEN_FILES: u64 = 65_536;

/// Measures a pair of Weft's sidecars beside other proxies; ends with 1 where a target is missed, or a cell or a request of
/// Weft's failed.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    /// How the result is printed: `text`, or `json`, one object as the last line.
    #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
    /// What is put between the pods, in this order; each round begins with the next one.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Peer::value_variants().to_vec())]
    peers: Vec<Peer>,
    /// What is measured.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Workload::value_variants().to_vec())]
    workloads: Vec<Workload>,
    /// Rounds, in which the peers take turns; medians are shown.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// How long each measurement takes, after a second to warm up.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Ends proxies by SIGTERM after each measurement, so that they can write what they counted: for `make profile`.
    #[arg(long)]
    terminate: bool,
    /// Requests a second at a steady rate.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=5_000))]
    rate: u32,
    /// Idle connections.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=5_000))]
    idle: u32,
    /// Prints the table in Markdown, as docs/performance.md has it.
    #[arg(long)]
    markdown: bool,
    /// Where the bars are drawn, as SVG.
    #[arg(long)]
    plot: Option<PathBuf>,
}

impl Options {
    /// How long each measurement takes.
    pub(crate) fn span(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Err(error) = world::enter() {
        eprintln!("The benchmark needs network namespaces: {error}");
        return ExitCode::FAILURE;
    }
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all cells were measured, all of Weft's requests answered and no target missed.
fn run(options: &Options) -> Result<bool> {
    options.peers.iter().try_for_each(|peer| peer.check())?;
    allow_open_files()?;
    let setting = Setting::of(&options.peers);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let measured = runtime.block_on(cells::all(options));
    runtime.shutdown_background();
    report::show(&mut io::stdout().lock(), options, &setting, &measured?)
}

/// As many as the machine allows, for this process and what it starts.
fn allow_open_files() -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = soft.max(hard.min(OPEN_FILES));
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).context("cannot allow more open files")
}
