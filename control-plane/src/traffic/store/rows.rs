//! What is stored, as JSON.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::load::Figures;
use crate::mesh::{ObjectName, Split, SplitBackend};
use crate::traffic::Record;
use crate::traffic::shift::machine::{Machine, State};
use crate::traffic::shift::{Limits, Plan};

/// A stored split.
#[derive(Serialize, Deserialize)]
pub(super) struct SplitRow {
    pub(super) version: u64,
    /// Milliseconds since the epoch.
    pub(super) updated_at: u64,
    pub(super) backends: Vec<BackendRow>,
}

/// A stored backend.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct BackendRow {
    service: String,
    port: Option<u16>,
    weight: u32,
}

/// A stored shift. An interval that runs is not stored: after a restart it begins anew.
#[derive(Serialize, Deserialize)]
pub(super) struct ShiftRow {
    to: String,
    port: Option<u16>,
    steps: Vec<u32>,
    interval_ms: u64,
    abort_if: String,
    min_requests: u64,
    before: Option<Vec<BackendRow>>,
    state: StateRow,
    step: usize,
    version: u64,
    started_at: u64,
    updated_at: u64,
    #[serde(default)]
    pub(super) revision: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateRow {
    Running,
    Paused,
    RollingBack(String),
    RolledBack(String),
    Promoted,
    Failed(String),
}

/// A shift as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredShift {
    /// How it stands; no interval runs.
    pub machine: Machine,
    /// When it was started.
    pub started_at: SystemTime,
    /// When it was last written.
    pub updated_at: SystemTime,
    /// How often a shift of this Service was written: goes up with each write.
    pub revision: u64,
}

/// Something that was done to a Service's traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// When.
    pub time: SystemTime,
    /// Who did it, as far as it is known.
    pub who: String,
    /// What: `set`, `shift-step` and so on.
    pub action: String,
    /// The split before; `None`: there was none.
    pub from: Option<Vec<SplitBackend>>,
    /// The split after.
    pub to: Option<Vec<SplitBackend>>,
    /// The split's version after; 0: there is none.
    pub version: u64,
    /// Why.
    pub reason: String,
    /// What was seen, where something was judged.
    pub figures: Option<Figures>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct AuditRow {
    time: u64,
    who: String,
    action: String,
    from: Option<Vec<BackendRow>>,
    to: Option<Vec<BackendRow>>,
    version: u64,
    reason: String,
    figures: Option<FiguresRow>,
}

/// Figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FiguresRow {
    issued: u64,
    errors: u64,
    latencies: Vec<u64>,
}

impl FiguresRow {
    pub(crate) fn of(figures: &Figures) -> Self {
        Self { issued: figures.issued, errors: figures.errors, latencies: figures.latencies.to_vec() }
    }

    pub(crate) fn figures(self) -> Figures {
        let mut figures = Figures { issued: self.issued, errors: self.errors, ..Figures::default() };
        figures.latencies.iter_mut().zip(self.latencies).for_each(|(bucket, count)| *bucket = count);
        figures
    }
}

impl From<&SplitBackend> for BackendRow {
    fn from(backend: &SplitBackend) -> Self {
        Self { service: backend.service.to_string(), port: backend.port, weight: backend.weight }
    }
}

impl From<BackendRow> for SplitBackend {
    fn from(row: BackendRow) -> Self {
        Self { service: row.service.into(), port: row.port, weight: row.weight }
    }
}

pub(super) fn rows(backends: &[SplitBackend]) -> Vec<BackendRow> {
    backends.iter().map(BackendRow::from).collect()
}

fn backends(rows: Vec<BackendRow>) -> Vec<SplitBackend> {
    rows.into_iter().map(SplitBackend::from).collect()
}

impl SplitRow {
    pub(super) fn into_record(self, service: ObjectName) -> Record {
        let backends = backends(self.backends);
        let split = Arc::new(Split { service, version: self.version, backends });
        Record { updated_at: time(self.updated_at), split }
    }
}

impl ShiftRow {
    pub(super) fn of(shift: &StoredShift) -> Self {
        let StoredShift { machine: Machine { plan, state, step, version, .. }, started_at, updated_at, revision } =
            shift;
        Self {
            to: plan.to.to_string(),
            port: plan.port,
            steps: plan.steps.clone(),
            interval_ms: u64::try_from(plan.interval.as_millis()).unwrap_or(u64::MAX),
            abort_if: plan.limits.to_string(),
            min_requests: plan.min_requests,
            before: plan.before.as_deref().map(rows),
            state: StateRow::of(state),
            step: *step,
            version: *version,
            started_at: milliseconds(*started_at),
            updated_at: milliseconds(*updated_at),
            revision: *revision,
        }
    }

    /// # Errors
    /// Where the limits are none.
    pub(super) fn into_shift(self, service: ObjectName) -> Result<StoredShift, String> {
        let plan = Plan {
            service,
            to: self.to.into(),
            port: self.port,
            steps: self.steps,
            interval: Duration::from_millis(self.interval_ms),
            limits: self.abort_if.parse::<Limits>()?,
            min_requests: self.min_requests,
            before: self.before.map(backends),
        };
        let machine =
            Machine { plan, state: self.state.into_state(), step: self.step, version: self.version, since: None };
        let (started_at, updated_at) = (time(self.started_at), time(self.updated_at));
        Ok(StoredShift { machine, started_at, updated_at, revision: self.revision })
    }

    /// Whether it writes the split by itself.
    pub(super) fn is_active(&self) -> bool {
        matches!(self.state, StateRow::Running | StateRow::Paused)
    }

    /// For people: what it does at present.
    pub(super) fn summary(&self) -> String {
        let state = if self.state == StateRow::Paused { "paused" } else { "running" };
        let share = self.steps.get(self.step).copied().unwrap_or_default();
        format!("a shift to {} is {state} at {share} %", self.to)
    }
}

impl StateRow {
    fn of(state: &State) -> Self {
        match state {
            State::Running | State::Waiting(_) => Self::Running,
            State::Paused => Self::Paused,
            State::RollingBack(reason) => Self::RollingBack(reason.clone()),
            State::RolledBack(reason) => Self::RolledBack(reason.clone()),
            State::Promoted => Self::Promoted,
            State::Failed(reason) => Self::Failed(reason.clone()),
        }
    }

    fn into_state(self) -> State {
        match self {
            Self::Running => State::Running,
            Self::Paused => State::Paused,
            Self::RollingBack(reason) => State::RollingBack(reason),
            Self::RolledBack(reason) => State::RolledBack(reason),
            Self::Promoted => State::Promoted,
            Self::Failed(reason) => State::Failed(reason),
        }
    }
}

impl AuditRow {
    pub(super) fn of(entry: &AuditEntry) -> Self {
        Self {
            time: milliseconds(entry.time),
            who: entry.who.clone(),
            action: entry.action.clone(),
            from: entry.from.as_deref().map(rows),
            to: entry.to.as_deref().map(rows),
            version: entry.version,
            reason: entry.reason.clone(),
            figures: entry.figures.as_ref().map(FiguresRow::of),
        }
    }

    pub(super) fn into_entry(self) -> AuditEntry {
        AuditEntry {
            time: time(self.time),
            who: self.who,
            action: self.action,
            from: self.from.map(backends),
            to: self.to.map(backends),
            version: self.version,
            reason: self.reason,
            figures: self.figures.map(FiguresRow::figures),
        }
    }
}

pub(super) fn milliseconds(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

fn time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}
