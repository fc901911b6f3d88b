//! A write of a split, a shift, or both.

use std::time::{Duration, SystemTime};

use kube::core::DynamicObject;

use super::known::At;
use super::objects::{Failure, Manner};
use super::record::{self, Pending, Shift, Status};
use super::route::{self, NewRoute, NoSplit, SplitRoute};
use super::{ClusterStore, Recorded};
use crate::mesh::{ObjectName, SplitBackend};
use crate::traffic::store::{
    AuditEntry, Author, Change, ShiftWrite, ShiftWritten, StoreError, StoredShift, check_version, damaged,
};

/// How often a write is tried where others write at the same time.
const TRIES: u32 = 7;
/// How long to wait before the second try; then twice as long, and so on.
const PAUSE: Duration = Duration::from_millis(40);
/// How long another writer may take between its record and its route; the leader then does it for it.
pub(super) const GRACE: Duration = Duration::from_secs(8);

/// What is to be written.
pub(super) struct Wish<'a> {
    service: &'a ObjectName,
    change: Change<'a>,
    expected: Option<u64>,
    author: &'a Author,
    action: &'a str,
    shift: Option<&'a ShiftWrite<'a>>,
    take_over: bool,
}

impl<'a> Wish<'a> {
    pub(super) fn by_hand(
        service: &'a ObjectName,
        change: Change<'a>,
        expected: Option<u64>,
        author: &'a Author,
        action: &'a str,
    ) -> Self {
        Self { service, change, expected, author, action, shift: None, take_over: false }
    }

    /// The same, also over what another tool has changed of the split.
    pub(super) fn taking_over(self) -> Self {
        Self { take_over: true, ..self }
    }

    pub(super) fn of_shift(service: &'a ObjectName, write: &'a ShiftWrite<'a>, author: &'a Author) -> Self {
        let (change, expected, action) = (write.change, Some(write.expected), write.action);
        Self { service, change, expected, author, action, shift: Some(write), take_over: false }
    }
}

/// What is done to the route.
enum Deed {
    Nothing,
    Apply(Box<NewRoute>),
    Delete(Box<SplitRoute>),
}

/// What a route's object is to the store.
pub(super) enum Found {
    /// There is none.
    Nothing,
    /// A split.
    Split(Box<SplitRoute>),
    /// Somebody else's, for this reason.
    Foreign(String),
}

/// Why an attempt failed.
enum Attempt {
    /// Somebody else wrote in between.
    Again,
    Failed(StoreError),
}

impl From<StoreError> for Attempt {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl ClusterStore {
    /// Writes; durable when this returns.
    pub(super) async fn write(&self, wish: &Wish<'_>) -> Result<ShiftWritten, StoreError> {
        let mut pause = PAUSE;
        for _ in 0..TRIES {
            match self.attempt(wish).await {
                Ok(written) => return Ok(written),
                Err(Attempt::Failed(error)) => return Err(error),
                Err(Attempt::Again) => tokio::time::sleep(pause).await,
            }
            pause *= 2;
        }
        Err(StoreError::Overtaken)
    }

    async fn attempt(&self, wish: &Wish<'_>) -> Result<ShiftWritten, Attempt> {
        let service = wish.service;
        let (record, route) = tokio::try_join!(self.record(service), self.route(service))?;
        let Some(record) = record else {
            self.make_record(service).await?;
            return Err(Attempt::Again);
        };
        let before = Status::read(&record).map_err(|error| damaged(service, error))?;
        let route = self.found(service, route.as_ref());
        let current = route.version();
        if before.pending.as_ref().is_some_and(|pending| pending.expected == current) {
            // Another writer's, or the leader's to finish.
            return Err(Attempt::Again);
        }
        let revision = revision(&before, wish)?;
        if let (Found::Foreign(why), false) = (&route, matches!(wish.change, Change::Keep)) {
            return Err(StoreError::Foreign(foreign(service, why)).into());
        }
        if matches!((&route, wish.change), (Found::Nothing, Change::Delete)) {
            return Err(StoreError::Missing.into());
        }
        check_version(wish.expected, current)?;
        let deed = self.deed(service, wish.change, route.split(), before.split_version)?;
        let version = deed.version(current);
        let taken = match &deed {
            Deed::Apply(new) => self.rehearse(service, new, wish.take_over).await,
            Deed::Nothing | Deed::Delete(_) => Ok(None),
        };
        let taken = taken.map_err(|failure| refused(service, failure))?;
        let mut after = after(&before, wish, route.split(), revision, version);
        if let Some(taken) = &taken {
            after.note_take_over(taken);
        }
        let written = self.write_record(service, &after.object(&record)).await;
        let written = written.map_err(|failure| refused(service, failure))?;
        if let Err(failure) = self.carry_out(service, &deed, taken.is_some()).await {
            self.undo(service, &before, &written).await;
            return Err(refused(service, failure));
        }
        let settled = match &after.pending {
            Some(pending) => self.strike(service, pending.version).await.ok(),
            None => None,
        };
        self.learn_record(service, &settled.unwrap_or(written));
        Ok(ShiftWritten { version, revision })
    }

