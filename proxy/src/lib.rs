//! `weft-proxy`: the sidecar that stands beside a pod's application.
//!
//! `docs/life-of-a-connection.md` follows a connection through these files: `outbound` and `inbound` are the two
//! itineraries, `path` has their stages. Public are the command line, [`run`], and [`why`], which
//! explains what the proxy would decide; `bench` is for the benchmarks alone.

mod admin;
mod app;
mod config;
mod control_channel;
mod discovery;
mod drain;
mod identity;
mod inbound;
mod intercept;
mod linger;
mod outbound;
mod path;
mod resolver;
#[cfg(test)]
mod sizes;
mod telemetry;
mod wait;
pub mod why;
mod worker;

use clap::{Parser, Subcommand};

#[doc(hidden)]
pub use path::http1::bench;

/// The Weft sidecar: takes over a pod's traffic, gives it mutual TLS, routing and telemetry.
#[derive(Parser)]
#[command(name = "weft-proxy", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the proxy. It is configured by its environment, see docs/reference/proxy.md.
    Run,
    /// Installs, prints or removes the redirect rules of this network namespace.
    Intercept(Box<intercept::InterceptArgs>),
    /// Waits until the proxy of this network namespace is ready.
    Wait(wait::WaitArgs),
    /// Waits until the application of this network namespace has ended.
    Linger(linger::LingerArgs),
}

/// Does what the command line of `weft-proxy` asks for. Ends the process where the command line is wrong.
///
/// `give_back` returns memory that the calling thread has freed to the system; each worker calls it once a second.
///
/// # Errors
/// What the command could not do, with the setting or the next step that helps.
pub fn run(give_back: fn()) -> anyhow::Result<()> {
    weft_certs::tls::install_provider();
    match Cli::parse().command {
        Command::Run => app::run(config::Config::from_env(|name| std::env::var(name).ok())?, give_back),
        Command::Intercept(args) => args.run(),
        Command::Wait(args) => args.run(),
        Command::Linger(args) => args.run(),
    }
}
