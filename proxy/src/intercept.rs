//! `weft-proxy intercept`: leads the pod's TCP connections to the proxy, by redirect rules in its network namespace.
//!
//! ```text
//!                    ours by mark, uid or gid; loopback; skipped?  -> as is
//! application -> output -> anything else                           -> redirect to 15001
//!
//!                    lo; the proxy's own ports; skipped?           -> as is
//! network -> prerouting -> anything else for the pod               -> redirect to 15006
//! ```
//!
//! Only packets that open a connection are looked at: connections that are older than the rules stay as they are. UDP
//! is left alone. Installing again replaces the rules as a whole; removing takes away nothing but our own.

mod feed;
mod iptables;
mod nft;
mod rules;

use std::io::Write as _;

use anyhow::{Context, Result};
use weft_api::ports;

use self::feed::FeedError;
use self::iptables::Tools;
use self::rules::Rules;

/// The tool that the rules are fed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Backend {
    /// The first of these that is installed and that the kernel can do.
    Auto,
    /// `nft -f -`: the table `inet weft`.
    Nft,
    /// `iptables-restore` and `ip6tables-restore`: the chains `WEFT_OUTBOUND` and `WEFT_INBOUND`.
    Iptables,
    /// The same by `iptables-legacy-restore`, for kernels without nf_tables. Needs CAP_NET_RAW, too.
    IptablesLegacy,
}

/// What is tried one after the other.
const ALL: [Backend; 3] = [Backend::Nft, Backend::Iptables, Backend::IptablesLegacy];

/// Install or remove the rules that lead a pod's connections to the proxy.
#[derive(Debug, clap::Args)]
pub(crate) struct InterceptArgs {
    /// Remove the rules (and nothing but these)
    #[arg(long)]
    remove: bool,
    /// Print what would be fed to the tool, and change nothing
    #[arg(long)]
    print: bool,
    /// The tool to feed: by default the first that is installed and that the kernel can do
    #[arg(long, value_enum, default_value = "auto")]
    backend: Backend,
    /// The user that the proxy runs as: its connections are not redirected
    #[arg(long, value_name = "UID")]
    proxy_uid: Option<String>,
    /// The group that the proxy runs as: its connections are not redirected
    #[arg(long, value_name = "GID")]
    proxy_gid: Option<String>,
    /// The mark on the proxy's sockets: these are not redirected
    #[arg(long, value_name = "MARK", env = "WEFT_SOCKET_MARK")]
    proxy_mark: Option<String>,
    /// Where the application's connections are redirected to
    #[arg(long, value_name = "PORT", env = "WEFT_OUTBOUND_PORT", default_value_t = ports::OUTBOUND.to_string())]
    outbound_port: String,
    /// Where connections to the application are redirected to
    #[arg(long, value_name = "PORT", env = "WEFT_INBOUND_PORT", default_value_t = ports::INBOUND.to_string())]
    inbound_port: String,
    /// The proxy's mesh port, never redirected
    #[arg(long, value_name = "PORT", env = "WEFT_MESH_PORT", default_value_t = ports::MESH.to_string())]
    mesh_port: String,
    /// The proxy's admin port, never redirected
    #[arg(long, value_name = "PORT", env = "WEFT_ADMIN_PORT", default_value_t = ports::PROXY_ADMIN.to_string())]
    admin_port: String,
    /// The proxy's port for metrics and health, never redirected
    #[arg(long, value_name = "PORT", env = "WEFT_METRICS_PORT", default_value_t = ports::PROXY_METRICS.to_string())]
    metrics_port: String,
    /// Connections to these ports are left alone
    #[arg(long, value_name = "PORT,...", value_delimiter = ',')]
    skip_outbound_ports: Vec<String>,
    /// Connections to these ports of the application are left alone
    #[arg(long, value_name = "PORT,...", value_delimiter = ',')]
    skip_inbound_ports: Vec<String>,
    /// Connections to these networks are left alone
    #[arg(long, value_name = "CIDR,...", value_delimiter = ',')]
    skip_outbound_cidrs: Vec<String>,
    /// Connections from these networks are left alone
    #[arg(long, value_name = "CIDR,...", value_delimiter = ',')]
    skip_inbound_cidrs: Vec<String>,
}

