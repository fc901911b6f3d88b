//! `weft-control` in a pod of its own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use parking_lot::Mutex;
use tonic::transport::Channel;
use weft_api::ports;
use weft_api::traffic::traffic_client::TrafficClient;
use weft_api::traffic::{Backend, DeleteSplitRequest, GetSplitRequest, SetWeightsRequest, Split, WatchSplitsRequest};

use super::http::get;
use super::metrics::Metrics;
use super::netns::{Netns, NetnsRuntime};
use super::network::CONTROL_HOST;
use super::process::Process;
use super::{World, binaries, wait_until};

const READY: Duration = Duration::from_secs(30);

/// The path of `weft-control`.
///
/// # Errors
/// Says how to build it.
pub fn control_program() -> Result<PathBuf> {
    binaries::find("weft-control", "WEFT_CONTROL_BIN")
}

/// A control plane in the making; [`start`](Self::start) starts it.
#[derive(Debug)]
#[must_use = "the control plane runs once `start` is called"]
pub struct ControlPlaneBuilder {
    world: World,
    environment: BTreeMap<String, String>,
}

impl ControlPlaneBuilder {
    pub(super) fn new(world: World) -> Self {
        Self { world, environment: BTreeMap::new() }
    }

    /// The lifetime of the certificates that it signs.
    pub fn certificate_lifetime(self, lifetime: Duration) -> Self {
        self.env("WEFT_CERT_LIFETIME", &format!("{}ms", lifetime.as_millis()))
    }

    /// What a pod without `weft.dev/mtls` takes in: mutual TLS alone. (The default is permissive.)
    pub fn strict(self) -> Self {
        self.env("WEFT_DEFAULT_MTLS", "strict")
    }

    /// A variable of its environment.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.environment.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not become ready; with its log.
    pub async fn start(self) -> Result<ControlPlane> {
        let (netns, _) = self.world.network().connect(CONTROL_HOST)?;
        let control = ControlPlane(Arc::new(Inner {
            program: control_program()?,
            runtime: netns.runtime("control")?,
            netns,
            world: self.world,
            environment: self.environment,
            process: Mutex::new(None),
        }));
        control.restart().await?;
        Ok(control)
    }
}

/// The control plane. Killed when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct ControlPlane(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    world: World,
    program: PathBuf,
    netns: Netns,
    runtime: NetnsRuntime,
    environment: BTreeMap<String, String>,
    process: Mutex<Option<Process>>,
}

