//! Pods: a network namespace on the bridge, a manifest, an application and, if meshed, a sidecar.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Output};
use std::sync::Arc;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::World;
use super::manifests::{EndpointState, Key, PodRecord};
use super::netns::{Netns, NetnsRuntime};
use super::network::Addresses;
use super::process::Process;
use super::sidecar::Sidecar;

/// A pod in the making; [`start`](Self::start) makes it.
#[derive(Debug)]
#[must_use = "a pod exists once `start` is called"]
pub struct PodBuilder {
    world: World,
    key: Key,
    service_account: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    sidecar: Option<SidecarOptions>,
}

/// What differs from one sidecar to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct SidecarOptions {
    pub(super) environment: BTreeMap<String, String>,
    pub(super) intercept: Vec<String>,
}

impl PodBuilder {
    pub(super) fn new(world: World, name: &str) -> Self {
        Self {
            world,
            key: (super::DEFAULT_NAMESPACE.to_owned(), name.to_owned()),
            service_account: name.to_owned(),
            labels: [("app".to_owned(), name.to_owned())].into(),
            annotations: BTreeMap::new(),
            sidecar: None,
        }
    }

    /// The Kubernetes namespace; default `default`.
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.key.0);
        self
    }

    /// The service account; default the pod's name.
    pub fn service_account(mut self, name: &str) -> Self {
        name.clone_into(&mut self.service_account);
        self
    }

    /// A label. `app` is the pod's name unless it is set here.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// An annotation.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Gives the pod a sidecar and redirect rules.
    pub fn sidecar(mut self) -> Self {
        self.sidecar.get_or_insert_default();
        self
    }

    /// Gives the pod a sidecar that has this in its environment.
    pub fn sidecar_env(mut self, key: &str, value: &str) -> Self {
        self.sidecar.get_or_insert_default().environment.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Gives the pod a sidecar and adds this to the command line of `weft-proxy intercept`.
    pub fn intercept_arg(mut self, argument: &str) -> Self {
        self.sidecar.get_or_insert_default().intercept.push(argument.to_owned());
        self
    }

    /// Makes the pod and, if it has a sidecar, waits until that is ready.
    ///
    /// # Errors
    /// Where the namespace cannot be made or the sidecar does not become ready; with its log.
    pub async fn start(mut self) -> Result<Pod> {
        let (netns, addresses) = self.world.network().connect_next()?;
        if self.sidecar.is_some() {
            self.labels.insert("weft.dev/inject".to_owned(), "enabled".to_owned());
        }
        self.world.add_service_account(&self.key.0, &self.service_account)?;
        self.world.registry().add_pod(PodRecord {
            key: self.key.clone(),
            service_account: self.service_account.clone(),
            labels: self.labels,
            annotations: self.annotations,
            addresses,
        })?;
        let runtime = Arc::new(netns.runtime(&self.key.1)?);
        let pod = Pod(Arc::new(Inner {
            world: self.world,
            key: self.key,
            service_account: self.service_account,
            addresses,
            netns,
            runtime,
            options: self.sidecar,
            sidecar: Mutex::new(None),
            apps: Mutex::new(Vec::new()),
        }));
        if pod.0.options.is_some() {
            pod.start_sidecar().await.with_context(|| format!("the sidecar of {} did not start", pod.name()))?;
        }
        Ok(pod)
    }
}

/// A pod. It goes when its last handle is dropped, with all that runs in it; its manifest stays.
#[derive(Clone, Debug)]
pub struct Pod(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    world: World,
    key: Key,
    service_account: String,
    addresses: Addresses,
    netns: Netns,
    runtime: Arc<NetnsRuntime>,
    options: Option<SidecarOptions>,
    sidecar: Mutex<Option<Sidecar>>,
    apps: Mutex<Vec<Process>>,
}

impl Pod {
    pub(super) fn adopt(world: World, netns: Netns, key: Key, address: IpAddr) -> Result<Self> {
        let (v4, v6) = match address {
            IpAddr::V4(v4) => (v4, Ipv6Addr::UNSPECIFIED),
            IpAddr::V6(v6) => (Ipv4Addr::UNSPECIFIED, v6),
        };
        Ok(Self(Arc::new(Inner {
            world,
            runtime: Arc::new(netns.runtime(&key.1)?),
            key,
            service_account: "default".to_owned(),
            addresses: Addresses { v4, v6 },
            netns,
            options: None,
            sidecar: Mutex::new(None),
            apps: Mutex::new(Vec::new()),
        })))
    }

