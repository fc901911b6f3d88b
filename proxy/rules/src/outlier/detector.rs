//! What is known of each endpoint of a cluster, and who is ejected.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Instant;

use super::{Cause, Ejection, Observation, OutlierPolicy, SuccessRate};

/// Rates that differ by less are the same; sums of floats are not exact.
const SAME_RATE: f64 = 1e-9;

/// Watches the endpoints of a cluster, told by keys.
#[derive(Debug, Clone)]
pub struct Detector<K, S = RandomState> {
    policy: OutlierPolicy,
    hosts: HashMap<K, Host, S>,
    last_sweep: Instant,
}

/// What changed with time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep<K> {
    /// Who is left out from now on.
    pub ejected: Vec<(K, Ejection)>,
    /// Who is in use again.
    pub returned: Vec<K>,
}

impl<K> Default for Sweep<K> {
    fn default() -> Self {
        Self { ejected: Vec::new(), returned: Vec::new() }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Host {
    /// Failures and 5xx answers since the last success.
    server_errors: u32,
    /// Failures and gateway errors since the last other answer.
    gateway_failures: u32,
    /// Since the last sweep.
    requests: u32,
    /// Since the last sweep.
    successes: u32,
    /// Ejected until then, unless that is past or it has returned.
    ejected_until: Option<Instant>,
    /// How often it was ejected, less one for each interval that it was not.
    times: u32,
}

impl Host {
    fn is_ejected(&self, now: Instant) -> bool {
        self.ejected_until.is_some_and(|until| now < until)
    }

    /// In use again, with a clean slate but for how often it was ejected.
    fn returned(self) -> Self {
        Self { times: self.times, ..Self::default() }
    }
}

impl<K: Clone + Eq + Hash> Detector<K> {
    /// Watches nobody yet; see [`keep`](Self::keep).
    pub fn new(policy: OutlierPolicy, now: Instant) -> Self {
        Self::with_hasher(policy, now, RandomState::default())
    }
}

impl<K: Clone + Eq + Hash, S: BuildHasher> Detector<K, S> {
    /// Watches nobody yet, and will find keys by this hash. Who chooses the keys must not know its seed.
    pub fn with_hasher(policy: OutlierPolicy, now: Instant, hasher: S) -> Self {
        Self { policy, hosts: HashMap::with_hasher(hasher), last_sweep: now }
    }

    /// Watches these endpoints from now on. Of those that were watched before everything stays known.
    ///
    /// Where fewer endpoints are left, fewer may be ejected: those whose time ends first return, and are listed.
    pub fn keep(&mut self, now: Instant, hosts: impl IntoIterator<Item = K>) -> Vec<K> {
        let hosts: Vec<_> =
            hosts.into_iter().map(|key| self.hosts.remove_entry(&key).unwrap_or((key, Host::default()))).collect();
        self.hosts.clear();
        self.hosts.extend(hosts);
        let excess = self.ejected(now).saturating_sub(self.policy.max_ejected(self.hosts.len()));
        if excess == 0 {
            return Vec::new();
        }
        let mut ejected: Vec<_> = self.hosts.iter_mut().filter(|(_, host)| host.is_ejected(now)).collect();
        ejected.sort_unstable_by_key(|(_, host)| host.ejected_until);
        ejected
            .into_iter()
            .take(excess)
            .map(|(key, host)| {
                *host = host.returned();
                key.clone()
            })
            .collect()
    }

    /// Takes how an attempt went, and says whether its endpoint is ejected for it. Attempts at endpoints that are not
    /// watched, or are ejected and answer late, count for nothing.
    pub fn observe(&mut self, key: &K, now: Instant, observation: Observation) -> Option<Ejection> {
        let host = self.hosts.get_mut(key)?;
        if host.is_ejected(now) {
            return None;
        }
        if host.ejected_until.is_some() {
            // Back since its time was over, though no sweep has said so yet; `ejected_until` stays for that sweep.
            *host = Host { ejected_until: host.ejected_until, ..host.returned() };
        }
        host.requests = host.requests.saturating_add(1);
        match observation {
            Observation::Success => {
                host.successes = host.successes.saturating_add(1);
                (host.server_errors, host.gateway_failures) = (0, 0);
            }
            Observation::ServerError => {
                host.server_errors = host.server_errors.saturating_add(1);
                host.gateway_failures = 0;
            }
            Observation::GatewayFailure => {
                host.server_errors = host.server_errors.saturating_add(1);
                host.gateway_failures = host.gateway_failures.saturating_add(1);
            }
        }
        let reached = |count: u32, threshold: Option<u32>| threshold.is_some_and(|threshold| count >= threshold.max(1));
        let cause = if reached(host.gateway_failures, self.policy.consecutive_gateway) {
            Cause::ConsecutiveGateway
        } else if reached(host.server_errors, self.policy.consecutive_5xx) {
            Cause::Consecutive5xx
        } else {
            return None;
        };
        self.eject(key, now, cause)
    }

    /// Lets time pass: lists who returned, and each interval ejects who is far below the others. To be called about as often
    /// as the interval, and more often to hear earlier who returned.
    pub fn sweep(&mut self, now: Instant) -> Sweep<K> {
        let mut sweep = Sweep::default();
        let interval_is_over = now.saturating_duration_since(self.last_sweep) >= self.policy.interval;
        for (key, host) in &mut self.hosts {
            if host.ejected_until.is_some_and(|until| until <= now) {
                *host = host.returned();
                sweep.returned.push(key.clone());
            } else if interval_is_over && host.ejected_until.is_none() {
                host.times = host.times.saturating_sub(1);
            }
        }
        if interval_is_over {
            self.last_sweep = now;
            if let Some(criterion) = self.policy.success_rate {
                for key in self.below_the_others(&criterion, now) {
                    sweep.ejected.extend(self.eject(&key, now, Cause::SuccessRate).map(|ejection| (key, ejection)));
                }
            }
            for host in self.hosts.values_mut() {
                (host.requests, host.successes) = (0, 0);
            }
        }
        sweep
    }

    /// Whether an endpoint is left out.
    pub fn is_ejected(&self, key: &K, now: Instant) -> bool {
        self.hosts.get(key).is_some_and(|host| host.is_ejected(now))
    }

    /// How many endpoints are left out.
    pub fn ejected(&self, now: Instant) -> usize {
        self.hosts.values().filter(|host| host.is_ejected(now)).count()
    }

    fn eject(&mut self, key: &K, now: Instant, cause: Cause) -> Option<Ejection> {
        if self.ejected(now) >= self.policy.max_ejected(self.hosts.len()) {
            return None;
        }
        let host = self.hosts.get_mut(key)?;
        let times = host.times.saturating_add(1);
        let until = now.checked_add(self.policy.ejection(times))?;
        *host = Host { times, ejected_until: Some(until), ..Host::default() };
        Some(Ejection { until, cause, times })
    }

    /// Who has a success rate below the mean by so many standard deviations, the worst first.
    fn below_the_others(&self, criterion: &SuccessRate, now: Instant) -> Vec<K> {
        let enough =
            |host: &Host| host.requests > 0 && host.requests >= criterion.min_requests && !host.is_ejected(now);
        let compared = self.hosts.iter().filter(|(_, host)| enough(host));
        let rates: Vec<(&K, f64)> =
            compared.map(|(key, host)| (key, f64::from(host.successes) / f64::from(host.requests))).collect();
        if rates.is_empty() || rates.len() < criterion.min_hosts as usize {
            return Vec::new();
        }
        let count = rates.len() as f64;
        let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
        let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
        let threshold = mean - criterion.stdev_factor * variance.sqrt() - SAME_RATE;
        let mut below: Vec<_> = rates.into_iter().filter(|(_, rate)| *rate < threshold).collect();
        below.sort_unstable_by(|(_, one), (_, other)| one.total_cmp(other));
        below.into_iter().map(|(key, _)| key.clone()).collect()
    }
}
