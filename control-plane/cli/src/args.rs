//! What can be typed after `weft`. Parsing checks all that can be known without asking the control plane.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, Subcommand, ValueEnum};
use http::Uri;

use crate::demo::DemoArgs;
use crate::demo::app::AppArgs;

mod inject;
mod install;
mod shift;
mod why;

pub use inject::{InjectArgs, KubernetesVersion, Setting};
pub use install::{CheckArgs, InstallArgs, UninstallArgs};
pub use shift::{OfService, ShiftArgs, ShiftCommand};
pub use why::{Destination, Header, WhyArgs};

/// The highest weight that the traffic API takes.
const MAX_WEIGHT: i64 = 1_000_000;

/// Operate a Weft service mesh: shift traffic, see how the proxies are, try it all in a demo.
#[derive(Debug, Parser)]
#[command(name = "weft", version, arg_required_else_help = true)]
pub struct Args {
    /// How to reach the control plane and how to print.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// The control plane's API; without it the cluster that kubeconfig names, or without one http://127.0.0.1:15080
    #[arg(long, global = true, env = "WEFT_SERVER", value_name = "URL")]
    pub server: Option<Server>,
    /// The context of kubeconfig whose cluster is meant; the current one where it is left out
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "server")]
    pub context: Option<String>,
    /// The namespace that Weft is installed in
    #[arg(long, global = true, env = "WEFT_NAMESPACE", value_name = "NS", default_value = "weft-system")]
    pub system_namespace: String,
    /// A file that holds the API's token; not needed on loopback unless the control plane was given one
    #[arg(long, global = true, env = "WEFT_API_TOKEN_FILE", value_name = "PATH")]
    pub token_file: Option<PathBuf>,
    /// How to print
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// The form in which answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs: the same field names as the API's JSON.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shift a Service's traffic between backends, by weight
    #[command(subcommand)]
    Traffic(TrafficCommand),
    /// Each connected proxy: its identity, whether its configuration is current, when its certificate ends
    Status {
        /// Only the proxies of this namespace
        #[arg(short, long, value_name = "NS")]
        namespace: Option<String>,
        /// Also each piece of configuration that they hold, with its version and age
        #[arg(short, long)]
        resources: bool,
    },
    /// What a pod's proxy would do with a request, step by step, and which manifest says so
    Why(WhyArgs),
    /// Install Weft into the cluster, or upgrade it, by the chart that came with this program
    Install(InstallArgs),
    /// Look for what stands in Weft's way in a cluster: before an installation (--pre) and after
    Check(CheckArgs),
    /// Take Weft out of the cluster, with all that it wrote there
    Uninstall(UninstallArgs),
    /// Give the pods in manifests their sidecars, for example: weft inject web.yaml | kubectl apply -f -
    Inject(Box<InjectArgs>),
    /// Run a small mesh on this machine and shift its traffic, live
    Demo(DemoArgs),
    /// Print a completion script, for example: weft completions bash > /etc/bash_completion.d/weft
    Completions {
        /// The shell to print it for
        shell: clap_complete::Shell,
    },
    /// The demo's application.
    #[command(hide = true)]
    DemoApp(AppArgs),
}

