//! `weft demo`: a small mesh on this machine, with real sidecars and real redirect rules, and its traffic shifted live.
//!
//! Two processes: the half outside stays in the machine's own network (`outside`); the half inside enters namespaces of
//! its own, starts the mesh there (`mesh`), plays its part (`play`) and reports (`report`). Everything ends with the half
//! inside: there is nothing to clean up afterwards.

pub mod app;
mod collector;
mod counters;
mod forward;
mod histogram;
mod load;
mod mesh;
mod outside;
mod play;
mod report;
mod view;

use std::future::Future;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use weft_api::ports;

use self::mesh::Mesh;
use self::outside::Outside;
use self::play::Play;
use self::view::View;
use crate::args::Output;
use crate::{output, world};

/// The plot's duration where people stay to play on.
const PLOT: Duration = Duration::from_secs(20);
/// Below this, too few requests are made to judge a split by.
const SHORTEST: Duration = Duration::from_secs(5);

/// The command line of `weft demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// End by itself after this time, such as 15s; without it, go on until Ctrl-C
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; write it as in 15s or 2m"))?;
    if duration < SHORTEST { Err(format!("must be at least {SHORTEST:?}")) } else { Ok(duration) }
}

/// Runs the demo. The exit code is 0 only if everything was as a mesh should be.
///
/// # Errors
/// Where namespaces, programs or the mesh are not to be had; or when interrupted before the end of the plot.
pub(crate) fn run(args: &DemoArgs, form: Output) -> Result<ExitCode> {
    let Some(outside) = Outside::inherited()? else { return outside::run() };
    world::enter()?;
    Runtime::new()?.block_on(inside(args, form, &outside))
}

async fn inside(args: &DemoArgs, form: Output, outside: &Outside) -> Result<ExitCode> {
    let mut stop = Stop::new()?;
    let view = View::new(form);
    view.step("Starting a control plane and five pods, each with an application and a sidecar ...");
    let mesh = stop.unless(Mesh::start(outside)).await?;
    view.step(&format!("Ready: {}. Visitors ask web, web asks api (v1, v2), api asks users.", mesh.pods()));
    let play = Play::begin(mesh, view)?;
    let plot = play.perform(args.duration.unwrap_or(PLOT));
    let splits = stop
        .unless(async {
            tokio::select! {
                splits = plot => splits,
                never = play.show() => match never {},
            }
        })
        .await?;
    if args.duration.is_none() {
        play.say(&how_to_play_on(outside));
        tokio::select! {
            () = stop.recv() => {}
            never = play.show() => match never {},
        }
    }
    let report = play.finish(splits).await;
    match form {
        Output::Json => output::json_line(&mut io::stdout(), &report)?,
        Output::Table => writeln!(io::stdout(), "{report}")?,
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn how_to_play_on(outside: &Outside) -> String {
    let weft = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("weft"));
    let weft = std::env::current_dir()
        .ok()
        .and_then(|folder| weft.strip_prefix(folder).ok().map(Path::to_owned))
        .unwrap_or(weft);
    let weft = weft.display();
    let server = match outside.api.port() {
        ports::CONTROL_API => String::new(),
        port => format!(" --server http://127.0.0.1:{port}"),
    };
    format!(
        "\nThe plot is over, the mesh goes on. Play with it from another terminal:\n  \
           curl http://{}/\n  \
           {weft} traffic set api v1=70 v2=30{server}\n  \
           {weft} traffic get api{server}\n  \
           {weft} status{server}\n\
         Ctrl-C ends it and leaves nothing behind.\n",
        outside.web
    )
}

/// SIGINT, SIGTERM and SIGHUP.
#[derive(Debug)]
struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        let on = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hang_up: on(SignalKind::hangup())?,
        })
    }

    /// Waits for one of them.
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }

    /// Does `work`, unless one of them comes first.
    async fn unless<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = work => done,
            () = self.recv() => bail!("interrupted; all that was started has been ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit_and_is_long_enough() {
        assert_eq!(parse_duration("15s"), Ok(Duration::from_secs(15)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["15", "4s", "-1s", ""] {
            assert!(parse_duration(wrong).is_err(), "{wrong} was accepted");
        }
    }
}
