//! The choice of one endpoint for one request.

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use weft_rules::balance::turns::{RoundRobin, draw};
use weft_rules::balance::{Algorithm, BalancePolicy, choose, least_request, locality};

use super::endpoint::EndpointState;
use super::group::{Group, Zones};

/// How often an endpoint that was tried already is passed over before it is taken again.
const REDRAWS: usize = 4;

/// What of a request has a say in the choice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PickBy<'a> {
    /// The request's place on the ring or in the table, for the algorithms that have one; `None`: it is drawn.
    pub(crate) hash: Option<u64>,
    /// The endpoint that the request's session is with: taken while it is there and in good standing.
    pub(crate) session: Option<SocketAddr>,
    /// Endpoints that were tried already: not taken while there are others.
    pub(crate) tried: &'a [SocketAddr],
}

/// Picks by a policy. Draws from `random`, which is uniformly distributed over all of `u64`.
pub(super) struct Picker<'a, R> {
    pub(super) policy: &'a BalancePolicy,
    pub(super) by: &'a PickBy<'a>,
    pub(super) turns: &'a Cell<RoundRobin>,
    pub(super) random: R,
    pub(super) now: Instant,
}

impl<R: FnMut() -> u64> Picker<'_, R> {
    /// One of the group's endpoints, if it has any that may be used. In this order: that of the session, that of the
    /// hash, one of the own zone, any.
    pub(super) fn pick<'g>(&mut self, group: &'g Group) -> Option<&'g Rc<EndpointState>> {
        self.of_session(group).or_else(|| self.of_hash(group)).or_else(|| match group.zones() {
            None => self.draw(group.candidates()),
            Some(zones) => self.of_zone(&zones),
        })
    }

    fn of_session<'g>(&self, group: &'g Group) -> Option<&'g Rc<EndpointState>> {
        group.at(self.by.session?).filter(|endpoint| endpoint.standing().usable.get() && !self.was_tried(endpoint))
    }

    fn of_hash<'g>(&self, group: &'g Group) -> Option<&'g Rc<EndpointState>> {
        let hash = self.by.hash.filter(|_| self.policy.algorithm.is_hashing())?;
        group.by_hash(self.policy.algorithm, hash, |endpoint| {
            endpoint.standing().usable.get() && !self.was_tried(endpoint)
        })
    }

    fn of_zone<'g>(&mut self, zones: &Zones<'g>) -> Option<&'g Rc<EndpointState>> {
        let stays = locality::stays(zones.load_here, zones.load_elsewhere, (self.random)());
        let (first, second) = if stays { (zones.here, zones.elsewhere) } else { (zones.elsewhere, zones.here) };
        let picked = self.draw(first);
        let untried = picked.filter(|endpoint| !self.was_tried(endpoint));
        untried.or_else(|| self.draw(second).filter(|endpoint| !self.was_tried(endpoint))).or(picked)
    }

    fn draw<'g>(&mut self, candidates: &'g [Rc<EndpointState>]) -> Option<&'g Rc<EndpointState>> {
        let mut picked = None;
        for _ in 0..REDRAWS {
            picked = candidates.get(self.draw_once(candidates)?);
            if let Some(endpoint) = picked.filter(|endpoint| !self.was_tried(endpoint)) {
                return Some(endpoint);
            }
        }
        candidates.iter().find(|endpoint| !self.was_tried(endpoint)).or(picked)
    }

    fn draw_once(&mut self, candidates: &[Rc<EndpointState>]) -> Option<usize> {
        let (random, now) = ((self.random)(), self.now);
        let weight = |endpoint: &Rc<EndpointState>| self.weight(endpoint);
        let weight_at = |index: usize| candidates.get(index).map_or(1.0, weight);
        match self.policy.algorithm {
            Algorithm::PeakEwma => choose(candidates, random, |endpoint| endpoint.cost(now) / weight(endpoint)),
            Algorithm::LeastRequest => {
                choose(candidates, random, |endpoint| least_request(endpoint.pending(), weight(endpoint)))
            }
            Algorithm::RoundRobin => {
                let mut turns = self.turns.get();
                let picked = turns.pick(candidates.len(), random, weight_at);
                self.turns.set(turns);
                picked
            }
            Algorithm::Random | Algorithm::RingHash | Algorithm::Maglev => draw(candidates.len(), random, weight_at),
        }
    }

    /// The part of its share that an endpoint has while it is new.
    fn weight(&self, endpoint: &EndpointState) -> f64 {
        let Some(slow_start) = &self.policy.slow_start else { return 1.0 };
        let new_since = endpoint.standing().new_since.get();
        new_since.map_or(1.0, |since| slow_start.weight(self.now.saturating_duration_since(since)))
    }

    fn was_tried(&self, endpoint: &EndpointState) -> bool {
        self.by.tried.contains(&endpoint.endpoint.address)
    }
}
