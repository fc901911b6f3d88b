//! The ports for people and probes, on the control thread.
//!
//! | port | where | what |
//! | --- | --- | --- |
//! | 15020 | all addresses | [`health`]: `/metrics`, `/healthz`, `/readyz`; [`probe`]: `/probe/CONTAINER/KIND` |
//! | 15000 | loopback only | [`control`]: `/config`, `/log-level`, `/drain` |

mod control;
mod health;
mod loopback;
mod probe;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use anyhow::Context as _;
use axum::Router;
use serde::Serialize;
use tokio::net::TcpListener;
use weft_certs::identity::WorkloadIdentity;

use crate::config::{Config, HostPort};
use crate::discovery::Directory;
use crate::drain::Drainer;
use crate::telemetry::LogHandle;
use crate::telemetry::metrics::{ProcessState, Registry};

/// What the ports show, and what can be done through them.
#[derive(Clone)]
pub(crate) struct Admin(Arc<Shared>);

struct Shared {
    node_id: String,
    control_plane: HostPort,
    log: LogHandle,
    drainer: Drainer,
    registry: Registry,
    prober: probe::Prober,
    /// Set when there is an identity, and connections are served.
    serving: OnceLock<Serving>,
}

/// What there is only once the proxy has its identity.
struct Serving {
    identity: WorkloadIdentity,
    directory: Directory,
}

/// Opens the ports and answers on them until the process ends; not ready until [`Admin::serving`].
///
/// # Errors
/// Where a port is taken.
pub(crate) async fn start(
    config: &Config,
    log: LogHandle,
    drainer: Drainer,
    registry: Registry,
) -> anyhow::Result<Admin> {
    let admin = Admin(Arc::new(Shared {
        node_id: config.identity.node_id(),
        control_plane: config.control_plane.address.clone(),
        log,
        drainer,
        registry,
        prober: probe::Prober::new(config),
        serving: OnceLock::new(),
    }));
    serve(any_address(config.admin.metrics_port).await.context("WEFT_METRICS_PORT")?, health::router(admin.clone()));
    for listener in loopback_addresses(config.admin.port).await.context("WEFT_ADMIN_PORT")? {
        serve(listener, control::router(admin.clone()));
    }
    Ok(admin)
}

impl Admin {
    /// There is an identity, and connections are served. To be called once.
    pub(crate) fn serving(&self, identity: &WorkloadIdentity, directory: &Directory) {
        let serving = Serving { identity: identity.clone(), directory: directory.clone() };
        if self.0.serving.set(serving).is_ok() {
            let (identity, directory) = (identity.clone(), directory.clone());
            self.0.registry.watch(move || process_state(&identity, &directory));
        }
    }

    fn certificate(&self) -> Option<Certificate> {
        self.0.serving.get().map(|serving| Certificate::of(&serving.identity, SystemTime::now()))
    }

    fn directory(&self) -> Option<&Directory> {
        self.0.serving.get().map(|serving| &serving.directory)
    }
}

fn process_state(identity: &WorkloadIdentity, directory: &Directory) -> ProcessState {
    let counts = directory.counts();
    ProcessState {
        certificate_expiry: identity.not_after(),
        xds_connected: counts.connected,
        destinations: counts.destinations,
        destinations_evicted: counts.evicted,
        discovery_unavailable: counts.unavailable,
        resources_refused: counts.refused_resources,
    }
}

/// The certificate as people see it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Certificate {
    /// The SPIFFE id.
    identity: String,
    /// RFC 3339.
    expires: String,
    /// 0 when it has expired.
    expires_in_seconds: u64,
}

impl Certificate {
    fn of(identity: &WorkloadIdentity, now: SystemTime) -> Self {
        let expires = identity.not_after();
        Self {
            identity: identity.id().as_str().to_owned(),
            expires: humantime::format_rfc3339_seconds(expires).to_string(),
            expires_in_seconds: expires.duration_since(now).unwrap_or_default().as_secs(),
        }
    }
}

/// Both address families by one socket, or IPv4 where the kernel has no IPv6.
async fn any_address(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(error) if is_missing_family(&error) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
        bound => bound,
    }
}

/// 127.0.0.1, and `::1` where the kernel has IPv6 and the namespace its address.
async fn loopback_addresses(port: u16) -> std::io::Result<Vec<TcpListener>> {
    let mut listeners = vec![TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?];
    match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
        Ok(listener) => listeners.push(listener),
        Err(error) if is_missing_family(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(listeners)
}

fn is_missing_family(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32)
}

fn serve(listener: TcpListener, router: Router) {
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "an admin port has ended");
        }
    });
}

#[cfg(test)]
mod tests;