    /// Tries a route without writing it. Returns what others own of it where that is to be taken over: force is used only
    /// where something stands in the way.
    async fn rehearse(&self, service: &ObjectName, new: &NewRoute, take_over: bool) -> Result<Option<String>, Failure> {
        match self.apply(service, new, Manner { dry_run: true, force: false }).await {
            Ok(_) => Ok(None),
            Err(Failure::Owned(others)) if take_over => {
                self.apply(service, new, Manner { dry_run: true, force: true }).await?;
                Ok(Some(others))
            }
            Err(failure) => Err(failure),
        }
    }

    /// What an object is, with what is known of the Service's versions.
    pub(super) fn found(&self, service: &ObjectName, object: Option<&DynamicObject>) -> Found {
        match object.map(read_route) {
            None => Found::Nothing,
            Some(Ok(split)) if split.service == *service => Found::Split(Box::new(split)),
            Some(Ok(_)) => Found::Foreign("it is for another Service".to_owned()),
            Some(Err(NoSplit(why))) => Found::Foreign(why),
        }
    }

    fn deed(
        &self,
        service: &ObjectName,
        change: Change<'_>,
        current: Option<&SplitRoute>,
        latest: u64,
    ) -> Result<Deed, StoreError> {
        Ok(match (change, current) {
            (Change::Keep, _) => Deed::Nothing,
            (Change::Delete, Some(current)) => Deed::Delete(Box::new(current.clone())),
            (Change::Delete, None) => return Err(StoreError::Missing),
            (Change::Set(backends), current) => {
                let seen = self.state.lock().latest.get(service).copied().unwrap_or_default();
                let ported = self.ported(service, backends)?;
                Deed::Apply(Box::new(NewRoute::new(service, &ported, current, latest.max(seen))))
            }
        })
    }

    /// The backends, each with the port that its reference has.
    pub(super) fn ported(
        &self,
        service: &ObjectName,
        backends: &[SplitBackend],
    ) -> Result<Vec<(SplitBackend, u16)>, StoreError> {
        let ported = |to: &SplitBackend| {
            let port = to.port.or_else(|| self.stand_in(service, &to.service));
            let unknown = || StoreError::Refused(format!("Service {} has no port that is known", to.service));
            Ok((to.clone(), port.ok_or_else(unknown)?))
        };
        backends.iter().map(ported).collect()
    }

    async fn carry_out(&self, service: &ObjectName, deed: &Deed, force: bool) -> Result<(), Failure> {
        match deed {
            Deed::Nothing => {}
            Deed::Apply(new) => {
                let object = self.apply(service, new, Manner { dry_run: false, force }).await?;
                self.learn_route(&object);
            }
            Deed::Delete(current) => {
                self.delete_route(current).await?;
                let mut state = self.state.lock();
                state.routes.delete(service, &current.uid);
                self.publish(&state);
            }
        }
        Ok(())
    }

    /// Puts the record back to what it was; where that fails, the leader does.
    async fn undo(&self, service: &ObjectName, before: &Status, written: &DynamicObject) {
        match self.write_record(service, &before.object(written)).await {
            Ok(record) => self.learn_record(service, &record),
            Err(error) => tracing::warn!(%service, ?error, "a write could not be taken back; the leader does it"),
        }
    }

    /// Takes in the state of a route.
    pub(super) fn learn_route(&self, object: &DynamicObject) {
        let Ok(route) = read_route(object) else { return };
        let mut state = self.state.lock();
        state.learn_route(route);
        self.publish(&state);
    }

    /// Takes in the state of a record.
    pub(super) fn learn_record(&self, service: &ObjectName, object: &DynamicObject) {
        let mut state = self.state.lock();
        state.learn_record(service, object);
        self.publish(&state);
    }
}

impl super::State {
    pub(super) fn learn_route(&mut self, route: SplitRoute) {
        let latest = self.latest.entry(route.service.clone()).or_default();
        *latest = (*latest).max(route.version);
        let at = At { uid: route.uid.clone(), resource_version: route.resource_version.clone() };
        self.routes.apply(&route.service.clone(), at, route);
    }

