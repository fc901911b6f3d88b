//! What the demo found, and whether it is what the mesh promises.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::counters::Counted;
use super::load::{Totals, Versions};
use super::view::latencies;

/// How far, in standard deviations, a share may be from its weight. A fair draw is further off once in 2 million times.
const TOLERANCE: f64 = 5.0;

/// The demo's result, as its JSON shows it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// Requests that visitors made.
    pub(super) requests: u64,
    /// Those without a good answer.
    pub(super) failed: u64,
    /// Requests that the inbound proxies took in over mutual TLS.
    pub(super) mtls_requests: u64,
    /// What was set, and what came of it.
    pub(super) splits: Vec<SplitResult>,
    /// The SPIFFE ids that inbound proxies saw as peers.
    pub(super) identities: BTreeSet<String>,
    /// Spans that the proxies exported.
    pub(super) spans: u64,
    /// Whether all of it is as it should be.
    pub(super) ok: bool,
    /// What is not as it should be, in words.
    #[serde(skip)]
    pub(super) complaints: Vec<String>,
    #[serde(skip)]
    latencies: String,
}

/// One split: the weights, and the answers to requests that began after the proxies had reported it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SplitResult {
    /// The weights by version.
    set: BTreeMap<String, i64>,
    /// Answers by version.
    seen: Versions,
}

impl Report {
    /// Judges the findings; `expected` are the identities that should have been seen as peers.
    pub(super) fn judge(
        totals: Totals,
        splits: Vec<SplitResult>,
        counted: Counted,
        spans: u64,
        expected: &BTreeSet<String>,
    ) -> Self {
        let Totals { requests, failed, failures, latencies: histogram } = totals;
        let Counted { mtls_requests, identities, .. } = counted;
        let mut complaints = Vec::new();
        let mut require = |holds: bool, complaint: String| {
            if !holds {
                complaints.push(complaint);
            }
        };
        require(requests > 0, "no request was made".to_owned());
        require(failed == 0, format!("{failed} of {requests} requests failed, first:\n  {}", failures.join("\n  ")));
        require(mtls_requests > 0, "no request came in over mutual TLS".to_owned());
        require(identities == *expected, format!("peers were {identities:?}, not {expected:?}"));
        require(spans > 0, "no span was exported".to_owned());
        for split in &splits {
            require(split.holds(), format!("weights {:?} gave answers {:?}", split.set, split.seen));
        }
        let (ok, latencies) = (complaints.is_empty(), latencies(&histogram));
        Self { requests, failed, mtls_requests, splits, identities, spans, ok, complaints, latencies }
    }
}

/// For people.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} requests, {} failed, {}", self.requests, self.failed, self.latencies)?;
        for split in &self.splits {
            writeln!(f, "  weights {:<20} answers {}", listed(&split.set), listed(&split.seen))?;
        }
        writeln!(f, "{} requests over mutual TLS, from", self.mtls_requests)?;
        for identity in &self.identities {
            writeln!(f, "  {identity}")?;
        }
        write!(f, "{} spans exported", self.spans)
    }
}

/// `v1 90, v2 10`.
fn listed(numbers: &BTreeMap<String, impl fmt::Display>) -> String {
    numbers.iter().map(|(version, number)| format!("{version} {number}")).collect::<Vec<_>>().join(", ")
}

impl SplitResult {
    /// Weights and answers by version; a version that never answered is listed with 0.
    pub(super) fn new(weights: &[(&str, i64)], mut seen: Versions) -> Self {
        for (version, _) in weights {
            seen.entry((*version).to_owned()).or_default();
        }
        Self { set: weights.iter().map(|(version, weight)| ((*version).to_owned(), *weight)).collect(), seen }
    }

    /// Whether each version's answers are as many as a fair draw by the weights gives.
    fn holds(&self) -> bool {
        let answers: u64 = self.seen.values().sum();
        let weights: i64 = self.set.values().sum();
        let known = self.seen.keys().all(|version| self.set.contains_key(version));
        let fair = self.set.iter().all(|(version, weight)| {
            let share = *weight as f64 / weights as f64;
            let expected = answers as f64 * share;
            let deviation = (answers as f64 * share * (1.0 - share)).sqrt();
            let seen = self.seen.get(version).copied().unwrap_or_default() as f64;
            (seen - expected).abs() <= TOLERANCE * deviation
        });
        answers > 0 && known && fair
    }
}

#[cfg(test)]
mod tests;
