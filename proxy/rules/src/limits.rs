//! How much may be under way at a time.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU32, Ordering};

/// The limits of a cluster, for all its endpoints together (`envoy.config.cluster.v3.CircuitBreakers.Thresholds`).
/// `None`: without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Connections.
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection.
    pub max_pending: Option<u32>,
    /// Requests under way.
    pub max_requests: Option<u32>,
}

impl Limits {
    /// Whether there is no limit at all.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// A breaker's flag in a [`Counter`]; the other bits count.
const OPEN: u32 = 1 << 31;

/// Counts what is under way, for several threads, and is the breaker that refuses more.
///
/// The breaker opens with the first refusal, and closes when a tenth of the limit is free again, so that it does not open and
/// close with each request of a steady overload. That it is open is for people to see; what is let in depends on the count
/// alone.
#[derive(Debug, Default)]
pub struct Counter {
    state: AtomicU32,
}

/// One more is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// Whether the breaker opened with this, and was not open before.
    pub opened: bool,
}

impl Counter {
    /// Counts one more, which must [leave](Self::leave) later.
    ///
    /// # Errors
    /// When there are as many as `limit` already; nothing is counted then.
    pub fn enter(&self, limit: u32) -> Result<(), Full> {
        let limit = limit.min(OPEN - 1);
        let more = |state: u32| if state & !OPEN < limit { state + 1 } else { state | OPEN };
        let before = update(&self.state, more);
        if before & !OPEN < limit { Ok(()) } else { Err(Full { opened: before & OPEN == 0 }) }
    }

    /// One of those that entered is gone. Says whether the breaker closed with this.
    pub fn leave(&self, limit: u32) -> bool {
        let room = limit - limit.div_ceil(10);
        let less = |state: u32| {
            let left = (state & !OPEN).saturating_sub(1);
            if left <= room { left } else { left | (state & OPEN) }
        };
        let before = update(&self.state, less);
        before & OPEN != 0 && less(before) & OPEN == 0
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.state.load(Ordering::Relaxed) & !OPEN
    }

    /// Whether something was refused, and not enough has left since.
    pub fn is_open(&self) -> bool {
        self.state.load(Ordering::Relaxed) & OPEN != 0
    }
}

/// Changes a state, and returns what it was before. The counter guards no other memory, so no ordering is needed.
fn update(state: &AtomicU32, to: impl Fn(u32) -> u32) -> u32 {
    let result = state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| Some(to(state)));
    // Always `Ok`, since the change is never refused.
    result.unwrap_or_else(|state| state)
}
