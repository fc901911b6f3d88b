//! From the raw environment to a checked [`Config`], once, with all faults reported together.
//!
//! `docs/reference/proxy.md` lists the variables. A variable that is set to the empty text counts as not set.

mod env;
mod host_port;
mod probes;
mod telemetry;

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use weft_api::ports;
use weft_certs::spiffe::{SpiffeId, TrustDomain};
use weft_certs::tls::{Group, TlsPolicy};

pub(crate) use env::ConfigError;
pub(crate) use host_port::HostPort;
pub(crate) use probes::{Probe, Probes, Question};
pub(crate) use telemetry::{AccessLog, LogFormat, Sampler, Telemetry, Traces};

use env::Env;

/// Kubernetes' own.
const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";

/// Everything that the proxy is told at its start. It does not change while the proxy runs.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Who this pod is.
    pub(crate) identity: Identity,
    /// Where the control plane is and who it must prove to be.
    pub(crate) control_plane: ControlPlane,
    /// Connections that the application opens.
    pub(crate) outbound: Outbound,
    /// Connections to the application.
    pub(crate) inbound: Inbound,
    /// The ports for people and probes.
    pub(crate) admin: Admin,
    /// Logs, access log and traces.
    pub(crate) telemetry: Telemetry,
    /// Graceful shutdown.
    pub(crate) drain: Drain,
    /// Worker threads. Default: the pod's CPU limit, at least 1.
    pub(crate) workers: NonZeroUsize,
    /// What TLS chooses from: `WEFT_TLS_GROUPS`.
    pub(crate) tls: TlsPolicy,
    /// `SO_MARK` of every TCP socket that the proxy opens, so that the redirect rules leave it alone.
    pub(crate) socket_mark: Option<u32>,
}

