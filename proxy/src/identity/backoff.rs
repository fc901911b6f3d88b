//! Pauses between attempts: exponential with jitter, bounded.

use std::time::Duration;

/// The pauses of one series of attempts.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    /// The first pause, and the shortest bound on any.
    pub(super) const SHORTEST: Duration = Duration::from_millis(100);
    /// No pause is longer.
    pub(super) const LONGEST: Duration = Duration::from_secs(5);

    pub(super) fn new() -> Self {
        Self { next: Self::SHORTEST }
    }

    /// The next pause: twice the one before, but at most `limit`, less up to half at random (`random` is in 0..1).
    pub(super) fn next(&mut self, limit: Duration, random: f64) -> Duration {
        let pause = self.next.min(limit.clamp(Self::SHORTEST, Self::LONGEST));
        self.next = (pause * 2).min(Self::LONGEST);
        pause.mul_f64(1.0 - random / 2.0)
    }
}
