//! What the figures depend on beside what is measured: which programs, and on which machine.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::process::Command;
use std::thread::available_parallelism;

use crate::peers::Peer;

/// Where a result comes from.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// Of the peers' programs, as they tell them.
    pub(crate) versions: BTreeMap<Peer, String>,
    /// Of the tree that the benchmark was compiled in, with `-dirty` where something was changed; `None`: git does not answer.
    pub(crate) commit: Option<String>,
    /// `None`: the kernel does not name it.
    pub(crate) cpu: Option<String>,
    pub(crate) cores: usize,
}

impl Setting {
    /// As it is now, with these peers.
    pub(crate) fn of(peers: &[Peer]) -> Self {
        let versions = peers.iter().filter_map(|peer| Some((*peer, version(*peer)?)));
        Self {
            versions: versions.collect(),
            commit: commit(),
            cpu: cpu(),
            cores: available_parallelism().map_or(1, NonZeroUsize::get),
        }
    }
}

/// `Envoy 1.40.0, HAProxy 2.6.12, Weft 0.1.0 (7f3a36508b), 2 cores of AMD EPYC`
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (peer, version) in &self.versions {
            write!(f, "{} {version}", peer.title())?;
            match &self.commit {
                Some(commit) if *peer == Peer::Weft => write!(f, " ({commit}), ")?,
                _ => write!(f, ", ")?,
            }
        }
        write!(f, "{} cores", self.cores)?;
        self.cpu.iter().try_for_each(|cpu| write!(f, " of {cpu}"))
    }
}

fn version(peer: Peer) -> Option<String> {
    let ask = if peer == Peer::Haproxy { "-v" } else { "--version" };
    let text = told(Command::new(peer.program().ok()??).arg(ask))?;
    number(&text).map(str::to_owned)
}

/// The number in `weft-proxy 0.1.0`, `HAProxy version 2.6.12 2026/10/17` and `/path/envoy  version: 7f3a36/1.40.0/Clean`.
fn number(text: &str) -> Option<&str> {
    let line = text.lines().next()?;
    let after = line.rsplit_once("version").map_or(line, |(_, after)| after);
    let mut words = after.split(|letter: char| letter.is_whitespace() || letter == '/');
    words.find(|word| word.starts_with(|letter: char| letter.is_ascii_digit()) && word.contains('.'))
}

fn commit() -> Option<String> {
    let here = ["-C", env!("CARGO_MANIFEST_DIR")];
    told(Command::new("git").args(here).args(["describe", "--always", "--dirty", "--exclude=*", "--abbrev=10"]))
}

fn cpu() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let (_, model) = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'))?;
    Some(model.trim().to_owned())
}

/// What a program prints, if it ends well.
fn told(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
