//! An address that the application dials, and what it was last told.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use super::plan::Plan;
use crate::discovery::delta::Key;
use crate::discovery::values::Destination;

/// An address that the application dials.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) needs: BTreeSet<Key>,
    /// What the destination's traffic was made from.
    pub(super) published: Option<Plan>,
    /// Kept weakly: whoever else holds it is using it.
    destination: Weak<Destination>,
    pub(super) shown: Shown,
}

/// What was last answered for an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shown {
    #[default]
    Nothing,
    Known,
    Unknown,
    Unavailable,
}

impl Node {
    /// Publishes the traffic of a plan, if it is another one. Returns the destination, if threads don't know it yet.
    pub(super) fn publish(&mut self, plan: Plan) -> Option<Arc<Destination>> {
        let same = self.published.as_ref().is_some_and(|published| published.is_same(&plan));
        if same && self.shown == Shown::Known {
            return None;
        }
        let traffic = Arc::new(plan.traffic());
        self.published = Some(plan);
        let known = std::mem::replace(&mut self.shown, Shown::Known) == Shown::Known;
        if let Some(destination) = self.destination.upgrade() {
            destination.publish(traffic);
            return (!known).then_some(destination);
        }
        let destination = Arc::new(Destination::new(traffic));
        self.destination = Arc::downgrade(&destination);
        Some(destination)
    }

    /// There is no such destination any more. Connections that are open keep its last traffic.
    pub(super) fn retire(&mut self) {
        self.shown = Shown::Unknown;
        self.published = None;
    }
}
