//! What somebody asked a shift to do.

use std::sync::Arc;
use std::time::Duration;

use super::Limits;
use crate::mesh::{ObjectName, SplitBackend};
use crate::traffic::MAX_WEIGHT;

/// The steps of a shift that doesn't say, in percent.
pub const DEFAULT_STEPS: [u32; 4] = [5, 25, 50, 100];
/// How long each step is watched where it doesn't say.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
/// How many requests a step is judged by where it doesn't say.
pub const DEFAULT_MIN_REQUESTS: u64 = 20;

/// A checked shift: the steps rise, and there is somebody to take traffic from.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The Service that clients dial.
    pub service: ObjectName,
    /// The backend that traffic goes to, a Service in the same namespace.
    pub to: Arc<str>,
    /// Its port; `None`: the one that was dialled.
    pub port: Option<u16>,
    /// Its shares in percent.
    pub steps: Vec<u32>,
    /// For how long each step is watched.
    pub interval: Duration,
    /// What ends the shift.
    pub limits: Limits,
    /// How many requests a step is judged by at least.
    pub min_requests: u64,
    /// The split that was there before; `None`: none.
    pub before: Option<Vec<SplitBackend>>,
}

impl Plan {
    /// The backends that give traffic away, each with its weight before; empty: the target has all traffic already.
    pub fn others(&self) -> Vec<SplitBackend> {
        let own = || vec![SplitBackend { service: Arc::clone(&self.service.name), port: None, weight: 1 }];
        let mut others = self.before.clone().unwrap_or_else(own);
        others.retain(|backend| !self.is_target(backend) && backend.weight > 0);
        others
    }

    /// The split of a step, from 0: the target has its share, the others share the rest as before. Backends that had no
    /// traffic stay without.
    pub fn weights(&self, step: usize) -> Vec<SplitBackend> {
        let percent = u64::from(self.steps.get(step).or(self.steps.last()).copied().unwrap_or(100));
        let others = self.others();
        let sum: u64 = others.iter().map(|backend| u64::from(backend.weight)).sum();
        let target = SplitBackend { service: Arc::clone(&self.to), port: self.port, weight: 0 };
        let mut split: Vec<_> = match &self.before {
            Some(before) => before.clone(),
            None => others,
        };
        if !split.iter().any(|backend| self.is_target(backend)) {
            split.push(target);
        }
        let exact = |backend: &SplitBackend| match self.is_target(backend) {
            true => percent * sum,
            false => (100 - percent) * u64::from(backend.weight),
        };
        let exact: Vec<u64> = split.iter().map(exact).collect();
        for (backend, weight) in split.iter_mut().zip(tidy(&exact)) {
            backend.weight = weight;
        }
        split
    }

    fn is_target(&self, backend: &SplitBackend) -> bool {
        backend.service == self.to && backend.port == self.port
    }
}

/// The same shares in numbers that people can read: of 100 where that is exact, else the smallest, else close enough.
fn tidy(weights: &[u64]) -> Vec<u32> {
    let divisor = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
    let sum: u64 = weights.iter().map(|weight| weight / divisor).sum();
    let factor = if sum > 0 && 100 % sum == 0 { 100 / sum } else { 1 };
    let most = weights.iter().map(|weight| weight / divisor * factor).max().unwrap_or_default();
    let limit = u64::try_from(MAX_WEIGHT).unwrap_or(u64::MAX);
    let fit = |weight: &u64| {
        let weight = weight / divisor * factor;
        let weight = match most > limit {
            // A share that is not nothing does not become nothing.
            true => (u128::from(weight) * u128::from(limit)).div_ceil(u128::from(most)),
            false => u128::from(weight),
        };
        u32::try_from(weight).unwrap_or(u32::MAX)
    };
    weights.iter().map(fit).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
pub(super) mod tests;