impl InterceptArgs {
    /// Installs, removes or prints.
    ///
    /// # Errors
    /// All bad arguments at once; a missing tool, capability or kernel module, and what to add.
    pub(crate) fn run(self) -> Result<()> {
        match (self.remove, self.print) {
            (true, false) => remove(self.backend),
            (true, true) => print(&removal_script(self.backend)),
            (false, print_only) => {
                let rules = Rules::check(&self)?;
                match print_only {
                    true => print(&installation_script(self.backend, &rules)),
                    false => install(self.backend, &rules),
                }
            }
        }
    }
}

fn install(backend: Backend, rules: &Rules) -> Result<()> {
    let with = |backend| match backend {
        Backend::Iptables => {
            feed::to_iptables(Tools::Default, |family, hooked| iptables::install(rules, family, hooked))
        }
        Backend::IptablesLegacy => {
            feed::to_iptables(Tools::Legacy, |family, hooked| iptables::install(rules, family, hooked))
        }
        Backend::Auto | Backend::Nft => feed::to_nft(&nft::install(rules)),
    };
    let done = match backend {
        Backend::Auto => first_that_works(feed::is_installed, with).map_err(anyhow::Error::from),
        named => with(named).map_err(anyhow::Error::from),
    };
    done.context("the redirect rules are not installed")
}

/// Tries the tools that are installed until one works: that a tool is there doesn't say what the kernel can do. What a
/// privilege is missing for is not tried otherwise.
fn first_that_works(
    is_installed: impl Fn(Backend) -> bool,
    work: impl Fn(Backend) -> Result<(), FeedError>,
) -> Result<(), FeedError> {
    let mut failures = Vec::new();
    for backend in ALL.into_iter().filter(|backend| is_installed(*backend)) {
        match work(backend) {
            Ok(()) => return Ok(()),
            Err(error) if failures.is_empty() && error.lacks_privilege() => return Err(error),
            Err(error) => failures.push(error),
        }
    }
    match failures.len() {
        // Nothing is installed: the first of them is to be.
        0 => work(Backend::Nft),
        1 => failures.pop().map_or(Ok(()), Err),
        _ => Err(FeedError::All(failures)),
    }
}

/// With `auto`, from every tool that is there: the rules may have been installed while another one was.
fn remove(backend: Backend) -> Result<()> {
    let from = |backend| match backend {
        Backend::Iptables => feed::to_iptables(Tools::Default, |_, hooked| iptables::remove(hooked)),
        Backend::IptablesLegacy => feed::to_iptables(Tools::Legacy, |_, hooked| iptables::remove(hooked)),
        Backend::Auto | Backend::Nft => feed::to_nft(nft::REMOVE),
    };
    let removed = match backend {
        Backend::Auto => {
            let installed: Vec<_> = ALL.into_iter().filter(|backend| feed::is_installed(*backend)).collect();
            match installed.as_slice() {
                [] => from(Backend::Nft),
                // A kernel that can't do legacy tables has none to remove rules from.
                some => some.iter().try_for_each(|backend| match (*backend, from(*backend)) {
                    (Backend::IptablesLegacy, _) => Ok(()),
                    (_, removed) => removed,
                }),
            }
        }
        named => from(named),
    };
    removed.context("the redirect rules are not removed")
}

/// What `--print` shows.
fn chosen(backend: Backend) -> Backend {
    match backend {
        Backend::Auto => ALL.into_iter().find(|backend| feed::is_installed(*backend)).unwrap_or(Backend::Nft),
        named => named,
    }
}

fn installation_script(backend: Backend, rules: &Rules) -> String {
    match chosen(backend) {
        Backend::Iptables | Backend::IptablesLegacy => {
            iptables::for_each_family(|family| iptables::install(rules, family, iptables::Hooked::NONE))
        }
        Backend::Auto | Backend::Nft => nft::install(rules),
    }
}

fn removal_script(backend: Backend) -> String {
    match chosen(backend) {
        Backend::Iptables | Backend::IptablesLegacy => {
            iptables::for_each_family(|_| iptables::remove(iptables::Hooked::ALL))
        }
        Backend::Auto | Backend::Nft => nft::REMOVE.to_owned(),
    }
}

fn print(script: &str) -> Result<()> {
    std::io::stdout().write_all(script.as_bytes()).context("cannot write to the standard output")
}

#[cfg(test)]
mod tests;
