//! The same zone first, with overflow to the others.
//!
//! A proxy knows how its own requests go and how many endpoints there are in each zone, not how many clients. So it does not
//! compute a fair split in advance, as Envoy's zone-aware routing does; it keeps requests in its zone until that shows
//! that it cannot take them:
//!
//! 1. **Fewer are usable.** While at least 1 / 1.4 = 71 % of the zone's endpoints are usable they take everything; below
//!    that, 1.4 times the usable share (the factor by which Envoy overprovisions).
//! 2. **More load.** Load is this proxy's requests under way for each usable endpoint. Up to [`FREE_LOAD`] is no matter. Above
//!    that, once the zone's endpoints have [`TOLERANCE`] times the load of the others, what exceeds this goes to the others,
//!    whose load rises by it, and the two meet.
//!
//! The two shares are multiplied. Without usable endpoints in the zone nothing stays, and without usable ones elsewhere all.

#[cfg(test)]
mod tests;

/// How much more than evenly an endpoint may be given.
const OVERPROVISIONING: f64 = 1.4;
/// How many times the load of the others the own zone's endpoints may have.
pub const TOLERANCE: f64 = 2.0;
/// The load, in requests under way for each endpoint, up to which nothing goes elsewhere.
pub const FREE_LOAD: f64 = 4.0;

/// The endpoints of the own zone, or of all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Endpoints {
    /// How many there are.
    pub all: usize,
    /// How many are usable: neither ejected, nor unhealthy, nor draining.
    pub usable: usize,
    /// This proxy's requests under way to the usable ones.
    pub in_flight: usize,
}

impl Endpoints {
    fn load(&self) -> f64 {
        self.in_flight as f64 / self.usable.max(1) as f64
    }
}

/// The share of requests, 0 to 1, that stays in the own zone.
pub fn plan(local: Endpoints, others: Endpoints) -> f64 {
    if local.usable == 0 {
        return 0.0;
    }
    if others.usable == 0 {
        return 1.0;
    }
    let by_health = OVERPROVISIONING * local.usable as f64 / local.all.max(1) as f64;
    let bearable = (TOLERANCE * others.load()).max(FREE_LOAD);
    let by_load = if local.load() <= bearable { 1.0 } else { bearable / local.load() };
    by_health.min(1.0) * by_load
}

/// Whether a request with this uniformly distributed `random` stays in the own zone.
pub fn stays(local: Endpoints, others: Endpoints, random: u64) -> bool {
    let share = plan(local, others);
    // 53 bits, all that a number between 0 and 1 can have.
    share >= 1.0 || ((random >> 11) as f64) < share * (1_u64 << 53) as f64
}
