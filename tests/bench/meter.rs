//! What the pair takes: CPU time and memory, and how much of the machine went to anything else meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::time::ClockId;
use nix::unistd::{Pid, SysconfVar, sysconf};
use weft_cli::world::Process;

use crate::peers::Pair;

/// Measures CPU time from its start to its end.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    pair: &'a Pair,
    begun: Snapshot,
}

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) took: Duration,
    /// User and system time of each proxy, all threads.
    pub(crate) cpu: Vec<Duration>,
    /// The share of the machine, in percent, that went to what is neither pair nor load nor backend.
    pub(crate) noise: f64,
}

#[derive(Clone, Debug)]
struct Snapshot {
    at: Instant,
    proxies: Vec<Duration>,
    /// All that belongs to the benchmark, the proxies too.
    ours: Duration,
    machine: Machine,
}

/// What all CPUs did since the machine was started.
#[derive(Clone, Copy, Debug)]
struct Machine {
    busy: Duration,
    cpus: usize,
}

impl<'a> Meter<'a> {
    pub(crate) fn start(pair: &'a Pair) -> Result<Self> {
        Ok(Self { pair, begun: Snapshot::take(pair)? })
    }

    pub(crate) fn stop(self) -> Result<Reading> {
        let (begun, ended) = (self.begun, Snapshot::take(self.pair)?);
        let took = ended.at - begun.at;
        let busy = ended.machine.busy.saturating_sub(begun.machine.busy);
        let others = busy.saturating_sub(ended.ours.saturating_sub(begun.ours));
        let capacity = took.as_secs_f64() * ended.machine.cpus as f64;
        let each = ended.proxies.iter().zip(&begun.proxies);
        Ok(Reading {
            took,
            cpu: each.map(|(ended, begun)| ended.saturating_sub(*begun)).collect(),
            noise: 100.0 * others.as_secs_f64() / capacity,
        })
    }
}

impl Snapshot {
    fn take(pair: &Pair) -> Result<Self> {
        let each = |processes: &[Process]| processes.iter().map(cpu).collect::<Result<Vec<_>>>();
        let (proxies, helpers) = (each(&pair.proxies)?, each(&pair.helpers)?);
        let own = Duration::from(ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?);
        let ours = proxies.iter().chain(&helpers).sum::<Duration>() + own;
        Ok(Self { at: Instant::now(), proxies, ours, machine: Machine::now()? })
    }
}

/// What a process has used so far: /proc/PID/stat's utime and stime, in nanoseconds.
fn cpu(process: &Process) -> Result<Duration> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(process.id()));
    let used = clock.and_then(ClockId::now).context("a process has no CPU clock; has it ended?")?;
    Ok(used.into())
}

impl Machine {
    fn now() -> Result<Self> {
        let text = std::fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        let mut all = text.lines().take_while(|line| line.starts_with("cpu"));
        let sum = all.next().context("/proc/stat begins otherwise")?;
        // user, nice, system, (idle, iowait,) irq, softirq, steal
        let ticks = sum.split_whitespace().skip(1).take(8).map(|ticks| ticks.parse::<u64>().unwrap_or_default());
        let busy: u64 = ticks.enumerate().filter(|(field, _)| !matches!(field, 3 | 4)).map(|(_, ticks)| ticks).sum();
        let per_second = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u64::try_from(ticks).ok()).unwrap_or(100);
        Ok(Self { busy: Duration::from_micros(busy * 1_000_000 / per_second), cpus: all.count().max(1) })
    }
}

/// Memory of a process in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// All that is resident; the program's own pages count.
    pub(crate) resident: f64,
    /// Of this, what is no file's.
    pub(crate) anonymous: f64,
}

/// Of each proxy.
///
/// # Errors
/// Where one has ended.
pub(crate) fn memory(pair: &Pair) -> Result<Vec<Memory>> {
    pair.proxies.iter().map(memory_of).collect()
}

fn memory_of(process: &Process) -> Result<Memory> {
    let path = format!("/proc/{}/status", process.id());
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}; has it ended?"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
        kib.with_context(|| format!("{path} has no {name}"))
    };
    Ok(Memory { resident: field("VmRSS:")?, anonymous: field("RssAnon:")? })
}
