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

use self::rules::Rules;

/// The tool that the rules are fed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Backend {
    /// nft where it is installed, else iptables.
    Auto,
    /// `nft -f -`: the table `inet weft`.
    Nft,
    /// `iptables-restore` and `ip6tables-restore`: the chains `WEFT_OUTBOUND` and `WEFT_INBOUND`.
    Iptables,
}

/// Install or remove the rules that lead a pod's connections to the proxy.
#[derive(Debug, clap::Args)]
pub(crate) struct InterceptArgs {
    /// Remove the rules (and nothing but these)
    #[arg(long)]
    remove: bool,
    /// Print what would be fed to the tool, and change nothing
    #[arg(long)]
    print: bool,
    /// The tool to feed: nft where it is installed, else iptables
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
    match chosen(backend) {
        Backend::Iptables => feed::to_iptables(|family, hooked| iptables::install(rules, family, hooked)),
        _ => feed::to_nft(&nft::install(rules)),
    }
    .context("the redirect rules are not installed")
}

/// With `auto`, from every tool that is there: the rules may have been installed while another one was.
fn remove(backend: Backend) -> Result<()> {
    let from_nft = || feed::to_nft(nft::REMOVE);
    let from_iptables = || feed::to_iptables(|_, hooked| iptables::remove(hooked));
    match backend {
        Backend::Nft => from_nft(),
        Backend::Iptables => from_iptables(),
        Backend::Auto => match (feed::nft_is_installed(), feed::iptables_is_installed()) {
            (true, true) => from_nft().and_then(|()| from_iptables()),
            (false, true) => from_iptables(),
            (_, false) => from_nft(),
        },
    }
    .context("the redirect rules are not removed")
}

fn chosen(backend: Backend) -> Backend {
    match backend {
        Backend::Auto if !feed::nft_is_installed() && feed::iptables_is_installed() => Backend::Iptables,
        Backend::Auto => Backend::Nft,
        named => named,
    }
}

fn installation_script(backend: Backend, rules: &Rules) -> String {
    match chosen(backend) {
        Backend::Iptables => {
            iptables::for_each_family(|family| iptables::install(rules, family, iptables::Hooked::NONE))
        }
        _ => nft::install(rules),
    }
}

fn removal_script(backend: Backend) -> String {
    match chosen(backend) {
        Backend::Iptables => iptables::for_each_family(|_| iptables::remove(iptables::Hooked::ALL)),
        _ => nft::REMOVE.to_owned(),
    }
}

fn print(script: &str) -> Result<()> {
    std::io::stdout().write_all(script.as_bytes()).context("cannot write to the standard output")
}

#[cfg(test)]
mod tests;
