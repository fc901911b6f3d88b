//! The smallest mesh: `web` calls the Service `api`, and both have a sidecar.

use std::net::SocketAddr;

use anyhow::Result;
use weft_cli::world::{ControlPlane, Pod, Service, World};

/// The Service's port that is declared HTTP, and leads to [`HTTP_TARGET`].
pub const HTTP: u16 = 80;
/// The pod's port behind [`HTTP`].
pub const HTTP_TARGET: u16 = 8080;
/// The Service's port that is not declared, and leads to [`UNDECLARED_TARGET`].
pub const UNDECLARED: u16 = 81;
/// The pod's port behind [`UNDECLARED`].
pub const UNDECLARED_TARGET: u16 = 8081;
/// The Service's port that is declared opaque, and leads to [`TCP_TARGET`].
pub const TCP: u16 = 9000;
/// The pod's port behind [`TCP`].
pub const TCP_TARGET: u16 = 9001;

/// Two meshed pods and a Service.
#[derive(Clone, Debug)]
pub struct Duo {
    /// The control plane.
    pub control: ControlPlane,
    /// The pod that calls.
    pub web: Pod,
    /// The pod that is called.
    pub api: Pod,
    /// The Service `api`.
    pub service: Service,
}

impl Duo {
    /// Starts the control plane and both pods.
    ///
    /// # Errors
    /// Where one of them does not start.
    pub async fn start(world: &World) -> Result<Self> {
        let control = world.control_plane().start().await?;
        Self::start_with(world, control).await
    }

    /// Starts both pods under a control plane that runs.
    ///
    /// # Errors
    /// Where one of them does not start.
    pub async fn start_with(world: &World, control: ControlPlane) -> Result<Self> {
        let api = world.pod("api").sidecar().start().await?;
        let service = Self::service(world, &api)?;
        let web = world.pod("web").sidecar().start().await?;
        Ok(Self { control, web, api, service })
    }

    /// The Service `api` with all three kinds of ports, in front of one pod.
    ///
    /// # Errors
    /// Where the registry's folder cannot be written.
    pub fn service(world: &World, api: &Pod) -> Result<Service> {
        let service = world.service("api").port(HTTP, HTTP_TARGET, "http").port(TCP, TCP_TARGET, "tcp");
        service.undeclared_port(UNDECLARED, UNDECLARED_TARGET).backends([api]).create()
    }

    /// The Service's virtual IPv4 address with a port.
    pub fn at(&self, port: u16) -> SocketAddr {
        self.service.address(port)
    }
}
