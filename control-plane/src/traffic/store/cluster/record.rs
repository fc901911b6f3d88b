//! What is kept of a Service's traffic beside its split: its latest shift, the audit trail, what is about to be written. A
//! `TrafficShift` of `weft.dev/v1alpha1` that has the Service's name; all of it is in the status, which is ours.

use std::time::{Duration, SystemTime};

use kube::core::{ApiResource, DynamicObject};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::mesh::{ObjectName, SplitBackend};
use crate::traffic::shift::machine::{Machine, State};
use crate::traffic::shift::{Limits, Plan};
use crate::traffic::store::{AuditEntry, FiguresRow, StoredShift};

/// The most audit entries that an object keeps.
pub(super) const MAX_AUDIT: usize = 100;
/// The most bytes of an audit trail: the API server takes objects of 1.5 MB at most.
const MAX_AUDIT_BYTES: usize = 512 * 1024;

/// The kind, as the API server has it.
pub(super) fn api_resource() -> ApiResource {
    ApiResource {
        group: "weft.dev".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "weft.dev/v1alpha1".to_owned(),
        kind: "TrafficShift".to_owned(),
        plural: "trafficshifts".to_owned(),
    }
}

/// The status of a `TrafficShift`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    /// The highest version that the Service's split ever had.
    pub(super) split_version: u64,
    /// What is about to become of the split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pending: Option<Pending>,
    /// The latest shift.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) shift: Option<Shift>,
    /// What was done, the latest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) audit: Vec<Audit>,
}

/// A write of the split that may not have been done yet: whoever finds it later does it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pending {
    /// The version of the split that it was decided for; 0: none.
    pub(super) expected: u64,
    /// The version that the split is to have; 0: it is to go away.
    pub(super) version: u64,
    /// What it is to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) backends: Vec<Backend>,
    /// Whether it takes back what another tool has changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) take_over: bool,
    /// When it was decided.
    pub(super) since: String,
}

/// A backend, as the API has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Backend {
    service: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    weight: u32,
}

/// A shift.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shift {
    pub(super) revision: u64,
    to: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    steps: Vec<u32>,
    interval: String,
    abort_if: String,
    min_requests: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Vec<Backend>>,
    state: Word,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reason: String,
    /// From 1.
    step: usize,
    /// Percent.
    share: u32,
    version: u64,
    started_at: String,
    updated_at: String,
}

/// A state, as one word. What waits is not told from what runs: after a change of leader it is seen anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Word {
    Running,
    Paused,
    RollingBack,
    RolledBack,
    Promoted,
    Failed,
}

/// An entry of the audit trail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Audit {
    time: String,
    who: String,
    action: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Vec<Backend>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<Vec<Backend>>,
    version: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    figures: Option<FiguresRow>,
}

impl Status {
    /// Reads the status of an object.
    ///
    /// # Errors
    /// With what is not understood.
    pub(super) fn read(object: &DynamicObject) -> Result<Self, String> {
        match object.data.get("status") {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(status) => Self::deserialize(status).map_err(|error| error.to_string()),
        }
    }

    /// The object whose status this is, where its metadata is known.
    pub(super) fn object(&self, known: &DynamicObject) -> DynamicObject {
        let mut object = known.clone();
        object.data = json!({ "status": self });
        object
    }

    /// What is pending takes back what others own, as the API server said: the entry that was noted of it tells so.
    pub(super) fn note_take_over(&mut self, others: &str) {
        if let Some(pending) = &mut self.pending {
            pending.take_over = true;
        }
        if let Some(audit) = self.audit.last_mut() {
            audit.action = "take-over".to_owned();
            audit.reason = format!("taken from another tool: {}", others.replace('\n', " "));
        }
    }

    /// Adds an entry; the oldest go when there are too many.
    pub(super) fn note(&mut self, entry: &AuditEntry) {
        self.audit.push(Audit::of(entry));
        let size = |audit: &Audit| serde_json::to_vec(audit).map_or(0, |bytes| bytes.len());
        let mut bytes = 0;
        let fits = self.audit.iter().rev().take(MAX_AUDIT).take_while(|audit| {
            bytes += size(audit);
            bytes <= MAX_AUDIT_BYTES
        });
        let keep = fits.count();
        self.audit.drain(..self.audit.len() - keep);
    }
}

/// An object without a status yet.
pub(super) fn empty(service: &ObjectName) -> DynamicObject {
    let mut object = DynamicObject::new(&service.name, &api_resource()).data(json!({}));
    object.metadata.namespace = Some(service.namespace.to_string());
    let label = ("app.kubernetes.io/managed-by".to_owned(), "weft".to_owned());
    object.metadata.labels = Some([label].into());
    object
}

