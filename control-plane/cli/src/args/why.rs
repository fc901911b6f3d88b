//! `weft why ...`

use std::net::SocketAddr;
use std::str::FromStr;

use clap::Args;

use super::Namespace;

/// A request to explain.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The pod that asks
    pub pod: String,
    /// Whom it asks: `SERVICE:PORT` or `SERVICE.NAMESPACE:PORT`, where an only port may be left out, or `IP:PORT`
    #[arg(value_name = "SERVICE:PORT")]
    pub destination: Destination,
    /// The path, with a query if there is one
    #[arg(long, default_value = "/")]
    pub path: String,
    /// The method
    #[arg(long, default_value = "GET")]
    pub method: String,
    /// A header of the request; may be there several times
    #[arg(long = "header", value_name = "NAME:VALUE")]
    pub headers: Vec<Header>,
    /// The connection is TLS of the application's own, for this server name
    #[arg(long, value_name = "SERVER_NAME", conflicts_with_all = ["path", "method", "headers"])]
    pub tls: Option<String>,
    /// The connection is neither HTTP nor TLS
    #[arg(long, conflicts_with_all = ["path", "method", "headers", "tls"])]
    pub opaque: bool,
    /// The pod's namespace; also that of a Service without one
    #[command(flatten)]
    pub place: Namespace,
}

/// Whom a pod asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A Service by its name.
    Service {
        /// Its name.
        name: String,
        /// `None`: that of the pod.
        namespace: Option<String>,
        /// By number or name; empty: its only one.
        port: String,
    },
    /// An address.
    Address(SocketAddr),
}

/// `NAME:VALUE`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header(pub String, pub String);

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let (host, port) = text.split_once(':').unwrap_or((text, ""));
        // A Service is also called by its longer names: api.shop.svc.cluster.local
        let mut labels = host.split('.');
        let name = labels.next().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| format!("'{text}' names no Service before ':'"))?.to_owned();
        let namespace = labels.next().map(str::to_owned);
        if !matches!(labels.next(), None | Some("svc")) {
            return Err(format!("'{text}' must be SERVICE:PORT, SERVICE.NAMESPACE:PORT or IP:PORT"));
        }
        Ok(Self::Service { name, namespace, port: port.to_owned() })
    }
}

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once(':').ok_or_else(|| format!("'{text}' must be NAME:VALUE"))?;
        Ok(Self(name.trim().to_owned(), value.trim().to_owned()))
    }
}
