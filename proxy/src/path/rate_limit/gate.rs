//! What a limit of this proxy has counted, for all workers together: a limit is the pod's, however many workers it has.

use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use weft_rules::rate_limit::{Buckets, Decision, LocalLimit, TokenBucket};
use weft_rules::route::RequestHead;

/// Parts of the buckets that are locked by themselves, so that workers seldom meet at one.
const PARTS: usize = 16;

/// The buckets of a limit.
#[derive(Debug)]
pub(crate) struct Gate {
    /// What times are counted from.
    began: Instant,
    /// A secret of the process, so that callers cannot choose whom they share a bucket with.
    secret: RandomState,
    buckets: Kept,
}

#[derive(Debug)]
enum Kept {
    /// All requests share one: an atomic, no lock.
    One(TokenBucket),
    /// One for each combination of what the limit is by.
    Many(Vec<Mutex<Buckets>>),
}

impl Gate {
    /// Full buckets; at most about `max` of them.
    pub(crate) fn new(limit: &LocalLimit, max: usize) -> Self {
        let buckets = if limit.by.is_empty() {
            Kept::One(TokenBucket::default())
        } else {
            let part = || Mutex::new(Buckets::new(limit.quota, max.div_ceil(PARTS)));
            Kept::Many(std::iter::repeat_with(part).take(PARTS).collect())
        };
        Self { began: Instant::now(), secret: RandomState::default(), buckets }
    }

    /// Takes a request in; `None`: the limit is not for it. `peer` is the caller's identity.
    pub(super) fn take(&self, limit: &LocalLimit, request: &RequestHead<'_>, peer: Option<&str>) -> Option<Decision> {
        let key = limit.bucket(request, peer, &self.secret)?;
        Some(self.decide(limit, key, self.began.elapsed()))
    }

    fn decide(&self, limit: &LocalLimit, key: u64, now: Duration) -> Decision {
        match &self.buckets {
            Kept::One(bucket) => bucket.take(&limit.quota, now),
            Kept::Many(parts) => {
                // The upper bits, as the buckets' own table goes by the lower ones.
                let part = parts.get((key >> 32) as usize % PARTS).or(parts.first());
                match part {
                    Some(part) => part.lock().take(key, now),
                    None => TokenBucket::default().take(&limit.quota, now),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
