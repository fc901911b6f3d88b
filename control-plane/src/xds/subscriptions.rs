//! What a stream subscribes to, what it was sent and what it acknowledged. No I/O and no clock.
//!
//! ```text
//!                subscribe                     next              ACK
//! (not there) ─────────────> dirty, unsent ──────────> sent ──────────> acked
//!                                ^                       │  NACK
//!                                └──── mark (changed) ───┴──────────> refused: not sent again until it changes
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use weft_api::xds::ResourceKind;

use self::kind::{Kind, RESPONSE_BYTES, Response};
use super::per_kind::PerKind;
use super::resources::Resource;
use super::{MAX_NAME_BYTES, MAX_SUBSCRIPTIONS};

mod kind;
mod nack;

pub(super) use kind::Entry;

/// The name that subscribes to everything.
const WILDCARD: &str = "*";
/// Responses without ACK or NACK after which a stream is sent no more until it catches up.
const MAX_IN_FLIGHT: usize = 64;

/// A version of a resource; `None`: the resource does not exist.
pub(super) type Version = Option<Arc<str>>;

/// All subscriptions of a stream.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    kinds: PerKind<Kind>,
    in_flight: usize,
    last_nonce: u64,
}

/// What a request changes about the names of a kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// Delta: these come and go; the client holds `versions` already.
    Change { subscribe: Vec<Arc<str>>, unsubscribe: Vec<String>, versions: BTreeMap<String, String> },
    /// State of the world: exactly these.
    Set(Vec<Arc<str>>),
}

/// What the index of interested streams has to learn.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) added: Vec<Arc<str>>,
    pub(super) dropped: Vec<Arc<str>>,
    /// The wildcard was switched on or off.
    pub(super) wildcard: Option<bool>,
}

/// Why a request ends the stream.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LimitError {
    #[error("more than {MAX_SUBSCRIPTIONS} {} subscriptions on one stream", .0.name())]
    Subscriptions(ResourceKind),
    #[error("a {} name of {} bytes; the longest has {MAX_NAME_BYTES}", .0.name(), .1)]
    Name(ResourceKind, usize),
}

/// A response to send.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) kind: ResourceKind,
    pub(super) nonce: u64,
    pub(super) resources: Vec<Arc<Resource>>,
    pub(super) removed: Vec<Arc<str>>,
}

/// What an ACK or NACK was about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answered {
    /// The names that the client now has.
    pub(super) acked: Vec<Arc<str>>,
    /// The names and versions that it refused.
    pub(super) refused: Vec<(Arc<str>, Arc<str>)>,
}

impl Names {
    /// The names that are subscribed to.
    pub(super) fn subscribed_mut(&mut self) -> &mut [Arc<str>] {
        let (Self::Change { subscribe: names, .. } | Self::Set(names)) = self;
        names
    }
}

impl Subscriptions {
    /// Follows a request's names; what is new may be sent from now on.
    ///
    /// `known` tells the names of all resources of the kind, for a wildcard.
    pub(super) fn request(
        &mut self,
        kind: ResourceKind,
        names: Names,
        known: impl FnOnce() -> Vec<String>,
        now: Instant,
    ) -> Result<Interest, LimitError> {
        let state = self.kinds.get_mut(kind);
        let first = !std::mem::replace(&mut state.seen, true);
        let legacy = first && matches!(kind, ResourceKind::Listener | ResourceKind::Cluster);
        let mut interest = Interest::default();
        match names {
            Names::Change { mut subscribe, unsubscribe, mut versions } => {
                if legacy && subscribe.is_empty() {
                    subscribe.push(WILDCARD.into());
                }
                state.unsubscribe(unsubscribe, &mut interest, now);
                state.subscribe(kind, subscribe, &mut versions, known, &mut interest, now)?;
            }
            Names::Set(mut names) => {
                if legacy && names.is_empty() {
                    names.push(WILDCARD.into());
                }
                // A wildcard that came by being empty stays while the list is empty.
                if state.wildcard && names.is_empty() {
                    return Ok(interest);
                }
                let gone = state.missing_from(&names);
                let new = names.into_iter().filter(|name| !state.is_named(name)).collect();
                state.unsubscribe(gone, &mut interest, now);
                state.subscribe(kind, new, &mut BTreeMap::new(), known, &mut interest, now)?;
            }
        }
        Ok(interest)
    }

    /// Whether a request's names change nothing, as those of a bare ACK.
    pub(super) fn is_unchanged_by(&self, kind: ResourceKind, names: &Names) -> bool {
        let empty = matches!(names, Names::Change { subscribe, unsubscribe, .. } if subscribe.is_empty() && unsubscribe.is_empty());
        empty && self.kinds.get(kind).seen
    }

