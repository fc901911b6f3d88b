//! The figures that count, and what they have to be.

use std::collections::BTreeMap;
use std::fmt;

use crate::cells::{Measured, Sample};
use crate::peers::Peer;
use crate::workloads::Workload;

/// What is shown of a workload, and judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) workload: Workload,
    metric: &'static str,
    /// Whether it counts from what it is without a proxy in the same round.
    added: bool,
    pub(crate) target: Option<Target>,
}

/// What Weft's figure must not exceed, and what it should not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// Of whose figure in the same run both are multiples; `None`: they are in the figure's own unit.
    pub(crate) of: Option<Peer>,
    pub(crate) must: f64,
    pub(crate) should: f64,
}

const fn at_most(must: f64, should: f64) -> Option<Target> {
    Some(Target { of: None, must, should })
}

const fn times(peer: Peer, must: f64, should: f64) -> Option<Target> {
    Some(Target { of: Some(peer), must, should })
}

const fn times_envoy(must: f64, should: f64) -> Option<Target> {
    times(Peer::Envoy, must, should)
}

const fn cpu(name: &'static str, workload: Workload, target: Option<Target>) -> Figure {
    Figure { name, unit: "us", workload, metric: "cpu", added: false, target }
}

const fn figure(
    name: &'static str,
    unit: &'static str,
    workload: Workload,
    metric: &'static str,
    target: Option<Target>,
) -> Figure {
    Figure { name, unit, workload, metric, added: false, target }
}

/// CPU time is the pair's, for each good answer; memory at rest is one proxy's, of an idle connection it is the pair's.
pub(crate) const FIGURES: [Figure; 16] = [
    cpu("h1: CPU a request", Workload::H1, times_envoy(0.32, 0.20)),
    cpu("h2: CPU a request", Workload::H2, times_envoy(0.48, 0.36)),
    cpu("h2mux: CPU a request", Workload::H2mux, times_envoy(0.42, 0.30)),
    cpu("l4: CPU a request", Workload::L4, times_envoy(0.50, 0.38)),
    figure("tcp: CPU a gigabyte", "s", Workload::Tcp, "cpu", times_envoy(1.05, 0.85)),
    cpu("churn: CPU a connection", Workload::Churn, times_envoy(0.48, 0.33)),
    cpu("churn4: CPU a connection", Workload::Churn4, times_envoy(0.18, 0.12)),
    cpu("steady: CPU a request", Workload::Steady, times_envoy(0.58, 0.45)),
    Figure { added: true, ..figure("steady: p50 added", "ms", Workload::Steady, "p50_ms", None) },
    Figure {
        added: true,
        ..figure("steady: p99 added", "ms", Workload::Steady, "p99_ms", times(Peer::Haproxy, 1.0, 0.6))
    },
    figure("mem: resident at rest", "MiB", Workload::Mem, "resident_mib", at_most(13.0, 8.0)),
    figure("mem: anonymous of it", "MiB", Workload::Mem, "anonymous_mib", at_most(2.5, 1.2)),
    figure("mem: an idle HTTP connection", "KiB", Workload::Mem, "connection_kib", at_most(9.0, 5.0)),
    figure("mem4: an idle opaque connection", "KiB", Workload::Mem4, "connection_kib", at_most(9.0, 6.0)),
    figure("stalled: p99 alone", "ms", Workload::Stalled, "p99_alone_ms", None),
    // Unchanged, but for the quarter that it differs by from one run to the next. To ask for less would be to ask for luck, so
    // both limits are the same.
    figure("stalled: p99 beside / alone", "x", Workload::Stalled, "ratio", at_most(1.25, 1.25)),
];

/// A figure of each peer, and what is made of it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) figure: Figure,
    /// Medians over the rounds.
    pub(crate) values: BTreeMap<Peer, f64>,
    /// The largest of the peers' medians, in percent.
    pub(crate) noise: Option<f64>,
    /// `None`: it has no target. An error: the target is not judged.
    pub(crate) verdict: Option<Result<Verdict, Lack>>,
}

