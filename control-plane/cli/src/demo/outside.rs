//! The half of the demo that stays in the machine's own network, so that people can play with the mesh from there.
//!
//! It listens on loopback for the control plane's API and for the web application, hands every connection to the
//! demo inside its namespaces through Unix sockets in a folder, and takes traces out the same way where
//! `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use http::Uri;
use http::uri::Scheme;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use weft_api::ports;

use super::forward;

/// Where the half inside finds [`Outside`], as JSON.
const VARIABLE: &str = "WEFT_DEMO_OUTSIDE";
const COLLECTOR_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Where the web application is offered, unless the port is taken.
const WEB_PORT: u16 = 8080;

/// What the half inside knows of the half outside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Outside {
    /// The folder of the Unix sockets.
    folder: PathBuf,
    /// Where people reach the control plane's API.
    pub(super) api: SocketAddr,
    /// Where people reach the web application.
    pub(super) web: SocketAddr,
    /// The collector that gets the spans, `HOST:PORT`; none: the demo counts them itself.
    pub(super) collector: Option<String>,
}

impl Outside {
    /// What the half outside said to this process; none where this process is to be the half outside.
    pub(super) fn inherited() -> Result<Option<Self>> {
        let Some(text) = std::env::var_os(VARIABLE) else { return Ok(None) };
        let outside = serde_json::from_str(&text.to_string_lossy());
        let outside = outside.with_context(|| format!("{VARIABLE} is not what `weft demo` sets: unset it"))?;
        // Should the half outside be killed, this one has to end, too.
        set_pdeathsig(Signal::SIGTERM).context("cannot ask to be ended with the parent")?;
        Ok(Some(outside))
    }

    /// The socket that leads from outside to the control plane's API.
    pub(super) fn api_socket(&self) -> PathBuf {
        self.folder.join("api.sock")
    }

    /// The socket that leads from outside to the web application.
    pub(super) fn web_socket(&self) -> PathBuf {
        self.folder.join("web.sock")
    }

    /// The socket that leads from inside to the collector.
    pub(super) fn collector_socket(&self) -> PathBuf {
        self.folder.join("collector.sock")
    }
}

/// Is the half outside: starts this program again as the half inside, carries connections, and ends as that one does.
pub(super) fn run() -> Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve())
}

async fn serve() -> Result<ExitCode> {
    let collector = std::env::var(COLLECTOR_VARIABLE).ok().filter(|url| !url.is_empty());
    let collector = collector.map(|url| authority(&url)).transpose()?;
    let folder = tempfile::Builder::new().prefix("weft-demo-").tempdir().context("cannot make a folder")?;
    let (api, web) = (listen(ports::CONTROL_API).await?, listen(WEB_PORT).await?);
    let outside = Outside {
        folder: folder.path().to_owned(),
        api: api.local_addr()?,
        web: web.local_addr()?,
        collector: collector.clone(),
    };
    if let Some(collector) = collector {
        tokio::spawn(forward::unix_to_tcp(forward::listen(&outside.collector_socket())?, collector));
    }
    tokio::spawn(forward::tcp_to_unix(api, outside.api_socket()));
    tokio::spawn(forward::tcp_to_unix(web, outside.web_socket()));

    let program = std::env::current_exe().context("cannot find the program itself")?;
    let inside = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(VARIABLE, serde_json::to_string(&outside)?)
        .spawn()
        .context("cannot start the program again")?;
    follow(inside).await
}

/// Passes signals on to the half inside until it ends. (A terminal's Ctrl-C reaches it directly, too: once is enough.)
async fn follow(mut inside: Child) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let pid = inside.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    loop {
        let passed = tokio::select! {
            status = inside.wait() => {
                let code = status.context("cannot wait for the demo")?.code();
                return Ok(code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from));
            }
            _ = interrupt.recv() => Signal::SIGINT,
            _ = terminate.recv() => Signal::SIGTERM,
            _ = hang_up.recv() => Signal::SIGHUP,
        };
        if let Some(pid) = pid {
            let _ = kill(pid, passed);
        }
    }
}

/// Listens on loopback: on `port`, or on any where that one is taken.
async fn listen(port: u16) -> Result<TcpListener> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen on loopback"),
    }
}

/// `HOST:PORT` of a collector's URL.
fn authority(url: &str) -> Result<String> {
    let uri: Uri = url.parse().with_context(|| format!("{COLLECTOR_VARIABLE}={url} is not a URL"))?;
    ensure!(
        uri.scheme() == Some(&Scheme::HTTP),
        "{COLLECTOR_VARIABLE}={url} must begin with http://: the demo sends spans as gRPC without TLS"
    );
    let host = uri.host().with_context(|| format!("{COLLECTOR_VARIABLE}={url} names no host"))?;
    Ok(format!("{host}:{}", uri.port_u16().unwrap_or(4317)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_plain_http() {
        assert_eq!(authority("http://localhost:4317").unwrap(), "localhost:4317");
        assert_eq!(authority("http://[::1]/").unwrap(), "[::1]:4317");
        for wrong in ["https://collector:4317", "collector:4317", "/x", ""] {
            assert!(authority(wrong).is_err(), "{wrong} was accepted");
        }
    }
}
