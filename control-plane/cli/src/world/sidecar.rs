//! A pod's `weft-proxy`: redirect rules, process, readiness, metrics.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_api::ports;

use super::http::get;
use super::metrics::Metrics;
use super::netns::NetnsRuntime;
use super::pod::{Pod, SidecarOptions};
use super::process::Process;
use super::{binaries, wait_until};

/// The mark that the proxy's sockets carry, so that its own traffic is not redirected.
const SOCKET_MARK: &str = "1337";
/// How long a sidecar may take to become ready.
const READY: Duration = Duration::from_secs(30);

/// The path of `weft-proxy`.
///
/// # Errors
/// Says how to build it.
pub fn proxy_program() -> Result<std::path::PathBuf> {
    binaries::find("weft-proxy", "WEFT_PROXY_BIN")
}

/// A sidecar's process. Killed with its pod.
#[derive(Clone, Debug)]
pub struct Sidecar {
    process: Process,
    runtime: Arc<NetnsRuntime>,
}

impl Sidecar {
    pub(super) async fn start(pod: &Pod, options: SidecarOptions) -> Result<Self> {
        let program = proxy_program()?;
        let mut intercept = Command::new(&program);
        intercept.args(["intercept", "--proxy-mark", SOCKET_MARK]).args(&options.intercept);
        let output = pod.output(&mut intercept)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`weft-proxy intercept` in {}: {said}", pod.name());

        let world = pod.world();
        let mut run = Command::new(&program);
        run.arg("run")
            .env("WEFT_CONTROL_PLANE", world.control_address().to_string())
            .env("WEFT_TRUST_BUNDLE", world.trust_bundle())
            .env("WEFT_TOKEN_FILE", world.token_file(&pod.key().0, pod.service_account()))
            .env("WEFT_POD_NAME", pod.name())
            .env("WEFT_POD_NAMESPACE", &pod.key().0)
            .env("WEFT_SERVICE_ACCOUNT", pod.service_account())
            .env("WEFT_TRUST_DOMAIN", super::TRUST_DOMAIN)
            .env("WEFT_SOCKET_MARK", SOCKET_MARK)
            .envs(&options.environment);
        let process = pod.start_process("proxy", &mut run)?;
        let sidecar = Self { process, runtime: Arc::clone(pod.runtime()) };
        sidecar.await_ready().await?;
        Ok(sidecar)
    }

    /// Its process: signals, memory, log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Scrapes its metrics.
    ///
    /// # Errors
    /// Where it does not answer, or not in Prometheus' text format.
    pub async fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&self.fetch(ports::PROXY_METRICS, "/metrics").await?)
    }

    /// Its state: what it holds, in which version and since when.
    ///
    /// # Errors
    /// Where it does not answer with JSON.
    pub async fn config(&self) -> Result<serde_json::Value> {
        let text = self.fetch(ports::PROXY_ADMIN, "/config").await?;
        serde_json::from_str(&text).context("the state dump is not JSON")
    }

    /// Ends it as Kubernetes does (SIGTERM) and waits at most `limit` for how it ended.
    ///
    /// # Errors
    /// Where it still runs then; with its log.
    pub async fn terminate(&self, limit: Duration) -> Result<ExitStatus> {
        self.process.terminate(limit).await
    }

    async fn await_ready(&self) -> Result<()> {
        let ready = wait_until("the sidecar's /readyz", READY, || self.fetch(ports::PROXY_METRICS, "/readyz"));
        tokio::select! {
            ready = ready => ready.map(drop).with_context(|| self.process.recent_log()),
            status = self.process.ended(READY * 2) => Err(self.process.failure(status?)),
        }
    }

    async fn fetch(&self, port: u16, path: &'static str) -> Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (status, body) = self.runtime.spawn(get(address, path)).await??;
        ensure!(status.is_success(), "{path} answers {status}: {body}");
        Ok(body)
    }
}
