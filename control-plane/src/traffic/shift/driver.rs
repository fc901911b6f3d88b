//! Runs the shifts: looks at what proxies hold and report, asks each shift's machine, writes what it decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use weft_api::traffic as api;
use weft_api::xds::ResourceKind;

use super::machine::{Command, Decision, Machine, Observation, changed_by_others};
use super::{Plan, describe};
use crate::load::{Figures, Loads, Reporting, Tally};
use crate::mesh::ObjectName;
use crate::traffic::rollout;
use crate::traffic::store::{Author, Change, ShiftWrite, Store, StoreError, StoredShift};
use crate::xds::Publisher;

/// How often shifts that are under way are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often it is looked up which proxies hold a Service's routes.
const HOLDERS: Duration = Duration::from_millis(500);
/// Who does what a shift does by itself.
const ITSELF: &str = "weft-control";

/// Every Service's latest shift, as watchers see it.
pub type Shifts = BTreeMap<ObjectName, Arc<api::Shift>>;

/// The shifts. Methods block: call them where blocking is fine.
pub struct Shifter {
    store: Arc<Store>,
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
    /// How it was seen last.
    seen: Seen,
}

/// What a shift was seen to be like.
#[derive(Clone, Default)]
struct Seen {
    version: u64,
    rollout: api::Rollout,
    reporting: Reporting,
    figures: Figures,
    recent: Figures,
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
    /// The shifts of a store. Those that were under way go on where they were, with a new interval.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn open(store: Arc<Store>, publisher: Arc<Publisher>, loads: Arc<Loads>) -> Result<Arc<Self>, StoreError> {
        let shift = |stored| Shift { stored, tally: None, holders: None, seen: Seen::default() };
        let mut shifts: BTreeMap<_, _> =
            store.shifts()?.into_iter().map(|(name, stored)| (name, shift(stored))).collect();
        for shift in shifts.values_mut().filter(|shift| shift.stored.machine.is_active()) {
            shift.tally = Some(tally(&publisher, &loads, &shift.stored.machine.plan));
            let machine = &shift.stored.machine;
            tracing::info!(service = %machine.plan.service, to = %machine.plan.to, step = machine.step, "a shift goes on");
        }
        let (shifts, board, begun) = (Mutex::new(shifts), watch::Sender::default(), Notify::new());
        let shifter = Arc::new(Self { store, publisher, loads, shifts, board, begun });
        shifter.show(&shifter.shifts.lock());
        Ok(shifter)
    }

    /// The latest shift of each Service.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Shifts>> {
        self.board.subscribe()
    }

    /// Runs the shifts, until the task is dropped.
    pub async fn run(self: Arc<Self>) {
        loop {
            let shifter = Arc::clone(&self);
            let under_way = tokio::task::spawn_blocking(move || shifter.tick(Instant::now())).await;
            match under_way {
                Ok(true) => tokio::time::sleep(TICK).await,
                Ok(false) => self.begun.notified().await,
                Err(error) => {
                    tracing::error!(%error, "the shifts could not be looked at; trying again");
                    tokio::time::sleep(TICK * 10).await;
                }
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
        let stored = StoredShift { machine: machine.clone(), started_at: author.at, updated_at: author.at };
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
        machine.version = self.store.shift(&service, &write, author)?;
        let tally = Some(tally(&self.publisher, &self.loads, &machine.plan));
        let stored = StoredShift { machine, ..stored };
        let mut shift = Shift { stored, tally, holders: None, seen: Seen::default() };
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
        let mut shifts = self.shifts.lock();
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

    /// Looks at all shifts once. Returns whether any is under way.
    fn tick(&self, now: Instant) -> bool {
        let mut shifts = self.shifts.lock();
        let mut under_way = false;
        for shift in shifts.values_mut().filter(|shift| !shift.stored.machine.has_ended()) {
            self.advance(shift, now);
            under_way |= !shift.stored.machine.has_ended();
        }
        self.show(&shifts);
        under_way
    }

    fn advance(&self, shift: &mut Shift, now: Instant) {
        self.look(shift, now);
        let seen = shift.seen.clone();
        let observation = Observation {
            version: seen.version,
            rollout: seen.rollout,
            reporting: seen.reporting,
            figures: Some(&seen.figures),
            recent: Some(&seen.recent),
        };
        let Some(decision) = shift.stored.machine.decide(now, &observation) else { return };
        let action = match &decision {
            Decision::Begin | Decision::Wait(_) => {
                let version = shift.stored.machine.version;
                return shift.stored.machine.apply(decision, version, now);
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
        if let Err(error) = self.write(shift, decision, action, figures, &author, now) {
            let service = &shift.stored.machine.plan.service;
            tracing::error!(%service, error = &error as &dyn std::error::Error, "a shift could not go on; trying again");
        }
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
            Ok(version) => {
                tracing::info!(%service, action, %reason, version, who = author.who, "a shift was written");
                let restart = matches!(decision, Decision::Advance(_) | Decision::Resume);
                shift.stored.machine.apply(decision, version, now);
                shift.stored.updated_at = author.at;
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

    /// Looks at what proxies hold and report.
    fn look(&self, shift: &mut Shift, now: Instant) {
        let machine = &shift.stored.machine;
        let service = &machine.plan.service;
        shift.seen.version = self.stored_version(service);
        shift.seen.rollout = rollout::of_version(&self.publisher, service, machine.version);
        if let Some(tally) = &shift.tally {
            let clusters = clusters(&self.publisher, &machine.plan);
            shift.seen.figures = tally.figures();
            shift.seen.recent = self.loads.recent(&clusters, tally.began(), now);
        }
        let known = shift.holders.take().filter(|(at, _)| now.saturating_duration_since(*at) < HOLDERS);
        let (at, holders) = known.unwrap_or_else(|| (now, holders(&self.publisher, service)));
        shift.seen.reporting = self.loads.reporting(&holders, now);
        shift.holders = Some((at, holders));
    }

    fn stored_version(&self, service: &ObjectName) -> u64 {
        self.store.splits().get(service).map_or(0, |record| record.split.version)
    }

    /// Shows watchers how the shifts stand.
    fn show(&self, shifts: &BTreeMap<ObjectName, Shift>) {
        let now = Instant::now();
        let mut shown = Shifts::new();
        let known = Arc::clone(&self.board.borrow());
        for (service, shift) in shifts {
            let seen = &shift.seen;
            let new = describe::shift(&shift.stored, &seen.figures, seen.reporting, seen.rollout, now);
            let same = known.get(service).filter(|known| ***known == new);
            shown.insert(service.clone(), same.cloned().unwrap_or_else(|| Arc::new(new)));
        }
        self.board.send_if_modified(|board| {
            let differs = **board != shown;
            if differs {
                *board = Arc::new(shown);
            }
            differs
        });
    }

    fn shown(&self, shifts: &BTreeMap<ObjectName, Shift>, service: &ObjectName) -> Arc<api::Shift> {
        self.show(shifts);
        self.board.borrow().get(service).cloned().unwrap_or_default()
    }
}

/// Of the two figures that a shift is judged by, those that exceed a limit.
fn worse<'a>(plan: &Plan, seen: &'a Seen) -> &'a Figures {
    if plan.limits.exceeded(&seen.figures).is_some() { &seen.figures } else { &seen.recent }
}

fn tally(publisher: &Publisher, loads: &Arc<Loads>, plan: &Plan) -> Tally {
    loads.tally(clusters(publisher, plan))
}

/// The clusters of the backend, one for each port of the Service.
fn clusters(publisher: &Publisher, plan: &Plan) -> Vec<Arc<str>> {
    let mesh = publisher.mesh();
    let service = mesh.service(&plan.service.namespace, &plan.service.name);
    let ports = service.map(|service| service.ports.iter().map(|port| port.number)).into_iter().flatten();
    let name = |port| format!("{}/{}:{}", plan.service.namespace, plan.to, plan.port.unwrap_or(port)).into();
    let mut clusters: Vec<Arc<str>> = ports.map(name).collect();
    clusters.dedup();
    clusters
}

/// The pods whose proxies hold a Service's routes.
fn holders(publisher: &Publisher, service: &ObjectName) -> Vec<ObjectName> {
    let prefix = format!("{service}:");
    let holds = |subscriber: &crate::xds::Subscriber| {
        let mut resources = subscriber.resources().into_iter();
        resources.any(|held| held.kind == ResourceKind::RouteConfiguration && held.name.starts_with(&prefix))
    };
    let subscribers = publisher.subscribers();
    let holders = subscribers.iter().filter(|subscriber| holds(subscriber));
    let mut pods: Vec<_> = holders
        .map(|subscriber| ObjectName::new(subscriber.node().namespace.as_str(), subscriber.node().pod.as_str()))
        .collect();
    pods.sort_unstable();
    pods.dedup();
    pods
}
