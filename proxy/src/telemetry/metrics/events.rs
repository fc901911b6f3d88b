//! What happens seldom, counted by destination and kind.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::family::{Cell, Key};
use super::labels::{Direction, OVERFLOW};

/// Something that is counted when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Event {
    /// The proxy answered a request itself; the detail is the reason.
    ProxyAnswer(Direction),
    /// A retry was not made; the detail is why.
    RetryDenied,
    /// A request was mirrored; the detail is what became of the copy.
    Mirrored,
    /// An endpoint was ejected; the detail is the criterion.
    Ejected,
    /// A rate limit decided; the destination is the limit's name, the detail what it decided.
    RateLimit,
    /// A fault was injected; the detail is which.
    Fault,
}

/// How a kind of event is shown.
pub(super) struct Shown {
    pub(super) metric: &'static str,
    pub(super) help: &'static str,
    /// What the destination and the detail are called.
    pub(super) labels: [&'static str; 2],
}

impl Event {
    /// One of each metric, in the order in which they are shown.
    pub(super) const METRICS: [Self; 6] = [
        Self::ProxyAnswer(Direction::Inbound),
        Self::RetryDenied,
        Self::Mirrored,
        Self::Ejected,
        Self::RateLimit,
        Self::Fault,
    ];

    pub(super) fn shown(self) -> Shown {
        let (metric, help, labels) = match self {
            Self::ProxyAnswer(_) => {
                ("weft_proxy_answers", "Requests that the proxy answered itself", ["destination", "reason"])
            }
            Self::RetryDenied => ("weft_retries_denied", "Retries that were not made", ["destination", "cause"]),
            Self::Mirrored => ("weft_mirrored_requests", "Copies of requests", ["destination", "result"]),
            Self::Ejected => ("weft_ejections", "Endpoints ejected for failing", ["destination", "cause"]),
            Self::RateLimit => ("weft_rate_limit", "Decisions of rate limits", ["rule", "result"]),
            Self::Fault => ("weft_faults_injected", "Faults that a route asked for", ["destination", "kind"]),
        };
        Shown { metric, help, labels }
    }

    pub(super) fn direction(self) -> Option<Direction> {
        match self {
            Self::ProxyAnswer(direction) => Some(direction),
            _ => None,
        }
    }

    /// Whether both are shown as one metric.
    pub(super) fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// A series of an event's metric.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct EventKey {
    pub(super) event: Event,
    pub(super) destination: Arc<str>,
    pub(super) detail: &'static str,
}

impl Key for EventKey {
    fn overflow(&self) -> Self {
        Self { destination: OVERFLOW.into(), ..self.clone() }
    }
}

/// How often something happened.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Once more.
    pub(crate) fn record(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Cell for Count {
    fn activity(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One worker's cells that were in use lately, so that a storm of events takes the family's lock once.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent(RefCell<HashMap<EventKey, Arc<Count>, foldhash::fast::RandomState>>);

impl Recent {
    pub(super) fn record(&self, key: EventKey, look_up: impl FnOnce(EventKey) -> Arc<Count>) {
        let mut recent = self.0.borrow_mut();
        if let Some(count) = recent.get(&key) {
            return count.record();
        }
        let count = look_up(key.clone());
        count.record();
        recent.insert(key, count);
    }

    /// Lets go of all cells, so that idle series can be forgotten.
    pub(super) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}