impl ControlPlane {
    /// The process that runs now, or ran last.
    ///
    /// # Errors
    /// Where none was started.
    pub fn process(&self) -> Result<Process> {
        self.0.process.lock().clone().context("the control plane was never started")
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// Where the kernel does not end it.
    pub async fn kill(&self) -> Result<()> {
        self.process()?.kill().await
    }

    /// Ends it as Kubernetes does (SIGTERM) and waits at most `limit`.
    ///
    /// # Errors
    /// Where it still runs then; with its log.
    pub async fn terminate(&self, limit: Duration) -> Result<ExitStatus> {
        self.process()?.terminate(limit).await
    }

    /// Starts it, over the same state as before, and waits until it is ready. One that still runs is killed first.
    ///
    /// # Errors
    /// Where it does not become ready; with its log.
    pub async fn restart(&self) -> Result<()> {
        let inner = &self.0;
        let previous = inner.process.lock().take();
        if let Some(previous) = previous {
            previous.kill().await?;
        }
        let mut command = Command::new(&inner.program);
        command
            .arg("run")
            .env("WEFT_REGISTRY", format!("files:{}", inner.world.registry().folder().display()))
            .env("WEFT_STATE_DIR", inner.world.state_dir())
            .env("WEFT_TRUST_DOMAIN", super::TRUST_DOMAIN)
            .envs(&inner.environment);
        let process = Process::start(&inner.netns, "control", &inner.world.log_file("control"), &mut command)?;
        *inner.process.lock() = Some(process.clone());
        let ready = wait_until("the control plane's /readyz", READY, || self.fetch("/readyz"));
        tokio::select! {
            ready = ready => ready.map(drop).with_context(|| process.recent_log()),
            status = process.ended(READY * 2) => Err(process.failure(status?)),
        }
    }

    /// Scrapes its metrics.
    ///
    /// # Errors
    /// Where it does not answer, or not in Prometheus' text format.
    pub async fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&self.fetch("/metrics").await?)
    }

    /// Sets the weights of a Service in `default`; answered when the write is durable.
    ///
    /// # Errors
    /// The traffic API's.
    pub async fn set_weights(&self, service: &str, weights: &[(&str, i64)]) -> Result<Split> {
        let backends = weights.iter().map(|(service, weight)| Backend {
            service: (*service).to_owned(),
            port: 0,
            weight: *weight,
        });
        let request = SetWeightsRequest {
            namespace: super::DEFAULT_NAMESPACE.to_owned(),
            service: service.to_owned(),
            backends: backends.collect(),
            expected_version: None,
            take_over: false,
        };
        let call = async move { Ok(traffic_client().await?.set_weights(request).await?.into_inner()) };
        self.run(call).await.with_context(|| format!("set the weights of {service}"))
    }

    /// Takes the split of a Service in `default` away.
    ///
    /// # Errors
    /// The traffic API's.
    pub async fn delete_split(&self, service: &str) -> Result<()> {
        let (namespace, name) = (super::DEFAULT_NAMESPACE.to_owned(), service.to_owned());
        let request = DeleteSplitRequest { namespace, service: name, expected_version: None };
        let call = async move { Ok(traffic_client().await?.delete_split(request).await?) };
        self.run(call).await.map(drop).with_context(|| format!("delete the split of {service}"))
    }

    /// The split of a Service in `default`, as it was written.
    ///
    /// # Errors
    /// The traffic API's.
    pub async fn split(&self, service: &str) -> Result<Split> {
        let request = GetSplitRequest { namespace: super::DEFAULT_NAMESPACE.to_owned(), service: service.to_owned() };
        let call = async move { Ok(traffic_client().await?.get_split(request).await?.into_inner()) };
        self.run(call).await.with_context(|| format!("get the split of {service}"))
    }

    /// Waits until every proxy that routes to the split's Service, and at least one, acknowledged its version.
    ///
    /// # Errors
    /// Where that takes longer than `limit`, or another version came instead.
    pub async fn rolled_out(&self, split: &Split, limit: Duration) -> Result<()> {
        let wanted = split.clone();
        let call = async move {
            let request = WatchSplitsRequest { namespace: wanted.namespace.clone() };
            let mut events = traffic_client().await?.watch_splits(request).await?.into_inner();
            while let Some(event) = events.message().await? {
                let Some(seen) = event.split.filter(|seen| seen.service == wanted.service) else { continue };
                ensure!(seen.version <= wanted.version, "version {} came after {}", seen.version, wanted.version);
                let rollout = seen.rollout.unwrap_or_default();
                if seen.version == wanted.version && rollout.proxies > 0 && rollout.current == rollout.proxies {
                    return Ok(());
                }
            }
            bail!("the watch of splits ended")
        };
        let late = || format!("version {} of the split of {} did not reach every proxy", split.version, split.service);
        tokio::time::timeout(limit, self.run(call)).await.with_context(late)?
    }

    /// Runs a task inside the control plane's pod.
    ///
    /// # Errors
    /// The task's own, or that it panicked.
    pub async fn run<T, F>(&self, task: F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.0.runtime.spawn(task).await.context("a task in the control plane's pod")?
    }

    async fn fetch(&self, path: &'static str) -> Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::CONTROL_METRICS));
        let (status, body) = self.run(get(address, path)).await?;
        ensure!(status.is_success(), "{path} answers {status}: {body}");
        Ok(body)
    }
}

/// Connects to the traffic API on loopback; for tasks in the control plane's pod.
async fn traffic_client() -> Result<TrafficClient<Channel>> {
    let address = format!("http://127.0.0.1:{}", ports::CONTROL_API);
    TrafficClient::connect(address).await.context("cannot connect to the traffic API")
}
