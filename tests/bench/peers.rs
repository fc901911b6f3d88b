//! What is put between the two pods.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use weft_cli::world::{ControlPlane, Pod, Process, Service, World, control_program, proxy_program};
use weft_tests::collector::Collector;

mod certificates;
mod envoy;
mod haproxy;
mod weft;

/// The Service's port, which the client dials.
const PORT: u16 = 80;
/// Where the redirect rules lead: what the pod's application dials, and what comes from the network.
const OUTBOUND: u16 = 15001;
const INBOUND: u16 = 15006;
/// All pods, by their own addresses and not by a Service's.
const PODS: &str = "10.1.0.0/16";

/// What carries the traffic between the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Peer {
    /// Nothing: the floor.
    Direct,
    /// Envoy, by the program that `ENVOY` names.
    Envoy,
    /// HAProxy, by the program that `HAPROXY` names, or else `haproxy`.
    Haproxy,
    /// Weft, with its control plane.
    Weft,
}

/// How the Service's port is carried, and the pod's port behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) protocol: Protocol,
    pub(crate) target: u16,
}

/// What proxies take a connection for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Requests of HTTP/1.1.
    Http1,
    /// Requests of HTTP/2, without TLS at the edges.
    Http2,
    /// Bytes.
    Tcp,
}

/// Two pods and what is between them. It goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Pair {
    /// Where the load comes from.
    pub(crate) web: Pod,
    /// Where the backend is.
    pub(crate) api: Pod,
    /// What the load dials.
    pub(crate) at: SocketAddr,
    /// The client's proxy, then the server's; empty: none.
    pub(crate) proxies: Vec<Process>,
    /// Processes that are neither measured nor noise.
    pub(crate) helpers: Vec<Process>,
    _mesh: Option<(ControlPlane, Collector)>,
}

impl Peer {
    /// Its name where people read it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Envoy => "Envoy",
            Self::Haproxy => "HAProxy",
            Self::Weft => "Weft",
        }
    }

    /// The proxy's program; `None`: it is none.
    ///
    /// # Errors
    /// Says where it was looked for.
    pub(crate) fn program(self) -> Result<Option<PathBuf>> {
        match self {
            Self::Direct => Ok(None),
            Self::Envoy => envoy::program().map(Some),
            Self::Haproxy => haproxy::program().map(Some),
            Self::Weft => proxy_program().map(Some),
        }
    }

    /// Checks that its programs are there.
    ///
    /// # Errors
    /// Says which one is missing.
    pub(crate) fn check(self) -> Result<()> {
        if self.program()?.is_none() {
            return Ok(());
        }
        if self == Self::Weft {
            drop(control_program()?);
        }
        // Its rules redirect for the others, too.
        proxy_program().map(drop)
    }

    /// Starts the pods and the pair. It may take a moment until that answers.
    ///
    /// # Errors
    /// Where a process does not start.
    pub(crate) async fn start(self, world: &World, traffic: Traffic) -> Result<Pair> {
        match self {
            Self::Direct => direct(world, traffic).await,
            Self::Envoy => envoy::start(world, traffic).await,
            Self::Haproxy => haproxy::start(world, traffic).await,
            Self::Weft => weft::start(world, traffic).await,
        }
    }
}

impl Pair {
    /// Room for many short connections in both pods, alike for all peers: their ports, and the kernel's notes of redirected ones.
    ///
    /// # Errors
    /// Where the kernel does not take a setting.
    pub(crate) async fn make_room(&self) -> Result<()> {
        for pod in [&self.web, &self.api] {
            pod.run(async {
                // Below these are the ports that proxies and applications listen on.
                set("ipv4/ip_local_port_range", "16000 65000")?;
                set("ipv4/tcp_tw_reuse", "1")?;
                // Seconds. There is no such setting where no connection is tracked.
                drop(set("netfilter/nf_conntrack_tcp_timeout_time_wait", "1"));
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

/// Changes a setting of the network namespace that this thread is in.
fn set(setting: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{setting}");
    std::fs::write(&path, value).with_context(|| format!("cannot write {path}"))
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

async fn direct(world: &World, traffic: Traffic) -> Result<Pair> {
    let (web, api) = pods(world).await?;
    let at = api.address(traffic.target);
    Ok(Pair { web, api, at, proxies: Vec::new(), helpers: Vec::new(), _mesh: None })
}

async fn pods(world: &World) -> Result<(Pod, Pod)> {
    Ok((world.pod("web").start().await?, world.pod("api").start().await?))
}

/// Two pods with redirect rules, and a Service that leads from the first to the second.
async fn redirected(world: &World, traffic: Traffic) -> Result<(Pod, Pod, Service)> {
    let (web, api) = pods(world).await?;
    redirect(&web)?;
    redirect(&api)?;
    let service = world.service("api").port(PORT, traffic.target, "tcp").backends([&api]).create()?;
    Ok((web, api, service))
}

/// The rules that a sidecar of Weft has, but for how the proxy's own connections are told apart: HAProxy sets no mark, and
/// an unprivileged user namespace has no second user. So the proxy dials pods, and the application Services.
fn redirect(pod: &Pod) -> Result<()> {
    let mut intercept = Command::new(proxy_program()?);
    intercept.args(["intercept", "--proxy-mark", "1337", "--skip-outbound-cidrs", PODS]);
    let output = pod.output(&mut intercept)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`weft-proxy intercept` in {}: {said}", pod.name());
    Ok(())
}

/// One proxy of a pair that is configured by files.
struct Side<'a> {
    pod: &'a Pod,
    /// Whose certificate the other side shows.
    other: &'a Pod,
    /// Where it listens.
    door: u16,
    /// Where it connects to.
    target: SocketAddr,
    /// Whether it is the client's: then TLS is towards the target, else at the door.
    calls: bool,
}

/// Both sides, the client's first.
fn sides<'a>(web: &'a Pod, api: &'a Pod, traffic: Traffic) -> [Side<'a>; 2] {
    let behind = SocketAddr::from(([127, 0, 0, 1], traffic.target));
    [
        Side { pod: web, other: api, door: OUTBOUND, target: api.address(traffic.target), calls: true },
        Side { pod: api, other: web, door: INBOUND, target: behind, calls: false },
    ]
}

/// The path of a program: what the environment variable says, or else the first of that name in `PATH`.
fn find(variable: &str, name: &str, remedy: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable).map(PathBuf::from) {
        match path.is_file() {
            true => return Ok(path),
            false => bail!("{variable}={} is not a file; {remedy}, or leave it out by --peers", path.display()),
        }
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("there is no {name} in PATH; {remedy}, or leave it out by --peers"))
}