    /// A record that makes no sense leaves the one before in force.
    pub(super) fn learn_record(&mut self, service: &ObjectName, object: &DynamicObject) {
        let read = Status::read(object).and_then(|status| Recorded::of(service, &status));
        match read {
            Ok(recorded) => self.records.apply(service, at(object), recorded),
            Err(error) => {
                tracing::error!(%service, %error, "a TrafficShift makes no sense; did somebody edit its status?")
            }
        }
    }
}

pub(super) fn at(object: &DynamicObject) -> At {
    At {
        uid: object.metadata.uid.clone().unwrap_or_default(),
        resource_version: object.metadata.resource_version.clone().unwrap_or_default(),
    }
}

pub(super) fn read_route(object: &DynamicObject) -> Result<SplitRoute, NoSplit> {
    route::read(&object.metadata, object.data.get("spec").unwrap_or(&serde_json::Value::Null))
}

impl Found {
    /// 0: there is no split.
    pub(super) fn version(&self) -> u64 {
        self.split().map_or(0, |split| split.version)
    }

    pub(super) fn split(&self) -> Option<&SplitRoute> {
        match self {
            Self::Split(split) => Some(split),
            Self::Nothing | Self::Foreign(_) => None,
        }
    }
}

impl Deed {
    /// The version of the split afterwards.
    fn version(&self, current: u64) -> u64 {
        match self {
            Self::Nothing => current,
            Self::Apply(new) => new.version,
            Self::Delete(_) => 0,
        }
    }
}

/// The revision of the shift that is written; that of the one that is stored where none is.
fn revision(before: &Status, wish: &Wish<'_>) -> Result<u64, StoreError> {
    let stored = before.shift.as_ref();
    let known = stored.map_or(0, |shift| shift.revision);
    let begins = wish.shift.is_none_or(|write| write.begins);
    if let Some(shift) = stored.filter(|shift| begins && shift.is_active()) {
        return Err(StoreError::Shifting(shift.summary()));
    }
    match wish.shift {
        Some(write) if !begins && write.shift.revision != known => Err(StoreError::Overtaken),
        Some(_) => Ok(known + 1),
        None => Ok(known),
    }
}

/// What the record says when the write is about to be done.
fn after(before: &Status, wish: &Wish<'_>, current: Option<&SplitRoute>, revision: u64, version: u64) -> Status {
    let from = current.map(|route| route.backends.clone());
    let to = match wish.change {
        Change::Keep => from.clone(),
        Change::Set(backends) => Some(backends.to_vec()),
        Change::Delete => None,
    };
    let mut status = before.clone();
    let current = current.map_or(0, |route| route.version);
    status.split_version = before.split_version.max(current).max(version);
    status.pending = (!matches!(wish.change, Change::Keep)).then(|| Pending {
        expected: current,
        version,
        backends: to.as_deref().map(record::backends).unwrap_or_default(),
        take_over: false,
        since: record::text(SystemTime::now()),
    });
    if let Some(write) = wish.shift {
        let mut shift: StoredShift = write.shift.clone();
        (shift.machine.version, shift.updated_at, shift.revision) = (version, wish.author.at, revision);
        status.shift = Some(Shift::of(&shift));
    }
    status.note(&AuditEntry {
        time: wish.author.at,
        who: wish.author.who.clone(),
        action: wish.action.to_owned(),
        from,
        to,
        version,
        reason: wish.shift.map_or_else(String::new, |write| write.reason.to_owned()),
        figures: wish.shift.and_then(|write| write.figures.cloned()),
    });
    status
}

fn refused(service: &ObjectName, failure: Failure) -> Attempt {
    match failure {
        Failure::Moved => Attempt::Again,
        Failure::Owned(text) => Attempt::Failed(StoreError::Foreign(owned(service, &text))),
        Failure::Store(error) => Attempt::Failed(error),
    }
}

fn foreign(service: &ObjectName, why: &str) -> String {
    let (namespace, name) = (&service.namespace, route::route_name(&service.name));
    format!("HTTPRoute {namespace}/{name} is somebody else's ({why}); set the weights there, or delete it")
}

/// The API server's text names each field and who owns it.
fn owned(service: &ObjectName, text: &str) -> String {
    let (namespace, name) = (&service.namespace, route::route_name(&service.name));
    let text = text.replace('\n', " ");
    format!(
        "HTTPRoute {namespace}/{name} was changed with another tool, whose it is now ({text}); go on with that tool, or \
         take it back with the weights (weft traffic set {} -n {namespace} --take-over BACKEND=WEIGHT...)",
        service.name
    )
}

#[cfg(test)]
mod tests;
