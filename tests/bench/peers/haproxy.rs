//! HAProxy on both sides. It checks that the other side's certificate is of the CA, and not whose it is.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use weft_cli::world::World;

use super::certificates::Certificates;
use super::{PORT, Pair, Protocol, Side, Traffic, find, redirected, sides};

/// The path of HAProxy's program.
pub(super) fn program() -> Result<PathBuf> {
    find("HAPROXY", "haproxy", "install it (apt-get install haproxy)")
}

pub(super) async fn start(world: &World, traffic: Traffic) -> Result<Pair> {
    let (web, api, service) = redirected(world, traffic).await?;
    let certificates = Certificates::create(world, [&web, &api])?;
    let mut proxies = Vec::new();
    for side in sides(&web, &api, traffic) {
        let file = world.folder().join(format!("haproxy-{}.cfg", side.pod.name()));
        std::fs::write(&file, configuration(&side, traffic.protocol, &certificates))?;
        let mut command = Command::new(program()?);
        command.arg("-db").arg("-f").arg(file);
        proxies.push(side.pod.start_app(&mut command)?);
    }
    Ok(Pair { at: service.address(PORT), web, api, proxies, helpers: Vec::new(), _mesh: None })
}

/// Each handshake is a whole one: there are no tickets, and the client keeps no sessions.
fn configuration(side: &Side<'_>, protocol: Protocol, certificates: &Certificates) -> String {
    let (mode, spoken, plain) = match protocol {
        Protocol::Http1 => ("mode http\n  http-reuse always", "alpn http/1.1", ""),
        Protocol::Http2 => ("mode http\n  http-reuse always", "alpn h2", "proto h2"),
        Protocol::Tcp => ("mode tcp", "", ""),
    };
    let (own, authority) = (certificates.identity(side.pod), certificates.authority());
    let tls = format!("ssl crt {} ca-file {} verify required {spoken}", own.display(), authority.display());
    let (near, far) = match side.calls {
        true => (plain.to_owned(), format!("{tls} no-ssl-reuse")),
        false => (tls, plain.to_owned()),
    };
    let Side { door, target, .. } = side;
    format!(
        "global
  nbthread 1
  maxconn 8000
  ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
  ssl-default-server-options ssl-min-ver TLSv1.3
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
  ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256
  ssl-default-bind-curves X25519
  .if version_atleast(3.0)
  ssl-default-server-curves X25519
  .endif
defaults
  {mode}
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen near
  bind :{door} {near}
  server far {target} {far}
"
    )
}