    /// The pod's name, without its namespace.
    pub fn name(&self) -> &str {
        &self.0.key.1
    }

    /// The name of its service account.
    pub fn service_account(&self) -> &str {
        &self.0.service_account
    }

    /// The SPIFFE id that its sidecar shows, `spiffe://cluster.local/ns/NS/sa/SA`.
    pub fn identity(&self) -> String {
        format!("spiffe://{}/ns/{}/sa/{}", super::TRUST_DOMAIN, self.0.key.0, self.0.service_account)
    }

    /// Its IPv4 address with a port.
    pub fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.0.addresses.v4), port)
    }

    /// Its IPv6 address with a port.
    pub fn address_v6(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V6(self.0.addresses.v6), port)
    }

    /// Starts a task that makes its sockets inside the pod. It ends with the pod.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.0.runtime.spawn(task)
    }

    /// Runs a task inside the pod and waits for what it gives.
    ///
    /// # Errors
    /// The task's own, or that it panicked.
    pub async fn run<T, F>(&self, task: F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.spawn(task).await.with_context(|| format!("a task in the pod {}", self.name()))?
    }

    /// Starts the application's process, with its output in a log file. It is killed with the pod.
    ///
    /// # Errors
    /// Where the program cannot be started.
    pub fn start_app(&self, command: &mut Command) -> Result<Process> {
        let process = self.start_process("app", command)?;
        self.0.apps.lock().push(process.clone());
        Ok(process)
    }

    /// Runs a command inside the pod to its end.
    ///
    /// # Errors
    /// Where the program cannot be started.
    pub fn output(&self, command: &mut Command) -> Result<Output> {
        let program = command.get_program().to_owned();
        self.0.netns.run(|| command.output())?.with_context(|| format!("cannot run {}", program.display()))
    }

    /// The sidecar that runs now, or ran last.
    ///
    /// # Errors
    /// Where the pod has none.
    pub fn sidecar(&self) -> Result<Sidecar> {
        self.0.sidecar.lock().clone().with_context(|| format!("the pod {} has no sidecar", self.name()))
    }

    /// Installs the redirect rules and starts the sidecar (again), as it was asked for when the pod was made.
    ///
    /// # Errors
    /// Where it does not become ready; with its log.
    pub async fn start_sidecar(&self) -> Result<Sidecar> {
        let sidecar = Sidecar::start(self, self.0.options.clone().unwrap_or_default()).await?;
        *self.0.sidecar.lock() = Some(sidecar.clone());
        Ok(sidecar)
    }

    /// Says in the EndpointSlices of all its Services whether the pod is ready.
    ///
    /// # Errors
    /// Where the registry's folder cannot be written.
    pub fn ready(&self, ready: bool) -> Result<()> {
        self.set_endpoint(if ready { EndpointState::Ready } else { EndpointState::NotReady })
    }

    /// Takes the pod out of the EndpointSlices of all its Services; [`ready`](Self::ready) brings it back.
    ///
    /// # Errors
    /// Where the registry's folder cannot be written.
    pub fn remove_endpoint(&self) -> Result<()> {
        self.set_endpoint(EndpointState::Absent)
    }

    /// Changes how the pod stands in the EndpointSlices of all its Services.
    ///
    /// # Errors
    /// Where the registry's folder cannot be written.
    pub fn set_endpoint(&self, state: EndpointState) -> Result<()> {
        self.0.world.registry().set_endpoint(&self.0.key, state)
    }

    /// Takes the pod's manifest away, as when it was deleted.
    ///
    /// # Errors
    /// Where the registry's folder cannot be written.
    pub fn delete_manifest(&self) -> Result<()> {
        self.0.world.registry().remove_pod(&self.0.key)
    }

    pub(super) fn key(&self) -> &Key {
        &self.0.key
    }

    pub(super) fn world(&self) -> &World {
        &self.0.world
    }

    pub(super) fn runtime(&self) -> &Arc<NetnsRuntime> {
        &self.0.runtime
    }

    pub(super) fn start_process(&self, role: &str, command: &mut Command) -> Result<Process> {
        let name = format!("{}-{role}", self.name());
        Process::start(&self.0.netns, &name, &self.0.world.log_file(&name), command)
    }
}
