//! `weft-control run`: the Weft control plane.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use weft_control::app::App;
use weft_control::config::{Config, Flags, LogConfig, LogFormat};

/// The Weft control plane: discovery, certificates and traffic shifting.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT.
    Run(Box<Flags>),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Command::Run(flags) = Cli::parse().command;
    let config = Config::from_flags(&flags)?;
    log_to_stderr(&config.log)?;
    weft_certs::tls::install_provider();
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be handled")?;
    // A start waits for the API server as long as it takes.
    let mut app = tokio::select! {
        started = App::start(&config) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        error = app.failed() => return Err(error.into()),
    }
    tracing::info!("stopping");
    app.stop().await;
    Ok(())
}

fn log_to_stderr(config: &LogConfig) -> anyhow::Result<()> {
    let log = tracing_subscriber::fmt()
        // Our own lines say what the client of the API server would say in others; `kube_client=...` shows those.
        .with_env_filter(EnvFilter::try_new(format!("kube_client=off,{}", config.filter))?)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match config.format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
