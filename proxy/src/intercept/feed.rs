//! Runs the tools, and says in their place what is missing when they fail.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Backend;
use super::iptables::{Family, Hooked, OUTPUT_JUMP, PREROUTING_JUMP, Tools};

/// Where system tools are, even if `PATH` does not say so.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];
/// iptables has a lock on the machine; seconds to wait for it.
const LOCK_WAIT: &str = "--wait=10";

/// Why a tool did not do its work.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    /// Not installed.
    #[error("{tool} is not installed: apt-get install {package} (or apk add {package}), or choose another --backend")]
    Missing { tool: &'static str, package: &'static str },
    /// Could not be started or fed.
    #[error("cannot run {tool}: {source}")]
    Run { tool: &'static str, source: std::io::Error },
    /// Ran, and refused.
    #[error("{tool} failed: {}{}", said.trim(), advice(said))]
    Refused { tool: &'static str, said: String },
    /// Several were tried.
    #[error("no tool can do it:{}", .0.iter().map(|error| format!("\n- {error}")).collect::<String>())]
    All(Vec<FeedError>),
}

impl FeedError {
    /// Whether no other tool could do better.
    pub(super) fn lacks_privilege(&self) -> bool {
        matches!(self, Self::Refused { said, .. } if says(said, &NO_PRIVILEGE))
    }
}

pub(super) fn is_installed(backend: Backend) -> bool {
    let tool = match backend {
        Backend::Auto | Backend::Nft => "nft",
        Backend::Iptables => Family::V4.restore(Tools::Default),
        Backend::IptablesLegacy => Family::V4.restore(Tools::Legacy),
    };
    find(tool).is_some()
}

/// Feeds one transaction to nft.
pub(super) fn to_nft(script: &str) -> Result<(), FeedError> {
    feed("nft", "nftables", &["-f", "-"], script)
}

/// Feeds one transaction for each address family that the kernel has.
pub(super) fn to_iptables(tools: Tools, script: impl Fn(Family, Hooked) -> String) -> Result<(), FeedError> {
    for family in Family::BOTH {
        if family == Family::V6 && !kernel_has_ipv6() {
            continue;
        }
        let is_there = |jump| is_there(family.tool(tools), jump);
        let hooked = Hooked { output: is_there(OUTPUT_JUMP)?, prerouting: is_there(PREROUTING_JUMP)? };
        feed(family.restore(tools), "iptables", &["--noflush", LOCK_WAIT], &script(family, hooked))?;
    }
    Ok(())
}

fn kernel_has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

/// Whether a rule is in the table `nat`. A tool that fails for another reason fails again, with words, when it is fed.
fn is_there(tool: &'static str, rule: &str) -> Result<bool, FeedError> {
    let path = find(tool).ok_or(FeedError::Missing { tool, package: "iptables" })?;
    let status = Command::new(path)
        .args([LOCK_WAIT, "--table", "nat", "--check"])
        .args(rule.split(' '))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|source| FeedError::Run { tool, source })?;
    Ok(status.success())
}

fn feed(tool: &'static str, package: &'static str, args: &[&str], script: &str) -> Result<(), FeedError> {
    let failed = |source| FeedError::Run { tool, source };
    let path = find(tool).ok_or(FeedError::Missing { tool, package })?;
    let mut child = Command::new(path)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // A tool that ends before it has read everything says why on its standard error.
    let fed = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(script.as_bytes()));
    let output = child.wait_with_output().map_err(failed)?;
    match (output.status.success(), fed) {
        (true, Ok(())) => Ok(()),
        (true, Err(error)) if error.kind() != ErrorKind::BrokenPipe => Err(failed(error)),
        _ => Err(FeedError::Refused { tool, said: String::from_utf8_lossy(&output.stderr).into_owned() }),
    }
}

fn find(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SYSTEM_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(tool)).find(|path| path.is_file())
}

/// How tools say that a privilege is missing.
const NO_PRIVILEGE: [&str; 3] = ["Operation not permitted", "Permission denied", "must be root"];

fn says(said: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| said.contains(part))
}

/// What a tool's message most likely means, as a sentence to append; empty where that is not known.
pub(super) fn advice(said: &str) -> &'static str {
    let says = |parts: &[&str]| says(said, parts);
    if says(&NO_PRIVILEGE) {
        "\nThe rules need CAP_NET_ADMIN in the pod's network namespace: run as root, and give the init container \
         securityContext.capabilities.add [NET_ADMIN]. iptables-legacy, for kernels without nf_tables, needs CAP_NET_RAW, \
         too: annotate the pod with weft.dev/iptables-legacy: \"true\""
    } else if says(&["unable to initialize table"]) {
        // What iptables-legacy-restore says of both.
        "\nWithout CAP_NET_RAW iptables-legacy can't open its socket: annotate the pod with weft.dev/iptables-legacy: \"true\". \
         Or the kernel lacks a module: on the node, modprobe -a iptable_nat ip6table_nat xt_REDIRECT xt_owner xt_mark xt_addrtype"
    } else if says(&["xtables lock", "xtables.lock"]) {
        "\nAnother program holds iptables' lock, or /run is read-only: try again, or name another file by XTABLES_LOCKFILE"
    } else if says(&["Table does not exist", "can't initialize", "No chain/target/match", "Couldn't load"]) {
        "\nThe kernel lacks a module. On the node: modprobe -a iptable_nat ip6table_nat xt_REDIRECT xt_owner xt_mark \
         xt_addrtype; or try --backend nft"
    } else if says(&["No such file or directory", "not supported", "cache initialization failed"]) {
        "\nThe kernel lacks a module, or is older than 5.2. On the node: modprobe -a nf_tables nft_chain_nat nft_redir \
         nft_fib_inet; or try --backend iptables"
    } else {
        ""
    }
}
