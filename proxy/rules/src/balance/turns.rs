//! Choices that look at no load: in turn, and drawn.
//!
//! A candidate may have a weight below 1 (see [`SlowStart`](super::SlowStart)): it is then passed over in so many of its
//! turns.

#[cfg(test)]
mod tests;

use crate::hash::mix;

/// How often a draw is repeated for candidates that are passed over.
const DRAWS: u64 = 16;

/// One candidate after the other.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoundRobin {
    next: usize,
}

impl RoundRobin {
    /// Begins anywhere, so that the many who begin at the same time do not all begin with the same candidate.
    pub fn starting_at(random: u64) -> Self {
        Self { next: random as usize }
    }

    /// The index of the next of `count` candidates; `None` when there are none. `weight` is that of a candidate, from above
    /// 0 to 1, and `random` is uniformly distributed, and only used for weights below 1.
    pub fn pick(&mut self, count: usize, random: u64, weight: impl Fn(usize) -> f64) -> Option<usize> {
        let mut index = self.advance(count)?;
        for turn in 0..count as u64 {
            if takes_turn(weight(index), random, turn) {
                break;
            }
            index = self.advance(count)?;
        }
        Some(index)
    }

    fn advance(&mut self, count: usize) -> Option<usize> {
        let index = self.next.checked_rem(count)?;
        // From the index and not from `next` itself, so that the turn goes on where it was when the count changes.
        self.next = index + 1;
        Some(index)
    }
}

/// The index of a drawn one of `count` candidates; `None` when there are none. `weight` is that of a candidate, from above 0
/// to 1.
pub fn draw(count: usize, random: u64, weight: impl Fn(usize) -> f64) -> Option<usize> {
    let drawn = |turn: u64| {
        let random = if turn == 0 { random } else { mix(random.wrapping_add(turn)) };
        ((u128::from(random) * count as u128) >> 64) as usize
    };
    let taken = (0..DRAWS).find(|turn| takes_turn(weight(drawn(*turn)), random, *turn));
    (count > 0).then(|| drawn(taken.unwrap_or(0)))
}

/// Whether a candidate takes this turn.
fn takes_turn(weight: f64, random: u64, turn: u64) -> bool {
    // Turned, so that it has nothing to do with the number that drew the candidate. 53 bits are all that a number between 0
    // and 1 can have.
    weight >= 1.0 || ((mix(random.rotate_left(32).wrapping_add(turn)) >> 11) as f64) < weight * (1_u64 << 53) as f64
}
