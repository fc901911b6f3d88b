//! The real control plane, in a process of its own, on loopback.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hyper_util::rt::TokioIo;
use nix::unistd::{SysconfVar, sysconf};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use weft_certs::bundle::TrustBundle;
use weft_certs::identity::WorkloadIdentity;
use weft_certs::spiffe::SpiffeId;
use weft_certs::tls;
use weft_cli::world::{TRUST_DOMAIN, control_program, wait_until};

use crate::mesh::Mesh;

/// How long it may take to read the mesh.
const READY: Duration = Duration::from_secs(60);
/// How long a proxy waits for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How often a proxy pings an idle connection, and how long it waits for the answer: `weft-proxy` does the same.
const PING: Duration = Duration::from_secs(2);
const PONG: Duration = Duration::from_secs(3);

/// A running control plane, killed when dropped.
#[derive(Debug)]
pub(crate) struct Control {
    process: Process,
    xds: SocketAddr,
    bundle: TrustBundle,
    id: SpiffeId,
}

impl Control {
    /// Starts it on the mesh and waits until it is ready.
    ///
    /// # Errors
    /// Where it is not built or does not become ready.
    pub(crate) async fn start(mesh: &Mesh) -> Result<Self> {
        let [xds, metrics, api] = free_ports()?;
        let log = File::create(mesh.log())?;
        let mut command = Command::new(control_program()?);
        command
            .arg("run")
            .arg(format!("--registry=files:{}", mesh.registry().display()))
            .arg(format!("--state-dir={}", mesh.state().display()))
            .arg(format!("--trust-domain={TRUST_DOMAIN}"))
            .arg(format!("--xds-addr={xds}"))
            .arg(format!("--metrics-addr={metrics}"))
            .arg(format!("--api-addr={api}"));
        let process = Process(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?);
        wait_until("the control plane to be ready", READY, async || ready(metrics).await).await?;
        let bundle = TrustBundle::from_pem(&std::fs::read(mesh.bundle())?)?;
        Ok(Self { process, xds, bundle, id: SpiffeId::control_plane(&TRUST_DOMAIN.parse()?)? })
    }

    /// What a proxy of this identity connects with; one without has no certificate yet.
    pub(crate) fn tls(&self, identity: Option<&WorkloadIdentity>) -> Arc<ClientConfig> {
        tls::control_client(identity, &self.bundle, &self.id)
    }

    /// A connection of its own, as each proxy has one.
    ///
    /// # Errors
    /// Where it is refused or takes too long.
    pub(crate) async fn connect(&self, tls: Arc<ClientConfig>) -> Result<Channel> {
        let (address, name, connector) = (self.xds, tls::server_name(&self.id), TlsConnector::from(tls));
        let connect = tower::service_fn(move |_| {
            let (connector, name) = (connector.clone(), name.clone());
            async move {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
            }
        });
        let endpoint = Endpoint::from_static("http://weft-control")
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .keep_alive_while_idle(true);
        Ok(endpoint.connect_with_connector(connect).await?)
    }

    /// Its resident memory now, and the most that it ever was, in KiB.
    ///
    /// # Errors
    /// Where it has ended.
    pub(crate) fn memory(&self) -> Result<(u64, u64)> {
        let status = self.proc("status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix("kB")?.trim().parse().ok()
        };
        field("VmRSS:").zip(field("VmHWM:")).context("/proc has no memory for the control plane; has it ended?")
    }

    /// The processor time that it has used.
    ///
    /// # Errors
    /// Where it has ended.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = self.proc("stat")?;
        // The name of the program, in parentheses, may have spaces.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        let per_second = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u64::try_from(ticks).ok()).unwrap_or(100);
        Ok(Duration::from_micros(ticks * 1_000_000 / per_second))
    }

    fn proc(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.process.0.id());
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}; has the control plane ended?"))
    }
}

/// Killed when dropped.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ports of loopback that are free, for the moment.
fn free_ports() -> Result<[SocketAddr; 3]> {
    let open = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held = [open()?, open()?, open()?];
    let [a, b, c] = held.each_ref().map(TcpListener::local_addr);
    Ok([a?, b?, c?])
}

async fn ready(metrics: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(metrics).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: control\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let line = answer.lines().next().unwrap_or_default();
    ensure!(line.split_whitespace().nth(1) == Some("200"), "/readyz answers {line:?}");
    Ok(())
}