/// Who this pod is: `WEFT_POD_NAME`, `WEFT_POD_NAMESPACE`, `WEFT_SERVICE_ACCOUNT`, `WEFT_TRUST_DOMAIN`, ...
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`, which the control plane is asked to certify.
    pub(crate) spiffe_id: SpiffeId,
    /// The pod's name.
    pub(crate) pod: String,
    /// The workload's name, for telemetry: `WEFT_WORKLOAD`, else the pod's name.
    pub(crate) workload: String,
    /// The service account's token, which proves the identity until there is a certificate. Read anew for each use.
    pub(crate) token_file: PathBuf,
    /// The pod's own addresses, `WEFT_POD_IPS`, if told.
    pub(crate) addresses: Vec<IpAddr>,
}

impl Identity {
    /// The id of this proxy towards the control plane: `POD.NAMESPACE`.
    pub(crate) fn node_id(&self) -> String {
        format!("{}.{}", self.pod, self.spiffe_id.namespace())
    }
}

/// The control plane: `WEFT_CONTROL_PLANE`, `WEFT_TRUST_BUNDLE`.
#[derive(Clone, Debug)]
pub(crate) struct ControlPlane {
    /// Where xDS and the certificate service listen; looked up anew for each connection.
    pub(crate) address: HostPort,
    /// The roots that vouch for the control plane and for other pods, PEM.
    pub(crate) trust_bundle: PathBuf,
    /// The SPIFFE id that the control plane must show.
    pub(crate) spiffe_id: SpiffeId,
}

/// Connections that the application opens.
#[derive(Clone, Debug)]
pub(crate) struct Outbound {
    /// Where the redirect rules send them: `WEFT_OUTBOUND_PORT`.
    pub(crate) port: u16,
    /// What happens to a destination that nobody has described: `WEFT_UNKNOWN_DESTINATION`.
    pub(crate) unknown_destination: UnknownDestination,
    /// How long a connection waits for the control plane to describe its destination: `WEFT_DISCOVERY_TIMEOUT`.
    pub(crate) discovery_timeout: Duration,
    /// How long to wait for the first bytes where the protocol is not declared: `WEFT_DETECT_TIMEOUT`.
    pub(crate) detect_timeout: Duration,
}

/// What happens to a connection whose destination nobody has described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnknownDestination {
    /// It goes to the address that was dialled, as it is.
    Passthrough,
    /// It is refused.
    Refuse,
}

/// Connections to the application.
#[derive(Clone, Debug)]
pub(crate) struct Inbound {
    /// Where the redirect rules send whatever arrives for the application: `WEFT_INBOUND_PORT`.
    pub(crate) port: u16,
    /// The mesh's own door, HTTP/2 over mutual TLS: `WEFT_MESH_PORT`.
    pub(crate) mesh_port: u16,
    /// How long to wait for the first bytes where the protocol is not declared: `WEFT_DETECT_TIMEOUT`.
    pub(crate) detect_timeout: Duration,
    /// Where the application listens: `WEFT_APPLICATION_ADDRESS`.
    pub(crate) application: ApplicationAddress,
}

/// Where the application listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApplicationAddress {
    /// On the pod's own address, as without a sidecar.
    Pod,
    /// On loopback alone.
    Loopback,
}

/// The ports for people and probes.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    /// State dump, log level, drain; on loopback only: `WEFT_ADMIN_PORT`.
    pub(crate) port: u16,
    /// Metrics and health: `WEFT_METRICS_PORT`.
    pub(crate) metrics_port: u16,
    /// What the kubelet has the proxy ask the application: `WEFT_PROBES`.
    pub(crate) probes: Probes,
}

/// Graceful shutdown.
#[derive(Clone, Debug)]
pub(crate) struct Drain {
    /// How long what is in flight may still take: `WEFT_DRAIN_GRACE`.
    pub(crate) grace: Duration,
}

impl Config {
    /// Reads and checks the variables that `lookup` knows, which is usually `|name| std::env::var(name).ok()`.
    ///
    /// # Errors
    /// Every missing or wrong variable at once, each with its value and what is allowed.
    pub(crate) fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut env = Env::new(&lookup);
        let trust_domain =
            env.or("WEFT_TRUST_DOMAIN", DEFAULT_TRUST_DOMAIN, "a trust domain such as cluster.local", |text| {
                text.parse::<TrustDomain>().map_err(|error| error.to_string())
            });
        // Another one in place of a wrong one, so that the faults of the other variables are found too.
        let trust_domain = trust_domain.or_else(|| DEFAULT_TRUST_DOMAIN.parse().ok());
        let identity = trust_domain.as_ref().and_then(|domain| read_identity(&mut env, domain));
        let control_plane = trust_domain.as_ref().and_then(|domain| read_control_plane(&mut env, domain));
        let outbound = read_outbound(&mut env);
        let inbound = read_inbound(&mut env);
        let admin = read_admin(&mut env);
        let workload = identity.as_ref().map_or("", |identity| identity.workload.as_str());
        let telemetry = telemetry::read(&mut env, workload);
        let drain = env
            .duration("WEFT_DRAIN_GRACE", Duration::from_secs(25), Duration::ZERO, Duration::from_secs(3600))
            .map(|grace| Drain { grace });
        let workers = read_workers(&mut env);
        let tls = read_tls(&mut env);
        let socket_mark = env.optional("WEFT_SOCKET_MARK", "a number from 1 to 4294967295", env::mark);
        check_ports_differ(&mut env, outbound.as_ref(), inbound.as_ref(), admin.as_ref());
        env.finish(|| {
            Some(Self {
                identity: identity?,
                control_plane: control_plane?,
                outbound: outbound?,
                inbound: inbound?,
                admin: admin?,
                telemetry: telemetry?,
                drain: drain?,
                workers: workers?,
                tls: tls?,
                socket_mark,
            })
        })
    }
}

fn read_identity(env: &mut Env<'_>, trust_domain: &TrustDomain) -> Option<Identity> {
    let pod = env.required("WEFT_POD_NAME", "the pod's name, an RFC 1123 subdomain", env::dns_subdomain);
    let namespace = env.required("WEFT_POD_NAMESPACE", "the pod's namespace, an RFC 1123 label", env::dns_label);
    let account = env.or("WEFT_SERVICE_ACCOUNT", "default", "a service account's name", env::dns_subdomain);
    let token_file = env.required("WEFT_TOKEN_FILE", "the path of the service account's token", env::path);
    let workload = env.optional("WEFT_WORKLOAD", "the workload's name", env::text);
    let addresses = env.optional("WEFT_POD_IPS", "IP addresses with commas between them", env::addresses);
    let (pod, namespace, account) = (pod?, namespace?, account?);
    let spiffe_id = match SpiffeId::new(trust_domain, &namespace, &account) {
        Ok(id) => id,
        Err(error) => {
            env.fault("WEFT_SERVICE_ACCOUNT", Some(account), error.to_string());
            return None;
        }
    };
    let workload = workload.unwrap_or_else(|| pod.clone());
    Some(Identity { spiffe_id, pod, workload, token_file: token_file?, addresses: addresses.unwrap_or_default() })
}

fn read_control_plane(env: &mut Env<'_>, trust_domain: &TrustDomain) -> Option<ControlPlane> {
    let address = env.required(
        "WEFT_CONTROL_PLANE",
        "the control plane's HOST:PORT, such as weft-control.weft-system.svc:15012 or 10.96.0.2:15012",
        HostPort::parse,
    );
    let trust_bundle = env.required("WEFT_TRUST_BUNDLE", "the path of the trust bundle, PEM", env::path);
    let spiffe_id = SpiffeId::control_plane(trust_domain);
    Some(ControlPlane { address: address?, trust_bundle: trust_bundle?, spiffe_id: spiffe_id.ok()? })
}

fn read_outbound(env: &mut Env<'_>) -> Option<Outbound> {
    let port = env.port("WEFT_OUTBOUND_PORT", ports::OUTBOUND);
    let unknown_destination =
        env.or("WEFT_UNKNOWN_DESTINATION", "passthrough", "passthrough or refuse", |text| match text {
            "passthrough" => Ok(UnknownDestination::Passthrough),
            "refuse" => Ok(UnknownDestination::Refuse),
            _ => Err("is neither".to_owned()),
        });
    let discovery_timeout = read_wait(env, "WEFT_DISCOVERY_TIMEOUT");
    let detect_timeout = read_wait(env, "WEFT_DETECT_TIMEOUT");
    Some(Outbound {
        port: port?,
        unknown_destination: unknown_destination?,
        discovery_timeout: discovery_timeout?,
        detect_timeout: detect_timeout?,
    })
}

fn read_inbound(env: &mut Env<'_>) -> Option<Inbound> {
    let port = env.port("WEFT_INBOUND_PORT", ports::INBOUND);
    let mesh_port = env.port("WEFT_MESH_PORT", ports::MESH);
    let detect_timeout = read_wait(env, "WEFT_DETECT_TIMEOUT");
    let application = env.or("WEFT_APPLICATION_ADDRESS", "pod", "pod or loopback", |text| match text {
        "pod" => Ok(ApplicationAddress::Pod),
        "loopback" => Ok(ApplicationAddress::Loopback),
        _ => Err("is neither".to_owned()),
    });
    Some(Inbound { port: port?, mesh_port: mesh_port?, detect_timeout: detect_timeout?, application: application? })
}

fn read_admin(env: &mut Env<'_>) -> Option<Admin> {
    let port = env.port("WEFT_ADMIN_PORT", ports::PROXY_ADMIN);
    let metrics_port = env.port("WEFT_METRICS_PORT", ports::PROXY_METRICS);
    let probes = env.optional("WEFT_PROBES", "the JSON that injection writes", probes::parse);
    Some(Admin { port: port?, metrics_port: metrics_port?, probes: probes.unwrap_or_default() })
}

/// A wait that a connection of the application feels: 1 s unless told, from 1 ms to 1 minute.
fn read_wait(env: &mut Env<'_>, name: &'static str) -> Option<Duration> {
    env.duration(name, Duration::from_secs(1), Duration::from_millis(1), Duration::from_secs(60))
}

/// `available_parallelism` is the least of the CPUs there are, the affinity mask and the cgroup's `cpu.max`.
fn read_workers(env: &mut Env<'_>) -> Option<NonZeroUsize> {
    match env.optional("WEFT_WORKERS", "a number of threads from 1 to 256", env::workers) {
        Some(workers) => Some(workers),
        None => Some(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)),
    }
}

/// Groups beyond those that every proxy and the control plane offer would never be agreed on.
fn read_tls(env: &mut Env<'_>) -> Option<TlsPolicy> {
    let default = TlsPolicy::default();
    let known = &default.groups;
    let allowed = "X25519MLKEM768, X25519, or both with a comma between them, the preferred one first";
    let groups = env.optional("WEFT_TLS_GROUPS", allowed, |text| {
        let groups = text.split(',').map(|name| match name.trim().parse::<Group>() {
            Ok(group) if known.contains(&group) => Ok(group),
            _ => Err(format!("{:?} is neither", name.trim())),
        });
        groups.collect::<Result<Vec<_>, _>>()
    });
    match groups {
        Some(groups) => Some(TlsPolicy { groups, ..default }),
        None => Some(default),
    }
}

fn check_ports_differ(
    env: &mut Env<'_>,
    outbound: Option<&Outbound>,
    inbound: Option<&Inbound>,
    admin: Option<&Admin>,
) {
    let ports = [
        ("WEFT_OUTBOUND_PORT", outbound.map(|o| o.port)),
        ("WEFT_INBOUND_PORT", inbound.map(|i| i.port)),
        ("WEFT_MESH_PORT", inbound.map(|i| i.mesh_port)),
        ("WEFT_ADMIN_PORT", admin.map(|a| a.port)),
        ("WEFT_METRICS_PORT", admin.map(|a| a.metrics_port)),
    ];
    let mut seen: Vec<(&'static str, u16)> = Vec::with_capacity(ports.len());
    for (name, port) in ports {
        let Some(port) = port else { continue };
        if let Some((other, _)) = seen.iter().find(|(_, taken)| *taken == port) {
            env.fault(name, Some(port.to_string()), format!("{other} has the same port; each needs its own"));
        }
        seen.push((name, port));
    }
}

#[cfg(test)]
mod tests;
