//! Runs the shifts: looks at what proxies hold and report, asks each shift's machine, writes what it decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use weft_api::traffic as api;

use super::machine::{Command, Decision, Machine, Observation, State, changed_by_others};
use super::peers::{Peers, Seen, Sightings};
use super::{Plan, describe};
use crate::leading::Leading;
use crate::load::{Figures, Loads, Tally};
use crate::mesh::ObjectName;
use crate::traffic::store::{Author, Change, ShiftWrite, ShiftWritten, Store, StoreError, StoredShift, StoredShifts};
use crate::xds::Publisher;

mod look;

use look::tally;

/// How often shifts that are under way are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often a replica that doesn't lead looks at them.
const FOLLOWERS_TICK: Duration = Duration::from_millis(500);
/// How long to wait where a write failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How often a person's word is tried again where another replica wrote in between.
const TRIES: u32 = 3;
/// How often it is looked up which proxies hold a Service's routes.
const HOLDERS: Duration = Duration::from_millis(500);
/// Who does what a shift does by itself.
const ITSELF: &str = "weft-control";

/// Every Service's latest shift, as watchers see it.
pub type Shifts = BTreeMap<ObjectName, Arc<api::Shift>>;

/// The shifts. Methods block: call them where blocking is fine.
///
/// Of several replicas one alone decides about shifts by itself; all of them look at them, and do what people say.
pub struct Shifter {
    store: Arc<dyn Store>,
    /// What is stored, also by other replicas.
    stored: watch::Receiver<Arc<StoredShifts>>,
    peers: Option<Arc<Peers>>,
    publisher: Arc<Publisher>,
    loads: Arc<Loads>,
    /// Held while a shift is decided about and written, so that a person's word and what proxies report come one after
    /// the other.
    shifts: Mutex<BTreeMap<ObjectName, Shift>>,
    board: watch::Sender<Arc<Shifts>>,
    begun: Notify,
}

/// A shift with what is kept of it while it is under way.
struct Shift {
    stored: StoredShift,
    /// What is reported of the backend since the step was written.
    tally: Option<Tally>,
    /// The pods whose proxies hold the Service's routes, as of a time.
    holders: Option<(Instant, Vec<ObjectName>)>,
    /// How it was seen last by all replicas.
    seen: Seen,
    /// How this one saw it.
    own: Seen,
}

/// What a look at all shifts came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ticked {
    /// None is under way.
    Idle,
    /// Some are.
    UnderWay,
    /// Some are, and a write failed.
    Failed,
}