    /// Notes that a resource may have changed. Names that nobody subscribed to are ignored, unless by the wildcard.
    pub(super) fn mark(&mut self, kind: ResourceKind, name: &Arc<str>, now: Instant) {
        let state = self.kinds.get_mut(kind);
        if state.wildcard && !state.entries.contains_key(name) {
            state.entries.insert(Arc::clone(name), Entry::new(false));
        }
        if let Some(entry) = state.entries.get_mut(name) {
            entry.behind_since.get_or_insert(now);
            state.dirty.insert(Arc::clone(name));
        }
    }

    /// Whether there may be something to send, and the client may be sent it.
    pub(super) fn pending(&self) -> bool {
        self.in_flight < MAX_IN_FLIGHT && self.dirty()
    }

    /// Whether something may differ from what was sent.
    pub(super) fn dirty(&self) -> bool {
        self.kinds.values().any(|kind| !kind.dirty.is_empty())
    }

    /// The next response, in make-before-break order: clusters, endpoints, listeners, routes, and last what of clusters
    /// and endpoints is gone. `whole`: a response has all resources of the kind (state of the world).
    pub(super) fn next(
        &mut self,
        whole: bool,
        mut look_up: impl FnMut(ResourceKind, &Arc<str>) -> Option<Arc<Resource>>,
    ) -> Option<Outgoing> {
        use ResourceKind::{Cluster, ClusterLoadAssignment, Listener, RouteConfiguration};
        let makes = [(Cluster, false), (ClusterLoadAssignment, false), (Listener, true), (RouteConfiguration, true)];
        let breaks = [(ClusterLoadAssignment, true), (Cluster, true)];
        for (kind, removals) in makes.into_iter().chain(breaks) {
            let state = self.kinds.get_mut(kind);
            // A response that has all of them anyway leaves nothing for another one.
            let all = whole && matches!(kind, Listener | Cluster);
            let most = if all { usize::MAX } else { RESPONSE_BYTES };
            let mut batch = state.batch(removals, most, |name| look_up(kind, name));
            // State of the world does not tell of the other kinds what is gone.
            while whole && !all && batch.resources.is_empty() && !batch.versions.is_empty() {
                batch = state.batch(removals, most, |name| look_up(kind, name));
            }
            if batch.versions.is_empty() {
                continue;
            }
            if all {
                batch.resources = state.existing(|name| look_up(kind, name));
            }
            self.last_nonce += 1;
            self.in_flight += 1;
            let removed = batch.versions.iter().filter(|(_, version)| version.is_none());
            let removed = removed.map(|(name, _)| Arc::clone(name)).collect();
            state.in_flight.push_back(Response { nonce: self.last_nonce, versions: batch.versions });
            return Some(Outgoing { kind, nonce: self.last_nonce, resources: batch.resources, removed });
        }
        None
    }

    /// Takes in an ACK, or with an error a NACK. Of a NACK's resources those are refused whose names the error has; if
    /// it has none of them, all. `None`: the nonce is none of this kind's responses in flight.
    pub(super) fn answer(
        &mut self,
        kind: ResourceKind,
        nonce: &str,
        error: Option<&str>,
        now: Instant,
    ) -> Option<Answered> {
        let state = self.kinds.get_mut(kind);
        let nonce: u64 = nonce.parse().ok()?;
        let at = state.in_flight.iter().position(|response| response.nonce == nonce)?;
        let response = state.in_flight.remove(at)?;
        self.in_flight -= 1;
        let names_one = |error| response.versions.iter().any(|(name, _)| nack::mentions(error, name));
        let all = error.is_some_and(|error| !names_one(error));
        let mut answered = Answered::default();
        for (name, version) in &response.versions {
            let refused = error.filter(|error| all || nack::mentions(error, name));
            state.answered(name, version, refused, &mut answered, now);
        }
        Some(answered)
    }

    /// Whether a nonce is the last that was sent for a kind, or none was sent. State of the world ignores all others.
    pub(super) fn is_latest(&self, kind: ResourceKind, nonce: &str) -> bool {
        let latest = self.kinds.get(kind).in_flight.back();
        latest.is_none_or(|response| nonce.parse() == Ok(response.nonce))
    }

    /// One resource as the stream has it.
    pub(super) fn entry(&self, kind: ResourceKind, name: &str) -> Option<&Entry> {
        self.kinds.get(kind).entries.get(name)
    }

    /// All resources as the stream has them, by kind and name.
    pub(super) fn entries(&self) -> impl Iterator<Item = (ResourceKind, &Arc<str>, &Entry)> {
        let of = |kind| self.kinds.get(kind).entries.iter().map(move |(name, entry)| (kind, name, entry));
        ResourceKind::ALL.into_iter().flat_map(of)
    }

    /// The kinds whose wildcard is on.
    pub(super) fn wildcards(&self) -> impl Iterator<Item = ResourceKind> {
        ResourceKind::ALL.into_iter().filter(|kind| self.kinds.get(*kind).wildcard)
    }
}

#[cfg(test)]
mod tests;
