//! A budget for retries, so that an outage is not multiplied by those who retry it.

#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

/// Retries allowed for each request, by default: one in five.
pub const DEFAULT_RATIO: f64 = 0.2;
/// Retries allowed in each second however few requests there are, by default.
pub const DEFAULT_MIN_PER_SECOND: u32 = 10;
/// The time over which requests and retries are compared, by default.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(10);

/// The window is counted in so many parts.
const PARTS: u64 = 10;
/// One part more than a window, because `now` is somewhere within a part.
const SLOTS: usize = PARTS as usize + 1;

/// Retries in proportion to requests, over a sliding window.
///
/// Holds whenever a retry is allowed: the retries of the last `window`, this one included, are at most `ratio` times the
/// requests of the last `window`, plus `min_per_second` for each of its seconds. Constant size.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    ratio: f64,
    /// Retries in a window that need no requests.
    reserve: f64,
    part: Duration,
    /// When the first part began; `None` until something was counted.
    origin: Option<Instant>,
    /// The number of the part that the latest count fell in.
    current: u64,
    /// Part `n` is in slot `n % SLOTS`; parts older than the slots reach are gone.
    slots: [Slot; SLOTS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    requests: u64,
    retries: u64,
}

impl Default for RetryBudget {
    /// 20 % of the requests and at least 10 a second, over 10 s.
    fn default() -> Self {
        Self::new(DEFAULT_RATIO, DEFAULT_MIN_PER_SECOND, DEFAULT_WINDOW)
    }
}

impl RetryBudget {
    /// A budget of `ratio` retries for each request and `min_per_second` besides, measured over `window`.
    pub fn new(ratio: f64, min_per_second: u32, window: Duration) -> Self {
        Self {
            ratio,
            reserve: f64::from(min_per_second) * window.as_secs_f64(),
            part: (window / PARTS as u32).max(Duration::from_nanos(1)),
            origin: None,
            current: 0,
            slots: [Slot::default(); SLOTS],
        }
    }

    /// A budget of `percent` retries for each hundred requests and `min_per_second` besides, measured over `window`.
    pub fn from(percent: f64, min_per_second: u32, window: Duration) -> Self {
        Self::new(percent / 100.0, min_per_second, window)
    }

    /// The part of the budget that one of several workers has, who share what needs no requests evenly.
    pub fn part_of(self, workers: NonZeroUsize) -> Self {
        Self { reserve: self.reserve / workers.get() as f64, ..self }
    }

    /// Counts a request (not its retries).
    pub fn deposit(&mut self, now: Instant) {
        self.slot(now).requests += 1;
    }

    /// Whether a retry is affordable at `now`; if so it is counted.
    pub fn withdraw(&mut self, now: Instant) -> bool {
        self.slot(now);
        let spent: u64 = self.slots.iter().map(|slot| slot.retries).sum();
        // The oldest slot reaches back beyond the window: its retries still count, its requests do not. So both errors
        // of counting in parts are on the safe side.
        let oldest = ((self.current + 1) % SLOTS as u64) as usize;
        let earned: u64 =
            self.slots.iter().enumerate().filter(|(index, _)| *index != oldest).map(|(_, slot)| slot.requests).sum();
        let affordable = (spent + 1) as f64 <= self.ratio * earned as f64 + self.reserve;
        if affordable {
            self.slot(now).retries += 1;
        }
        affordable
    }

    /// The slot for `now`, after forgetting what has become too old. Time that runs backwards stands still.
    fn slot(&mut self, now: Instant) -> &mut Slot {
        let origin = *self.origin.get_or_insert(now);
        let part = (now.saturating_duration_since(origin).as_nanos() / self.part.as_nanos()) as u64;
        let ahead = part.saturating_sub(self.current).min(SLOTS as u64);
        for step in 1..=ahead {
            let index = ((self.current + step) % SLOTS as u64) as usize;
            if let Some(slot) = self.slots.get_mut(index) {
                *slot = Slot::default();
            }
        }
        self.current = self.current.max(part);
        let index = (self.current % SLOTS as u64) as usize;
        // A remainder by the array's own length.
        #[allow(clippy::indexing_slicing)]
        &mut self.slots[index]
    }
}