/// Why a command was not followed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no shift.
    #[error("there is no shift")]
    None,
    /// It has ended, or is so already.
    #[error("{0}")]
    Refused(String),
    /// It could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Shifter {
    /// The shifts of a store. Those that were under way go on where they were, with a new interval. `peers` are the other
    /// replicas, where there can be some.
    pub fn open(
        store: Arc<dyn Store>,
        publisher: Arc<Publisher>,
        loads: Arc<Loads>,
        peers: Option<Arc<Peers>>,
    ) -> Arc<Self> {
        let (stored, shifts, board, begun) =
            (store.shifts(), Mutex::default(), watch::Sender::default(), Notify::new());
        let shifter = Arc::new(Self { store, stored, peers, publisher, loads, shifts, board, begun });
        let mut shifts = shifter.shifts.lock();
        shifter.take_in(&mut shifts);
        for machine in shifts.values().map(|shift| &shift.stored.machine).filter(|machine| machine.is_active()) {
            tracing::info!(service = %machine.plan.service, to = %machine.plan.to, step = machine.step, "a shift goes on");
        }
        shifter.show(&shifts);
        drop(shifts);
        shifter
    }

    /// The latest shift of each Service.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Shifts>> {
        self.board.subscribe()
    }

    /// Runs the shifts while this replica leads, until the task is dropped.
    pub async fn run(self: Arc<Self>, mut leading: Leading) {
        let mut stored = self.store.shifts();
        loop {
            let (shifter, leads) = (Arc::clone(&self), leading.now());
            let ticked = tokio::task::spawn_blocking(move || shifter.tick(Instant::now(), leads)).await;
            let pause = match ticked {
                Ok(Ticked::UnderWay) if leads => Some(TICK),
                Ok(Ticked::UnderWay) => Some(FOLLOWERS_TICK),
                Ok(Ticked::Failed) => Some(AFTER_FAILURE),
                Ok(Ticked::Idle) => None,
                Err(error) => {
                    tracing::error!(%error, "the shifts could not be looked at; trying again");
                    Some(AFTER_FAILURE)
                }
            };
            let pause = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => self.begun.notified().await,
                }
            };
            tokio::select! {
                () = pause => {}
                () = leading.changed() => {}
                changed = stored.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Begins a shift; its first step is durable when this returns.
    ///
    /// # Errors
    /// As of [`Store::shift`]; `expected` is the version of the split that the plan was made from.
    pub fn start(&self, plan: Plan, expected: u64, author: &Author) -> Result<Arc<api::Shift>, StoreError> {
        let mut shifts = self.shifts.lock();
        let service = plan.service.clone();
        let mut machine = Machine::new(plan);
        let weights = machine.plan.weights(0);
        let stored =
            StoredShift { machine: machine.clone(), started_at: author.at, updated_at: author.at, revision: 0 };
        let reason = machine.plan.to_string();
        let write = ShiftWrite {
            change: Change::Set(&weights),
            expected,
            shift: &stored,
            begins: true,
            action: "shift-start",
            reason: &reason,
            figures: None,
        };
        let written = self.store.shift(&service, &write, author)?;
        machine.version = written.version;
        let tally = Some(tally(&self.publisher, &self.loads, &machine.plan));
        let stored = StoredShift { machine, revision: written.revision, ..stored };
        let mut shift = Shift { tally, ..Shift::of(stored) };
        self.look(&mut shift, Instant::now());
        shifts.insert(service.clone(), shift);
        tracing::info!(%service, %reason, "a shift begins");
        self.begun.notify_one();
        Ok(self.shown(&shifts, &service))
    }

    /// Does what a person asks for; durable when this returns.
    ///
    /// # Errors
    /// When there is nothing to be done, or the store fails.
    pub fn command(
        &self,
        service: &ObjectName,
        command: Command,
        author: &Author,
    ) -> Result<Arc<api::Shift>, CommandError> {
        let mut tries = TRIES;
        loop {
            match self.try_command(service, command, author) {
                Err(CommandError::Store(StoreError::Overtaken)) if tries > 1 => tries -= 1,
                done => return done,
            }
        }
    }

    fn try_command(
        &self,
        service: &ObjectName,
        command: Command,
        author: &Author,
    ) -> Result<Arc<api::Shift>, CommandError> {
        let mut shifts = self.shifts.lock();
        self.take_in(&mut shifts);
        let shift = shifts.get_mut(service).ok_or(CommandError::None)?;
        let Some(decision) = shift.stored.machine.obey(command) else {
            let shown = describe::state(&shift.stored.machine.state);
            return Err(CommandError::Refused(format!("the shift of {service} {shown}")));
        };
        let action = match command {
            Command::Pause => "shift-pause",
            Command::Resume => "shift-resume",
            Command::Promote => "shift-promote",
            Command::Abort => "shift-abort",
        };
        let now = Instant::now();
        self.look(shift, now);
        let figures = shift.seen.figures.clone();
        self.write(shift, decision, action, &figures, author, now)?;
        self.begun.notify_one();
        Ok(self.shown(&shifts, service))
    }

    /// Looks at all shifts once; decides about them where this replica leads.
    fn tick(&self, now: Instant, leads: bool) -> Ticked {
        let mut shifts = self.shifts.lock();
        self.take_in(&mut shifts);
        let mut ticked = Ticked::Idle;
        let mut sightings = Sightings::new();
        for (service, shift) in shifts.iter_mut().filter(|(_, shift)| !shift.stored.machine.has_ended()) {
            self.look(shift, now);
            let failed = leads && self.store.is_settled(service) && !self.advance(shift, now);
            sightings.insert(service.clone(), shift.own.clone());
            ticked = match failed {
                true => Ticked::Failed,
                false if shift.stored.machine.has_ended() || ticked == Ticked::Failed => ticked,
                false => Ticked::UnderWay,
            };
        }
        if let Some(peers) = &self.peers {
            peers.tell(sightings);
        }
        self.show(&shifts);
        ticked
    }

    /// Takes in what other replicas wrote, and at the beginning what is stored.
    fn take_in(&self, shifts: &mut BTreeMap<ObjectName, Shift>) {
        let stored = Arc::clone(&self.stored.borrow());
        shifts.retain(|service, _| stored.contains_key(service));
        for (service, stored) in stored.iter() {
            let known = shifts.get(service).map(|shift| shift.stored.revision);
            if known.is_some_and(|known| known >= stored.revision) {
                continue;
            }
            let known = shifts.remove(service);
            let mut shift = Shift::of(StoredShift::clone(stored));
            let machine = &mut shift.stored.machine;
            match known.filter(|known| machine.is_active() && known.stored.machine.is_at(machine)) {
                Some(known) if machine.state == State::Paused => {
                    machine.since = known.stored.machine.since;
                    shift = Shift { stored: shift.stored, ..known };
                }
                _ if machine.is_active() => shift.tally = Some(tally(&self.publisher, &self.loads, &machine.plan)),
                // The longest way back is counted from here.
                _ => machine.since = Some(Instant::now()),
            }
            shifts.insert(service.clone(), shift);
        }
    }

    /// Returns whether what was decided could be written.
    fn advance(&self, shift: &mut Shift, now: Instant) -> bool {
        let seen = shift.seen.clone();
        let observation = Observation {
            version: seen.version,
            rollout: seen.rollout.clone(),
            reporting: seen.reporting,
            figures: Some(&seen.figures),
            recent: Some(&seen.recent),
        };
        let Some(decision) = shift.stored.machine.decide(now, &observation) else { return true };
        let action = match &decision {
            Decision::Begin | Decision::Wait(_) => {
                let version = shift.stored.machine.version;
                shift.stored.machine.apply(decision, version, now);
                return true;
            }
            Decision::Advance(_) => "shift-step",
            Decision::RollBack(_) => "shift-rollback",
            _ => "shift-end",
        };
        let author = Author { who: ITSELF.to_owned(), at: SystemTime::now() };
        let figures = if seen.recent.issued > 0 && matches!(decision, Decision::RollBack(_)) {
            worse(&shift.stored.machine.plan, &seen)
        } else {
            &seen.figures
        };
        let Err(error) = self.write(shift, decision, action, figures, &author, now) else { return true };
        let service = &shift.stored.machine.plan.service;
        match &error {
            StoreError::Overtaken => tracing::debug!(%service, "a shift was written by another replica"),
            error => {
                let error = error as &dyn std::error::Error;
                tracing::error!(%service, error, "a shift could not go on; trying again");
            }
        }
        false
    }

    /// Writes a decision, and takes it over when it is durable.
    fn write(
        &self,
        shift: &mut Shift,
        decision: Decision,
        action: &str,
        figures: &Figures,
        author: &Author,
        now: Instant,
    ) -> Result<(), StoreError> {
        let before = &shift.stored.machine;
        let mut after = before.clone();
        after.apply(decision.clone(), before.version, now);
        let weights = match &decision {
            Decision::Advance(step) => before.plan.weights(*step),
            Decision::Promote => before.plan.weights(after.step),
            Decision::RollBack(_) => before.plan.before.clone().unwrap_or_default(),
            _ => Vec::new(),
        };
        let change = match &decision {
            Decision::Advance(_) => Change::Set(&weights),
            Decision::Promote if after.step != before.step => Change::Set(&weights),
            Decision::RollBack(_) if before.plan.before.is_some() => Change::Set(&weights),
            Decision::RollBack(_) => Change::Delete,
            _ => Change::Keep,
        };
        let reason = describe::reason(&after.state).unwrap_or_else(|| describe::why(&decision, &after));
        let stored = StoredShift { machine: after, ..shift.stored.clone() };
        let mut write = ShiftWrite {
            change,
            expected: before.version,
            shift: &stored,
            begins: false,
            action,
            reason: &reason,
            figures: (figures.issued > 0).then_some(figures),
        };
        if matches!(decision, Decision::Fail(_) | Decision::Back) {
            // Whatever somebody else made of the split stays.
            write.expected = self.stored_version(&before.plan.service);
        }
        let service = before.plan.service.clone();
        match self.store.shift(&service, &write, author) {
            Ok(ShiftWritten { version, revision }) => {
                tracing::info!(%service, action, %reason, version, who = author.who, "a shift was written");
                let restart = matches!(decision, Decision::Advance(_) | Decision::Resume);
                shift.stored.machine.apply(decision, version, now);
                (shift.stored.updated_at, shift.stored.revision) = (author.at, revision);
                if restart {
                    shift.tally = Some(tally(&self.publisher, &self.loads, &shift.stored.machine.plan));
                } else if !shift.stored.machine.is_active() {
                    // What it was judged by stays to be seen.
                    (shift.tally, shift.seen.figures) = (None, figures.clone());
                }
                self.look(shift, now);
                Ok(())
            }
            Err(StoreError::Stale { current, .. }) if !matches!(decision, Decision::Fail(_)) => {
                self.write(shift, Decision::Fail(changed_by_others(current)), "shift-end", figures, author, now)
            }
            Err(StoreError::Missing) => {
                self.write(shift, Decision::Fail(changed_by_others(0)), "shift-end", figures, author, now)
            }
            Err(error) => Err(error),
        }
    }
}

impl Shift {
    fn of(stored: StoredShift) -> Self {
        Self { stored, tally: None, holders: None, seen: Seen::default(), own: Seen::default() }
    }
}

/// Of the two figures that a shift is judged by, those that exceed a limit.
fn worse<'a>(plan: &Plan, seen: &'a Seen) -> &'a Figures {
    if plan.limits.exceeded(&seen.figures).is_some() { &seen.figures } else { &seen.recent }
}

#[cfg(test)]
mod tests;
