//! The choice of one endpoint for one request.

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use weft_rules::balance::{Algorithm, BalancePolicy, choose};

use super::endpoint::EndpointState;
use super::group::Group;

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
    pub(super) next: &'a Cell<usize>,
    pub(super) random: R,
    pub(super) now: Instant,
}

impl<R: FnMut() -> u64> Picker<'_, R> {
    /// One of the group's endpoints, if it has any that may be used.
    pub(super) fn pick<'g>(&mut self, group: &'g Group) -> Option<&'g Rc<EndpointState>> {
        if let Some(address) = self.by.session
            && let Some(held) = group.at(address)
            && held.standing().usable.get()
            && !self.was_tried(held)
        {
            return Some(held);
        }
        self.draw(group.candidates())
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
        let random = (self.random)();
        let now = self.now;
        match self.policy.algorithm {
            Algorithm::PeakEwma => choose(candidates, random, |endpoint| endpoint.cost(now)),
            Algorithm::LeastRequest => choose(candidates, random, |endpoint| f64::from(endpoint.pending()) + 1.0),
            Algorithm::RoundRobin => {
                let next = self.next.get();
                self.next.set(next.wrapping_add(1));
                next.checked_rem(candidates.len())
            }
            Algorithm::Random | Algorithm::RingHash | Algorithm::Maglev => choose(candidates, random, |_| 0.0),
        }
    }

    fn was_tried(&self, endpoint: &EndpointState) -> bool {
        self.by.tried.contains(&endpoint.endpoint.address)
    }
}
