//! Worlds of pods on one machine: network namespaces on a bridge, real processes, real redirect rules.
//!
//! ```no_run
//! # use weft_cli::world::{self, World};
//! # use std::process::Command;
//! # async fn example() -> anyhow::Result<()> {
//! let world = World::new()?;
//! let control = world.control_plane().start().await?;
//! let api = world.pod("api").sidecar().start().await?;
//! api.start_app(&mut Command::new("./api"))?;
//! let service = world.service("api").port(80, 8080, "http").backends([&api]).create()?;
//! let web = world.pod("web").sidecar().start().await?;
//! web.start_app(Command::new("./web").arg(service.address(80).to_string()))?;
//! control.set_weights("api", &[("api", 100)]).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The program must have called [`enter`] first. Pods have addresses in 10.1.0.0/16 and fd00:1::/64, Services in
//! 10.96.0.0/16 and fd00:96::/112, which only sidecars can reach. Everything goes with the last handle, and at the
//! latest with the process.

mod binaries;
mod control;
mod enter;
mod http;
mod manifests;
mod metrics;
mod netns;
mod network;
mod pod;
mod process;
mod service;
mod sidecar;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use weft_api::ports;

pub use self::control::{ControlPlane, ControlPlaneBuilder, control_program};
pub use self::enter::{EnterError, enter, outside};
pub use self::manifests::EndpointState;
pub use self::metrics::{Metrics, Sample};
pub use self::netns::{Netns, NetnsRuntime};
pub use self::network::{Addresses, BRIDGE};
pub use self::pod::{Pod, PodBuilder};
pub use self::process::Process;
pub use self::service::{Service, ServiceBuilder};
pub use self::sidecar::{Sidecar, proxy_program};

use self::manifests::Registry;
use self::network::{CONTROL_HOST, Network};

/// The trust domain of every world.
pub const TRUST_DOMAIN: &str = "cluster.local";
/// The namespace of pods and Services that name no other.
pub const DEFAULT_NAMESPACE: &str = "default";

/// How long [`wait_until`] waits between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A handle on a world.
#[derive(Clone, Debug)]
pub struct World(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: TempDir,
    network: Network,
    registry: Registry,
    next_service: AtomicU16,
    /// Join tokens by service account.
    tokens: Mutex<BTreeMap<(String, String), String>>,
    logs: Mutex<BTreeMap<String, PathBuf>>,
}

impl World {
    /// An empty world: a bridge without pods.
    ///
    /// # Errors
    /// Where namespaces or iproute2 are not to be had.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("weft-world-").tempdir().context("cannot make a folder")?;
        let registry = Registry::create(folder.path().join("registry"))?;
        for name in ["logs", "state", "tokens"] {
            std::fs::create_dir(folder.path().join(name))?;
        }
        Ok(Self(Arc::new(Inner {
            network: Network::create()?,
            registry,
            next_service: AtomicU16::new(10),
            tokens: Mutex::default(),
            logs: Mutex::default(),
            folder,
        })))
    }

    /// A pod to be started.
    pub fn pod(&self, name: &str) -> PodBuilder {
        PodBuilder::new(self.clone(), name)
    }

    /// A Service to be created.
    pub fn service(&self, name: &str) -> ServiceBuilder {
        let number = self.0.next_service.fetch_add(1, Ordering::Relaxed);
        ServiceBuilder::new(self.clone(), name, Addresses::of_service(number))
    }

    /// A control plane to be started. Sidecars need it.
    pub fn control_plane(&self) -> ControlPlaneBuilder {
        ControlPlaneBuilder::new(self.clone())
    }

    /// Writes a manifest, such as an HTTPRoute, to the registry: YAML, as `file` (which should end in `.yaml`).
    ///
    /// # Errors
    /// Where the registry's folder cannot be written.
    pub fn apply(&self, file: &str, yaml: &str) -> Result<()> {
        self.0.registry.write(file, yaml)
    }

    /// Takes a manifest away again.
    ///
    /// # Errors
    /// Where it is not there.
    pub fn unapply(&self, file: &str) -> Result<()> {
        self.0.registry.remove(file)
    }

    /// The namespace that all traffic between pods passes, over the bridge [`BRIDGE`].
    pub fn switch(&self) -> &Netns {
        self.0.network.switch()
    }

    /// The folder with the registry, the state and the logs. It goes with the world.
    pub fn folder(&self) -> &Path {
        self.0.folder.path()
    }

    /// The trust bundle that the control plane writes.
    pub fn trust_bundle(&self) -> PathBuf {
        self.state_dir().join("trust-bundle.pem")
    }

    /// The join token of a service account.
    pub fn token_file(&self, namespace: &str, service_account: &str) -> PathBuf {
        self.folder().join("tokens").join(format!("{namespace}.{service_account}"))
    }

    /// Where sidecars find the control plane.
    pub fn control_address(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Addresses::of_host(CONTROL_HOST).v4), ports::CONTROL_XDS)
    }

    /// The last `lines` of each process's log, with headings.
    pub fn log_tails(&self, lines: usize) -> String {
        let logs = self.0.logs.lock();
        logs.iter().fold(String::new(), |mut text, (name, path)| {
            let _ = write!(text, "--- {name}\n{}", process::tail(path, lines));
            text
        })
    }

    /// Makes a service account with its join token, unless it is there.
    ///
    /// # Errors
    /// Where the registry's folder cannot be written.
    pub fn add_service_account(&self, namespace: &str, name: &str) -> Result<()> {
        let mut tokens = self.0.tokens.lock();
        let key = (namespace.to_owned(), name.to_owned());
        if tokens.contains_key(&key) {
            return Ok(());
        }
        let token = format!("{:032x}", rand::random::<u128>());
        self.0.registry.add_service_account(namespace, name, &token)?;
        std::fs::write(self.token_file(namespace, name), &token).context("cannot write a token")?;
        tokens.insert(key, token);
        Ok(())
    }

    /// A handle on a pod that somebody else made, such as a kubelet: to work inside its network namespace.
    ///
    /// # Errors
    /// Where no thread can be started in the namespace.
    pub fn adopt(&self, netns: Netns, namespace: &str, name: &str, address: IpAddr) -> Result<Pod> {
        Pod::adopt(self.clone(), netns, (namespace.to_owned(), name.to_owned()), address)
    }

    /// Starts a process in one of the world's namespaces, with its output in a log that [`log_tails`](Self::log_tails) shows.
    ///
    /// # Errors
    /// Where the program cannot be started.
    pub fn start_process(&self, namespace: &Netns, name: &str, command: &mut Command) -> Result<Process> {
        Process::start(namespace, name, &self.log_file(name), command)
    }

    fn network(&self) -> &Network {
        &self.0.network
    }

    fn registry(&self) -> &Registry {
        &self.0.registry
    }

    fn state_dir(&self) -> PathBuf {
        self.folder().join("state")
    }

    fn log_file(&self, process: &str) -> PathBuf {
        let path = self.folder().join("logs").join(format!("{process}.log"));
        self.0.logs.lock().insert(process.to_owned(), path.clone());
        path
    }
}

/// Looks again and again until `check` succeeds, for states that no event tells of.
///
/// # Errors
/// Where it still fails after `limit`: what was waited for, and the last error.
pub async fn wait_until<T>(what: &str, limit: Duration, mut check: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        match check().await {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= end => {
                return Err(error.context(format!("waited {limit:?} in vain for {what}")));
            }
            Err(_) => sleep(LOOK_AGAIN).await,
        }
    }
}
