//! The subscriptions of one kind of resources.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use weft_api::xds::ResourceKind;

use super::super::resources::Resource;
use super::super::{MAX_NAME_BYTES, MAX_SUBSCRIPTIONS};
use super::{Answered, Interest, LimitError, Version, WILDCARD, nack};

/// A response is cut once its resources have this many bytes: a stream keeps a buffer of its longest response for as long as it
/// lives, and there are thousands.
pub(super) const RESPONSE_BYTES: usize = 4 << 10;

/// The subscriptions of one kind.
#[derive(Debug, Default)]
pub(super) struct Kind {
    /// Whether a request for this kind was seen: only the first can be a wildcard by being empty.
    pub(super) seen: bool,
    pub(super) wildcard: bool,
    pub(super) named: usize,
    pub(super) entries: BTreeMap<Arc<str>, Entry>,
    /// Entries that may differ from what was sent.
    pub(super) dirty: BTreeSet<Arc<str>>,
    /// Responses that are neither ACKed nor NACKed, oldest first.
    pub(super) in_flight: VecDeque<Response>,
}

/// A response that is neither ACKed nor NACKed.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) nonce: u64,
    pub(super) versions: Vec<(Arc<str>, Version)>,
}

/// One resource as a stream has it.
#[derive(Clone, Debug)]
pub(in crate::xds) struct Entry {
    /// Subscribed by name, not only by the wildcard.
    pub(super) named: bool,
    /// What was sent last; `None`: nothing yet.
    sent: Option<Version>,
    /// What the client acknowledged last, and when.
    pub(in crate::xds) acked: Version,
    pub(in crate::xds) acked_at: Option<Instant>,
    /// The version that the client refused, and why; hardly ever there.
    pub(in crate::xds) refused: Option<Box<(Arc<str>, Arc<str>)>>,
    /// Since when it may differ from what the client acknowledged.
    pub(in crate::xds) behind_since: Option<Instant>,
}

/// Part of a response.
pub(super) struct Batch {
    pub(super) versions: Vec<(Arc<str>, Version)>,
    pub(super) resources: Vec<Arc<Resource>>,
}

impl Kind {
    pub(super) fn subscribe(
        &mut self,
        kind: ResourceKind,
        names: Vec<Arc<str>>,
        versions: &mut BTreeMap<String, String>,
        known: impl FnOnce() -> Vec<String>,
        interest: &mut Interest,
        now: Instant,
    ) -> Result<(), LimitError> {
        let mut wildcard = false;
        for name in names {
            if *name == *WILDCARD {
                wildcard = true;
                continue;
            }
            if name.len() > MAX_NAME_BYTES {
                return Err(LimitError::Name(kind, name.len()));
            }
            let held = versions.remove(name.as_ref());
            self.subscribe_one(name, true, held, interest, now);
            if self.named > MAX_SUBSCRIPTIONS {
                return Err(LimitError::Subscriptions(kind));
            }
        }
        if wildcard && !self.wildcard {
            self.wildcard = true;
            interest.wildcard = Some(true);
            let mut names: BTreeSet<String> = known().into_iter().collect();
            // What the client holds and is no more has to be taken from it.
            names.extend(versions.keys().filter(|name| name.len() <= MAX_NAME_BYTES).take(MAX_SUBSCRIPTIONS).cloned());
            for name in names {
                let held = versions.remove(&name);
                self.subscribe_one(name.into(), false, held, interest, now);
            }
        }
        Ok(())
    }

    /// A name that is subscribed to again is sent again: the client may have dropped it in between.
    fn subscribe_one(
        &mut self,
        name: Arc<str>,
        named: bool,
        held: Option<String>,
        interest: &mut Interest,
        now: Instant,
    ) {
        let entry = self.entries.entry(Arc::clone(&name)).or_insert_with(|| Entry::new(false));
        if named {
            entry.sent = None;
        }
        if let Some(version) = held {
            let version: Arc<str> = version.into();
            entry.sent = Some(Some(Arc::clone(&version)));
            entry.acked = Some(version);
            entry.acked_at = Some(now);
        }
        entry.behind_since.get_or_insert(now);
        if named && !std::mem::replace(&mut entry.named, true) {
            self.named += 1;
            interest.added.push(Arc::clone(&name));
        }
        self.dirty.insert(name);
    }

