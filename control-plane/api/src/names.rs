//! Names of xDS resources.
//!
//! An outbound listener is named by the address that the application dialled, `IP:PORT` (`[IP]:PORT` for IPv6). A route
//! configuration, a cluster and its endpoints are named by the Service port they stand for, `NAMESPACE/SERVICE:PORT`.
//! A pod that is dialled by its own address has a cluster named like its listener.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// The name of the one listener that describes how a pod takes in connections.
pub const INBOUND_LISTENER: &str = "inbound";

/// A port of a Service: `NAMESPACE/SERVICE:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServicePort {
    /// The Kubernetes namespace, an RFC 1123 label.
    pub namespace: String,
    /// The Service's name, an RFC 1123 label.
    pub service: String,
    /// The Service's port, never 0.
    pub port: u16,
}

/// Why a text is not the name of a resource.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("resource name {name:?}: {reason}; expected NAMESPACE/SERVICE:PORT or IP:PORT")]
pub struct NameError {
    name: String,
    reason: &'static str,
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.service, self.port)
    }
}

impl FromStr for ServicePort {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let fault = |reason| NameError { name: name.to_owned(), reason };
        let (namespace, rest) = name.split_once('/').ok_or_else(|| fault("no '/'"))?;
        let (service, port) = rest.rsplit_once(':').ok_or_else(|| fault("no port"))?;
        if !is_dns_label(namespace) {
            return Err(fault("the namespace is not an RFC 1123 label"));
        }
        if !is_dns_label(service) {
            return Err(fault("the service is not an RFC 1123 label"));
        }
        match port.parse() {
            Ok(port) if port != 0 => Ok(Self { namespace: namespace.to_owned(), service: service.to_owned(), port }),
            _ => Err(fault("the port is not a number from 1 to 65535")),
        }
    }
}

/// Where a cluster's name leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClusterName {
    /// All endpoints of a Service's port.
    Service(ServicePort),
    /// One pod, dialled by its own address.
    Pod(SocketAddr),
}

impl FromStr for ClusterName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        match name.parse() {
            Ok(address) => Ok(Self::Pod(address)),
            Err(_) => name.parse().map(Self::Service),
        }
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(port) => port.fmt(f),
            Self::Pod(address) => address.fmt(f),
        }
    }
}

/// Whether a text is an RFC 1123 label: 1 to 63 of `a-z`, `0-9` and inner `-`.
pub fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests;
