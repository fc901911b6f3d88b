//! The figures that count, and what they have to be.

use std::collections::BTreeMap;

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
    target: Target,
}

/// What Weft's figure must not exceed, and what it should not.
#[derive(Clone, Copy, Debug)]
enum Target {
    None,
    AtMost(f64, f64),
    /// So many times the other's figure in the same run.
    Times(Peer, f64, f64),
}

const fn times_envoy(must: f64, should: f64) -> Target {
    Target::Times(Peer::Envoy, must, should)
}

const fn cpu(name: &'static str, workload: Workload, target: Target) -> Figure {
    Figure { name, unit: "us", workload, metric: "cpu", added: false, target }
}

const fn figure(
    name: &'static str,
    unit: &'static str,
    workload: Workload,
    metric: &'static str,
    target: Target,
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
    Figure { added: true, ..figure("steady: p50 added", "ms", Workload::Steady, "p50_ms", Target::None) },
    Figure {
        added: true,
        ..figure("steady: p99 added", "ms", Workload::Steady, "p99_ms", Target::Times(Peer::Haproxy, 1.0, 0.6))
    },
    figure("mem: resident at rest", "MiB", Workload::Mem, "resident_mib", Target::AtMost(13.0, 8.0)),
    figure("mem: anonymous of it", "MiB", Workload::Mem, "anonymous_mib", Target::AtMost(2.5, 1.2)),
    figure("mem: an idle HTTP connection", "KiB", Workload::Mem, "connection_kib", Target::AtMost(9.0, 5.0)),
    figure("mem4: an idle opaque connection", "KiB", Workload::Mem4, "connection_kib", Target::AtMost(9.0, 6.0)),
    figure("stalled: p99 alone", "ms", Workload::Stalled, "p99_alone_ms", Target::None),
    // Unchanged, but for what it differs by from one run to the next.
    figure("stalled: p99 beside / alone", "x", Workload::Stalled, "ratio", Target::AtMost(1.25, 1.1)),
];

/// A figure of each peer, and what is made of it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) figure: Figure,
    /// Medians over the rounds.
    pub(crate) values: BTreeMap<Peer, f64>,
    /// The largest of the peers' medians, in percent.
    pub(crate) noise: Option<f64>,
    pub(crate) must: Option<Limit>,
    pub(crate) should: Option<Limit>,
}

/// What Weft's figure is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// In the figure's own unit.
    pub(crate) value: f64,
    /// Of whose figure, and how many times that.
    pub(crate) of: Option<(Peer, f64)>,
    /// `None`: there is no figure of Weft's.
    pub(crate) met: Option<bool>,
}

impl Row {
    /// How many times Envoy's Weft's is.
    pub(crate) fn to_envoy(&self) -> Option<f64> {
        let envoy = self.values.get(&Peer::Envoy).filter(|value| **value > 0.0)?;
        Some(self.values.get(&Peer::Weft)? / envoy)
    }
}

/// All figures of which something was measured.
pub(crate) fn rows(measured: &Measured) -> Vec<Row> {
    FIGURES.iter().filter_map(|figure| row(measured, *figure)).collect()
}

fn row(measured: &Measured, figure: Figure) -> Option<Row> {
    let of = |peer| figure.median(measured, peer).map(|median| (peer, median));
    let peers = [Peer::Direct, Peer::Envoy, Peer::Haproxy, Peer::Weft];
    let values: BTreeMap<Peer, f64> = peers.into_iter().filter_map(of).collect();
    if values.is_empty() {
        return None;
    }
    let noise = Figure { metric: "noise", added: false, ..figure };
    let noise = peers.into_iter().filter_map(|peer| noise.median(measured, peer)).reduce(f64::max);
    let (must, should) = match figure.target {
        Target::None => (None, None),
        Target::AtMost(must, should) => (limit(must, None, &values), limit(should, None, &values)),
        Target::Times(peer, must, should) => (limit(must, Some(peer), &values), limit(should, Some(peer), &values)),
    };
    Some(Row { figure, values, noise, must, should })
}

/// `None`: there is no figure of whom Weft is held against.
fn limit(factor: f64, of: Option<Peer>, values: &BTreeMap<Peer, f64>) -> Option<Limit> {
    let value = match of {
        Some(peer) => factor * values.get(&peer)?,
        None => factor,
    };
    let met = values.get(&Peer::Weft).map(|weft| *weft <= value);
    Some(Limit { value, of: of.map(|peer| (peer, factor)), met })
}

impl Figure {
    fn median(&self, measured: &Measured, peer: Peer) -> Option<f64> {
        let own = measured.samples.iter().filter(|sample| sample.workload == self.workload && sample.peer == peer);
        median(own.filter_map(|sample| self.value(measured, sample)).collect())
    }

    fn value(&self, measured: &Measured, sample: &Sample) -> Option<f64> {
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
