//! Token buckets by the generic cell rate algorithm (GCRA, ITU-T I.371): instead of tokens and the time of their last filling,
//! a bucket is one number, the moment at which it will be full again. A full bucket's is in the past.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A rate: `requests` in each `per`, and as many as `burst` at once.
///
/// Holds in any time `t`: no more than `burst + t * requests / per` requests are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Requests in each `per`, evenly spread; at least 1.
    pub requests: u32,
    /// The time over which `requests` are counted; above zero.
    pub per: Duration,
    /// Requests that may come at once after a silence; at least 1.
    pub burst: u32,
}

/// Whether a request is let in, and how the bucket is after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is let in.
    pub allowed: bool,
    /// How many may come at once when the bucket is full.
    pub limit: u32,
    /// How many more may come now.
    pub remaining: u32,
    /// How long until the bucket is full, if nobody comes.
    pub reset: Duration,
    /// How long until one more may come; zero if one may now.
    pub retry_after: Duration,
}

impl Quota {
    /// Takes one request out of a bucket: from its state and the time to its next state. `now` is in nanoseconds since any
    /// fixed moment; the state of a full bucket is 0.
    pub fn take(&self, state: u64, now: u64) -> (u64, Decision) {
        let (interval, capacity) = (self.interval(), self.capacity());
        let full_at = state.max(now);
        let next = full_at.saturating_add(interval);
        let allowed = next - now <= capacity && next < u64::MAX;
        let state = if allowed { next } else { full_at };
        let missing = state - now;
        let room = capacity.saturating_sub(missing);
        let decision = Decision {
            allowed,
            limit: self.burst.max(1),
            remaining: u32::try_from(room / interval).unwrap_or(u32::MAX),
            reset: Duration::from_nanos(missing),
            retry_after: Duration::from_nanos(interval.saturating_sub(room)),
        };
        (state, decision)
    }

    /// The time that one request is worth. Rounded up, so that the rate is never more than it says.
    fn interval(&self) -> u64 {
        let interval = self.per.as_nanos().div_ceil(u128::from(self.requests.max(1)));
        u64::try_from(interval).unwrap_or(u64::MAX).max(1)
    }

    fn capacity(&self) -> u64 {
        self.interval().saturating_mul(u64::from(self.burst.max(1)))
    }
}

/// One bucket, for several threads. Full at first.
#[derive(Debug, Default)]
pub struct TokenBucket {
    state: AtomicU64,
}

impl TokenBucket {
    /// Takes one request out. `now` is the time since a moment that stays the same.
    pub fn take(&self, quota: &Quota, now: Duration) -> Decision {
        let now = nanoseconds(now);
        let mut decision = None;
        let next = |state| {
            let (next, taken) = quota.take(state, now);
            decision = Some(taken);
            Some(next)
        };
        // The bucket guards no other memory, so no ordering is needed.
        let before = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_else(|state| state);
        decision.unwrap_or_else(|| quota.take(before, now).1)
    }
}

/// A bucket for each key, of which there are at most so many.
///
/// A bucket that is full again is forgotten without loss. When all places are taken by buckets that are not, further keys share
/// one: callers who make up keys get no more than one bucket's quota by it, and those who are known are not disturbed.
#[derive(Debug)]
pub struct Buckets {
    quota: Quota,
    capacity: usize,
    states: HashMap<u64, u64, AlreadyHashed>,
    /// Of those for whom there is no place.
    others: u64,
    /// When places were last looked for, in nanoseconds.
    searched: Option<u64>,
}

impl Buckets {
    /// At most `capacity` buckets of this quota.
    pub fn new(quota: Quota, capacity: usize) -> Self {
        Self { quota, capacity, states: HashMap::default(), others: 0, searched: None }
    }

    /// Takes one request out of the bucket of a key, which is a hash. `now` is the time since a moment that stays the same.
    pub fn take(&mut self, key: u64, now: Duration) -> Decision {
        let now = nanoseconds(now);
        if self.states.len() >= self.capacity && !self.states.contains_key(&key) {
            self.make_room(now);
        }
        let has_room = self.states.len() < self.capacity;
        let state = match self.states.get_mut(&key) {
            Some(state) => state,
            None if has_room => self.states.entry(key).or_insert(0),
            None => &mut self.others,
        };
        let (next, decision) = self.quota.take(*state, now);
        *state = next;
        decision
    }

    /// How many keys have a bucket.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether no key has a bucket.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Forgets full buckets. Not more often than a tenth of the time that an empty one takes to fill, so that a flood of keys
    /// does not cost a search each.
    fn make_room(&mut self, now: u64) {
        let pause = self.quota.capacity() / 10;
        if self.searched.is_none_or(|searched| now.saturating_sub(searched) >= pause) {
            self.searched = Some(now);
            self.states.retain(|_, full_at| *full_at > now);
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Keys are hashes with a secret already.
#[derive(Debug, Clone, Copy, Default)]
struct AlreadyHashed(u64);

impl BuildHasher for AlreadyHashed {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self::default()
    }
}

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}