    pub(super) fn unsubscribe(&mut self, names: Vec<String>, interest: &mut Interest, now: Instant) {
        for name in names {
            if name == WILDCARD {
                if std::mem::replace(&mut self.wildcard, false) {
                    interest.wildcard = Some(false);
                    self.entries.retain(|_, entry| entry.named);
                    self.dirty.retain(|name| self.entries.contains_key(name));
                }
                continue;
            }
            let Some((name, entry)) = self.entries.get_key_value(name.as_str()).filter(|(_, entry)| entry.named) else {
                continue;
            };
            let (name, mut entry) = (Arc::clone(name), entry.clone());
            self.named -= 1;
            interest.dropped.push(Arc::clone(&name));
            if self.wildcard {
                // The client has to be told again what it still has through the wildcard.
                (entry.named, entry.sent) = (false, None);
                entry.behind_since.get_or_insert(now);
                self.entries.insert(Arc::clone(&name), entry);
                self.dirty.insert(name);
            } else {
                self.entries.remove(&name);
                self.dirty.remove(&name);
            }
        }
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        if name == WILDCARD { self.wildcard } else { self.entries.get(name).is_some_and(|entry| entry.named) }
    }

    pub(super) fn missing_from(&self, names: &[Arc<str>]) -> Vec<String> {
        let names: BTreeSet<&str> = names.iter().map(Arc::as_ref).collect();
        let wildcard = (self.wildcard && !names.contains(WILDCARD)).then(|| WILDCARD.to_owned());
        let gone = self.entries.iter().filter(|(name, entry)| entry.named && !names.contains(name.as_ref()));
        gone.map(|(name, _)| name.to_string()).chain(wildcard).collect()
    }

    /// Takes from the dirty names those that exist, or else with `removals` all, until they have `most` bytes.
    pub(super) fn batch(
        &mut self,
        removals: bool,
        most: usize,
        mut look_up: impl FnMut(&Arc<str>) -> Option<Arc<Resource>>,
    ) -> Batch {
        let mut batch = Batch { versions: Vec::new(), resources: Vec::new() };
        let mut bytes = 0;
        let mut gone = BTreeSet::new();
        while bytes < most {
            let Some(name) = self.dirty.pop_first() else { break };
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            let resource = look_up(&name);
            if resource.is_none() && !removals {
                gone.insert(name);
                continue;
            }
            let version = resource.as_ref().map(|resource| Arc::clone(&resource.version));
            if entry.sent.as_ref() == Some(&version) {
                entry.settle();
                continue;
            }
            entry.sent = Some(version.clone());
            if let Some(resource) = resource {
                bytes += resource.any.value.len() + resource.name.len();
                batch.resources.push(resource);
            } else {
                bytes += name.len();
            }
            batch.versions.push((name, version));
        }
        self.dirty.append(&mut gone);
        batch
    }

    pub(super) fn existing(&self, look_up: impl FnMut(&Arc<str>) -> Option<Arc<Resource>>) -> Vec<Arc<Resource>> {
        self.entries.keys().filter_map(look_up).collect()
    }

    pub(super) fn answered(
        &mut self,
        name: &Arc<str>,
        version: &Version,
        refused: Option<&str>,
        answered: &mut Answered,
        now: Instant,
    ) {
        // Unsubscribed in the meantime.
        let Some(entry) = self.entries.get_mut(name) else { return };
        match (refused, version) {
            (Some(error), Some(version)) => {
                entry.refused = Some(Box::new((Arc::clone(version), nack::bounded(error).into())));
                answered.refused.push((Arc::clone(name), Arc::clone(version)));
            }
            // A removal cannot be refused.
            (_, version) => {
                entry.acked.clone_from(version);
                entry.acked_at = Some(now);
                entry.refused = None;
                answered.acked.push(Arc::clone(name));
            }
        }
        if !self.dirty.contains(name) {
            entry.settle();
        }
        // What came through the wildcard and is gone needs no entry any more.
        if !entry.named && version.is_none() && entry.sent == Some(None) && !self.dirty.contains(name) {
            self.entries.remove(name);
        }
    }
}

impl Entry {
    pub(super) fn new(named: bool) -> Self {
        Self { named, sent: None, acked: None, acked_at: None, refused: None, behind_since: None }
    }

    /// Not behind any more if the client acknowledged what was sent last.
    fn settle(&mut self) {
        if self.sent.as_ref() == Some(&self.acked) {
            self.behind_since = None;
        }
    }
}