/// What became of a target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    pub(crate) must: Limit,
    pub(crate) should: Limit,
}

/// What Weft's figure is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// In the figure's own unit.
    pub(crate) value: f64,
    pub(crate) met: bool,
}

/// Why a target is not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lack {
    /// Nothing was measured of this peer.
    Figure(Peer),
    /// This peer added nothing that could be told from noise, and there is no multiple of that.
    Multiple(Peer),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Figure(peer) => write!(f, "there is no figure of `{peer}`"),
            Self::Multiple(peer) => write!(f, "`{peer}` added nothing, and there is no multiple of that"),
        }
    }
}

impl Row {
    /// How many times Envoy's Weft's is.
    pub(crate) fn to_envoy(&self) -> Option<f64> {
        let envoy = self.values.get(&Peer::Envoy).filter(|value| **value > 0.0)?;
        Some(self.values.get(&Peer::Weft)? / envoy)
    }
}

/// All figures of the workloads of which something was measured.
pub(crate) fn rows(measured: &Measured) -> Vec<Row> {
    FIGURES.iter().filter_map(|figure| row(measured, *figure)).collect()
}

fn row(measured: &Measured, figure: Figure) -> Option<Row> {
    let peers = [Peer::Direct, Peer::Envoy, Peer::Haproxy, Peer::Weft];
    let is_measured = |peer| figure.samples(measured, peer).next().is_some();
    if !peers.into_iter().any(is_measured) {
        return None;
    }
    let of = |peer| figure.median(measured, peer).map(|median| (peer, median));
    let values: BTreeMap<Peer, f64> = peers.into_iter().filter_map(of).collect();
    let noise = Figure { metric: "noise", added: false, ..figure };
    let noise = peers.into_iter().filter_map(|peer| noise.median(measured, peer)).reduce(f64::max);
    let has_floor = !figure.added || is_measured(Peer::Direct);
    let judge = |target: Target| if has_floor { target.judge(&values) } else { Err(Lack::Figure(Peer::Direct)) };
    let verdict = figure.target.map(judge);
    Some(Row { figure, values, noise, verdict })
}

impl Target {
    fn judge(self, values: &BTreeMap<Peer, f64>) -> Result<Verdict, Lack> {
        let of = |peer: Peer| values.get(&peer).copied().ok_or(Lack::Figure(peer));
        let weft = of(Peer::Weft)?;
        let unit = match self.of {
            None => 1.0,
            Some(peer) => match of(peer)? {
                // What is added is a difference, and may be less than nothing.
                ..=0.0 => return Err(Lack::Multiple(peer)),
                unit => unit,
            },
        };
        let limit = |times: f64| Limit { value: times * unit, met: weft <= times * unit };
        Ok(Verdict { must: limit(self.must), should: limit(self.should) })
    }
}

impl Figure {
    fn samples(self, measured: &Measured, peer: Peer) -> impl Iterator<Item = &Sample> {
        measured.samples.iter().filter(move |sample| sample.workload == self.workload && sample.peer == peer)
    }

    fn median(self, measured: &Measured, peer: Peer) -> Option<f64> {
        let own = self.samples(measured, peer);
        median(own.filter_map(|sample| self.value(measured, sample)).collect())
    }

    fn value(self, measured: &Measured, sample: &Sample) -> Option<f64> {
        let value = *sample.metrics.get(self.metric)?;
        if !self.added {
            return Some(value);
        }
        let is_floor = |other: &&Sample| {
            (other.peer, other.workload, other.round) == (Peer::Direct, sample.workload, sample.round)
        };
        let floor = measured.samples.iter().filter(|_| sample.peer != Peer::Direct).find(is_floor)?;
        Some(value - floor.metrics.get(self.metric)?)
    }
}

/// Of an even number, the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let (lower, upper) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((lower + upper) / 2.0)
}
