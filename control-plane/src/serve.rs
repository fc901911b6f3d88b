//! What `weft-control run` does, from its flags to its end.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::app::App;
use crate::config::{Config, Flags, LogConfig, LogFormat};

/// Serves until SIGTERM or SIGINT. To be called once, and outside of any runtime: it makes its own, so that the whole program is
/// compiled with this library and not once more with each one that uses it.
///
/// # Errors
/// Where the flags contradict each other, something can't be started, or a part that all others need has ended.
pub fn serve(flags: &Flags) -> anyhow::Result<()> {
    let config = Config::from_flags(flags)?;
    log_to_stderr(&config.log)?;
    weft_certs::tls::install_provider();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(until_told_to_end(&config))
}

async fn until_told_to_end(config: &Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be handled")?;
    // A start waits for the API server as long as it takes.
    let mut app = tokio::select! {
        started = App::start(config) => started?,
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
