//! `HOST:PORT`, where the host may be a name.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Where something is that is looked up when it is dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    /// A DNS name, or an address without brackets.
    pub(crate) host: Arc<str>,
    /// Never 0.
    pub(crate) port: u16,
}

impl HostPort {
    /// Parses `NAME:PORT`, `IPV4:PORT` or `[IPV6]:PORT`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').ok_or("has no port")?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or("has a port that is none from 1 to 65535")?;
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner.filter(|inner| inner.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6())),
            None => Some(host).filter(|host| is_host(host)),
        };
        let host = host.ok_or("has a host that is neither a DNS name nor an address, IPv6 in brackets")?;
        Ok(Self { host: host.into(), port })
    }
}

fn is_host(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    text.len() <= 253 && name.split('.').all(weft_api::names::is_dns_label)
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string().into(), port: address.port() }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}
