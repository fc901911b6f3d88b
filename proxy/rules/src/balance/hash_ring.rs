//! A ring of endpoints (Karger's consistent hashing, as ketama has it): each endpoint has many points on a circle, and a
//! request goes to the endpoint of the next point from its own place on. When an endpoint leaves, only its own requests
//! move.

#[cfg(test)]
mod tests;

use crate::hash::mix;

/// The points of an endpoint of average weight, if the ring does not become too large by it.
const POINTS: u64 = 160;
/// The most points of a ring of few endpoints; a ring has at least one point for each of many.
const MAX_POINTS: u64 = 1 << 16;

/// A ring. A point takes 16 bytes.
#[derive(Debug, Clone, Default)]
pub struct Ring {
    /// Places with the index of their endpoint, in the order of the places.
    points: Vec<(u64, u32)>,
}

impl Ring {
    /// Places endpoints, told by their [hash](crate::hash::hash_address) and weight. One of weight 0 has no place.
    ///
    /// The same endpoints are in the same places in each proxy, in whatever order they are told. O(n log n) of its points.
    pub fn build(endpoints: &[(u64, u32)]) -> Self {
        let total: u64 = endpoints.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let placed = endpoints.iter().filter(|(_, weight)| *weight > 0).count() as u64;
        let size = (placed * POINTS).min(MAX_POINTS).max(placed);
        let mut points = Vec::with_capacity(size as usize);
        for (index, (hash, weight)) in (0_u32..).zip(endpoints) {
            // At least one, or it would get nothing at all.
            let share = (u128::from(size) * u128::from(*weight)).checked_div(u128::from(total)).unwrap_or(0) as u64;
            let count = if *weight > 0 { share.max(1) } else { 0 };
            points.extend((0..count).map(|number| (mix(hash ^ mix(number + 1)), index)));
        }
        // Two points of one place: the one of the lesser hash first, so that the order in which they were told is no matter.
        points.sort_unstable_by_key(|(place, index)| (*place, endpoints.get(*index as usize)));
        Self { points }
    }

    /// The index of the endpoint for a request's hash; of the next one on the ring that is `usable`, if that one is not.
    /// `None` if none is.
    pub fn pick(&self, hash: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let start = self.points.partition_point(|(place, _)| *place < hash);
        let (before, from) = self.points.split_at_checked(start)?;
        let indices = from.iter().chain(before).map(|(_, index)| *index as usize);
        // An endpoint that is not usable is asked about once for each of its points; what is asked must be cheap.
        indices.into_iter().find(|index| usable(*index))
    }
}