impl Pending {
    /// Whether it was decided so long ago that whoever decided it will not do it any more.
    pub(super) fn is_older_than(&self, age: Duration, now: SystemTime) -> bool {
        let since = time(&self.since).unwrap_or(SystemTime::UNIX_EPOCH);
        now.duration_since(since).is_ok_and(|passed| passed > age)
    }
}

impl Shift {
    pub(super) fn of(stored: &StoredShift) -> Self {
        let StoredShift { machine: Machine { plan, state, step, version, .. }, started_at, updated_at, revision } =
            stored;
        let (state, reason) = match state {
            State::Running | State::Waiting(_) => (Word::Running, ""),
            State::Paused => (Word::Paused, ""),
            State::RollingBack(reason) => (Word::RollingBack, reason.as_str()),
            State::RolledBack(reason) => (Word::RolledBack, reason.as_str()),
            State::Promoted => (Word::Promoted, ""),
            State::Failed(reason) => (Word::Failed, reason.as_str()),
        };
        Self {
            revision: *revision,
            to: plan.to.to_string(),
            port: plan.port,
            steps: plan.steps.clone(),
            interval: humantime::format_duration(plan.interval).to_string().replace(' ', ""),
            abort_if: plan.limits.to_string(),
            min_requests: plan.min_requests,
            before: plan.before.as_deref().map(backends),
            state,
            reason: reason.to_owned(),
            step: step + 1,
            share: plan.steps.get(*step).copied().unwrap_or_default(),
            version: *version,
            started_at: text(*started_at),
            updated_at: text(*updated_at),
        }
    }

    /// # Errors
    /// With the field that makes no sense.
    pub(super) fn stored(self, service: ObjectName) -> Result<StoredShift, String> {
        let interval = humantime::parse_duration(&self.interval);
        let plan = Plan {
            service,
            to: self.to.into(),
            port: self.port,
            steps: self.steps,
            interval: interval.map_err(|error| format!("status.shift.interval: {error}"))?,
            limits: self.abort_if.parse::<Limits>().map_err(|error| format!("status.shift.abortIf: {error}"))?,
            min_requests: self.min_requests,
            before: self.before.map(split_backends),
        };
        let state = match self.state {
            Word::Running => State::Running,
            Word::Paused => State::Paused,
            Word::RollingBack => State::RollingBack(self.reason),
            Word::RolledBack => State::RolledBack(self.reason),
            Word::Promoted => State::Promoted,
            Word::Failed => State::Failed(self.reason),
        };
        let machine = Machine { plan, state, step: self.step.saturating_sub(1), version: self.version, since: None };
        let started_at = time(&self.started_at).map_err(|error| format!("status.shift.startedAt: {error}"))?;
        let updated_at = time(&self.updated_at).map_err(|error| format!("status.shift.updatedAt: {error}"))?;
        Ok(StoredShift { machine, started_at, updated_at, revision: self.revision })
    }

    /// Whether it writes the split by itself.
    pub(super) fn is_active(&self) -> bool {
        matches!(self.state, Word::Running | Word::Paused)
    }

    /// For people: what it does at present.
    pub(super) fn summary(&self) -> String {
        let state = if self.state == Word::Paused { "paused" } else { "running" };
        format!("a shift to {} is {state} at {} %", self.to, self.share)
    }
}

impl Audit {
    fn of(entry: &AuditEntry) -> Self {
        Self {
            time: text(entry.time),
            who: entry.who.clone(),
            action: entry.action.clone(),
            from: entry.from.as_deref().map(backends),
            to: entry.to.as_deref().map(backends),
            version: entry.version,
            reason: entry.reason.clone(),
            figures: entry.figures.as_ref().map(FiguresRow::of),
        }
    }

    pub(super) fn entry(self) -> AuditEntry {
        AuditEntry {
            time: time(&self.time).unwrap_or(SystemTime::UNIX_EPOCH),
            who: self.who,
            action: self.action,
            from: self.from.map(split_backends),
            to: self.to.map(split_backends),
            version: self.version,
            reason: self.reason,
            figures: self.figures.map(FiguresRow::figures),
        }
    }

    /// What the split was after it.
    pub(super) fn after(&self) -> Option<Vec<SplitBackend>> {
        self.to.clone().map(split_backends)
    }
}

pub(super) fn backends(backends: &[SplitBackend]) -> Vec<Backend> {
    let backend = |to: &SplitBackend| Backend { service: to.service.to_string(), port: to.port, weight: to.weight };
    backends.iter().map(backend).collect()
}

pub(super) fn split_backends(backends: Vec<Backend>) -> Vec<SplitBackend> {
    let backend = |to: Backend| SplitBackend { service: to.service.into(), port: to.port, weight: to.weight };
    backends.into_iter().map(backend).collect()
}

pub(super) fn text(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

fn time(text: &str) -> Result<SystemTime, String> {
    humantime::parse_rfc3339(text).map_err(|error| format!("{text:?} is no time: {error}"))
}

#[cfg(test)]
mod tests;
