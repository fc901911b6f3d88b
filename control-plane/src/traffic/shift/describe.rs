//! Shifts, figures and audit entries as the API has them.

use std::fmt;
use std::time::{Instant, SystemTime};

use weft_api::traffic as api;
use weft_api::traffic::shift::State as ApiState;

use super::machine::{Decision, Machine};
use super::{Plan, State};
use crate::load::{Figures, Reporting};
use crate::mesh::SplitBackend;
use crate::traffic::store::{AuditEntry, StoredShift};

/// A shift with what is seen of it at `now`.
pub(in crate::traffic) fn shift(
    stored: &StoredShift,
    seen: &Figures,
    reporting: Reporting,
    rollout: api::Rollout,
    now: Instant,
) -> api::Shift {
    let StoredShift { machine, started_at, updated_at, .. } = stored;
    let plan = &machine.plan;
    let ran = if machine.is_active() { machine.ran(now).as_secs_f64() } else { 0.0 };
    api::Shift {
        namespace: plan.service.namespace.to_string(),
        service: plan.service.name.to_string(),
        to: plan.to.to_string(),
        port: plan.port.map_or(0, u32::from),
        steps: plan.steps.clone(),
        interval: humantime::format_duration(plan.interval).to_string().replace(' ', ""),
        abort_if: plan.limits.to_string(),
        min_requests: plan.min_requests,
        state: api_state(&machine.state).into(),
        step: u32::try_from(machine.step + 1).unwrap_or(u32::MAX),
        share: plan.steps.get(machine.step).copied().unwrap_or_default(),
        // Watchers are not woken for less than a second of a long interval.
        step_seconds: if ran < 1.0 { (ran * 10.0).floor() / 10.0 } else { ran.floor() },
        reason: reason(&machine.state).unwrap_or_default(),
        figures: Some(figures(seen)),
        reports: Some(api::Reports { proxies: reporting.expected, fresh: reporting.fresh }),
        version: machine.version,
        rollout: Some(rollout),
        before: backends(plan.before.as_deref()),
        started_at: time(*started_at),
        updated_at: time(*updated_at),
    }
}

/// An audit entry.
pub(in crate::traffic) fn audit(entry: &AuditEntry) -> api::AuditEntry {
    api::AuditEntry {
        time: time(entry.time),
        who: entry.who.clone(),
        action: entry.action.clone(),
        from: backends(entry.from.as_deref()),
        to: backends(entry.to.as_deref()),
        version: entry.version,
        reason: entry.reason.clone(),
        figures: entry.figures.as_ref().map(figures),
    }
}

/// A state in words, after `the shift`.
pub(super) fn state(state: &State) -> String {
    match state {
        State::Running => "is running".to_owned(),
        State::Waiting(reason) => format!("waits: {reason}"),
        State::Paused => "is paused".to_owned(),
        State::RollingBack(reason) => format!("is rolling back: {reason}"),
        State::RolledBack(reason) => format!("has ended, rolled back: {reason}"),
        State::Promoted => "has ended, promoted".to_owned(),
        State::Failed(reason) => format!("has ended, failed: {reason}"),
    }
}

/// The reason that a state has.
pub(super) fn reason(state: &State) -> Option<String> {
    match state {
        State::Waiting(reason) | State::RollingBack(reason) | State::RolledBack(reason) | State::Failed(reason) => {
            Some(reason.clone())
        }
        State::Running | State::Paused | State::Promoted => None,
    }
}

/// Why a decision was taken that has no reason of its own, for the audit trail; `after` is how the shift stands then.
pub(super) fn why(decision: &Decision, after: &Machine) -> String {
    let share = |step: usize| after.plan.steps.get(step).copied().unwrap_or_default();
    match decision {
        Decision::Advance(step) => {
            format!("to {} %: no limit was exceeded at {} %", share(*step), share(step.saturating_sub(1)))
        }
        Decision::Promote => format!("promoted at {} %", share(after.step)),
        Decision::Pause | Decision::Resume => format!("at {} %", share(after.step)),
        _ => state(&after.state),
    }
}

fn api_state(state: &State) -> ApiState {
    match state {
        State::Running => ApiState::Running,
        State::Waiting(_) => ApiState::Waiting,
        State::Paused => ApiState::Paused,
        State::RollingBack(_) => ApiState::RollingBack,
        State::RolledBack(_) => ApiState::RolledBack,
        State::Promoted => ApiState::Promoted,
        State::Failed(_) => ApiState::Failed,
    }
}

fn figures(figures: &Figures) -> api::Figures {
    let milliseconds = |share| {
        let latency = figures.quantile(share).unwrap_or_default();
        (latency.as_secs_f64() * 10_000.0).round() / 10.0
    };
    api::Figures {
        requests: figures.issued,
        errors: figures.errors,
        error_rate: figures.error_rate().unwrap_or_default(),
        p50_ms: milliseconds(0.5),
        p90_ms: milliseconds(0.9),
        p99_ms: milliseconds(0.99),
    }
}

fn backends(backends: Option<&[SplitBackend]>) -> Vec<api::Backend> {
    backends.unwrap_or_default().iter().map(crate::traffic::to_api_backend).collect()
}

fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// What was asked for, for the audit trail.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<_> = self.steps.iter().map(u32::to_string).collect();
        let interval = humantime::format_duration(self.interval).to_string().replace(' ', "");
        write!(f, "to {} by {} %, every {interval}, abort if {}", self.to, steps.join(", "), self.limits)
    }
}