/// `weft traffic ...`
#[derive(Debug, Subcommand)]
pub enum TrafficCommand {
    /// Set all the weights of a Service at once, for example: weft traffic set api v1=90 v2=10
    Set {
        /// The Service that is dialled
        service: String,
        /// The Services that answer, each with its share: `v2` also finds the Service `SERVICE-v2`; a port is added as in `v2:8080=10`
        #[arg(required = true, value_name = "BACKEND=WEIGHT")]
        backends: Vec<BackendWeight>,
        /// Where the Service is.
        #[command(flatten)]
        place: Namespace,
        /// Refuse to write unless the split has this version; 0: unless there is none yet
        #[arg(long, value_name = "N")]
        expect_version: Option<u64>,
        /// Take back what another tool, such as kubectl, has changed of the split; a route that is no split stays as it is
        #[arg(long)]
        take_over: bool,
    },
    /// One Service's split, and how many proxies hold it
    Get {
        /// The Service that is dialled
        service: String,
        /// Where the Service is.
        #[command(flatten)]
        place: Namespace,
    },
    /// All splits
    List {
        /// Only the splits of this namespace
        #[arg(short, long, value_name = "NS")]
        namespace: Option<String>,
    },
    /// Take a split away: the Service's own endpoints answer again
    Delete {
        /// The Service that is dialled
        service: String,
        /// Where the Service is.
        #[command(flatten)]
        place: Namespace,
        /// Refuse to delete unless the split has this version
        #[arg(long, value_name = "N")]
        expect_version: Option<u64>,
    },
    /// Shift traffic to a backend step by step, and back by itself when it fails, for example: weft traffic shift api --to v2
    Shift(ShiftArgs),
    /// What was done to a Service's traffic, by whom and why, the latest first
    Audit {
        /// The Service that is dialled
        service: String,
        /// Where the Service is.
        #[command(flatten)]
        place: Namespace,
        /// At most so many entries; 0: all that are kept
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
    },
    /// All splits, then each change and each proxy's progress as it happens
    Watch {
        /// Only the splits of this namespace
        #[arg(short, long, value_name = "NS")]
        namespace: Option<String>,
    },
}

/// The namespace of a named Service.
#[derive(Debug, clap::Args)]
pub struct Namespace {
    /// The Service's namespace
    #[arg(short, long, value_name = "NS", default_value = "default")]
    pub namespace: String,
}

/// The address of the control plane's API: `http://HOST:PORT`, where `http://` may be left out.
#[derive(Clone, Debug)]
pub struct Server(Uri);

impl Server {
    /// The address as a URI with scheme and authority and without a path.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.0
    }
}

impl Default for Server {
    /// Where `weft-control` listens on this machine.
    fn default() -> Self {
        Self(Uri::from_static("http://127.0.0.1:15080"))
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}", self.0.authority().map_or("", |authority| authority.as_str()))
    }
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim_end_matches('/');
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = url.parse().map_err(|error| format!("'{text}' is not a URL: {error}"))?;
        if uri.scheme() != Some(&http::uri::Scheme::HTTP) {
            return Err(format!("'{text}' must begin with http://: the API speaks HTTP/2 without TLS"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(format!("'{text}' must be http://HOST:PORT, without a path"));
        }
        Ok(Self(uri))
    }
}

/// One `BACKEND=WEIGHT` or `BACKEND:PORT=WEIGHT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendWeight {
    /// The backend's Service, or the part of its name after `SERVICE-`.
    pub service: String,
    /// The Service's port; 0: the port that was dialled.
    pub port: u32,
    /// The share is weight / sum of weights.
    pub weight: i64,
}

impl FromStr for BackendWeight {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (backend, weight) =
            text.split_once('=').ok_or_else(|| format!("'{text}' must be BACKEND=WEIGHT, such as v2=10"))?;
        let weight = weight
            .parse()
            .ok()
            .filter(|weight| (0..=MAX_WEIGHT).contains(weight))
            .ok_or_else(|| format!("weight '{weight}' must be a whole number from 0 to {MAX_WEIGHT}"))?;
        let (service, port) = self::backend(backend)?;
        if service.is_empty() {
            return Err(format!("'{text}' names no backend before '='"));
        }
        Ok(Self { service, port, weight })
    }
}

/// `BACKEND` or `BACKEND:PORT`, as a name and a port; 0: none.
fn backend(text: &str) -> Result<(String, u32), String> {
    match text.split_once(':') {
        None => Ok((text.to_owned(), 0)),
        Some((service, port)) => {
            let number: u16 = port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| format!("port '{port}' must be a number from 1 to 65535"))?;
            Ok((service.to_owned(), number.into()))
        }
    }
}

#[cfg(test)]
mod tests;
