//! How far one control plane goes: simulated proxies against a real `weft-control`, and a real proxy in a mesh that
//! grows. `make scale` runs it; docs/performance.md tells what it found.
//!
//! ```text
//! Mesh (a folder of manifests) ──> weft-control (a process of its own)
//!   ^ changes, timed                    │ delta streams over mutual TLS, one a proxy
//!   └── scenarios ── Board <── Fleet (all proxies, in this process)
//! ```

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use weft_certs::tls;

mod board;
mod control;
mod fleet;
mod growth;
mod mesh;
mod proxy;
mod report;
mod scenarios;

/// The whole run ends after so long at the latest.
const LONGEST: Duration = Duration::from_secs(600);

/// Measures one control plane against its targets; ends with 1 where one is missed.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    /// How the result is printed: `text`, or `json`, one object as the last line.
    #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
    /// Services, each with ten endpoints.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(40..=60_000))]
    services: u32,
    /// The sizes of the fleet, in ascending order: what is measured, is measured at each, and the rest at the last.
    #[arg(long, value_delimiter = ',', default_value = "250,500,1000,2000",
          value_parser = clap::value_parser!(u32).range(1..=18_000))]
    proxies: Vec<u32>,
    /// How many Services each proxy dials.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=40))]
    dialled: u32,
    /// Changes of one endpoint, one after the other, at each size.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    changes: u32,
    /// Changes a second of the rolling restart.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    rate: u32,
    /// How many Services there are in the end around a real proxy that dials ten.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(11..=60_000))]
    grow_to: u32,
    /// Shows times without judging them: for a machine that is slow, or does other things as well.
    #[arg(long)]
    untimed: bool,
    /// Where the curve is drawn, as SVG.
    #[arg(long)]
    plot: Option<std::path::PathBuf>,
    /// Leaves the real proxy out, which needs network namespaces.
    #[arg(long)]
    no_growth: bool,
    /// The real proxy alone: what this program runs in a process of its own.
    #[arg(long, hide = true)]
    growth: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match options.growth {
        true => growth::inside(&mut io::stdout().lock(), options.grow_to).map(|()| true),
        false => run(&options),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all targets were met.
fn run(options: &Options) -> Result<bool> {
    tls::install_provider();
    // What the mesh grows by is for a control plane of its own, while nothing else is measured.
    let growth = match options.no_growth {
        true => None,
        false => Some(growth::outside(options.grow_to)?),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let limited = async { tokio::time::timeout(LONGEST, scenarios::all(options)).await };
    let outcome = runtime.block_on(limited);
    runtime.shutdown_background();
    let measured = outcome.with_context(|| format!("still at it after {LONGEST:?}"))??;
    report::show(&mut io::stdout().lock(), options, &measured, growth)
}
