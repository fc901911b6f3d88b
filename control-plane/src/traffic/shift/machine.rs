//! What a shift does next: no clock, no store, no proxies, only what it is told of them.
//!
//! ```text
//!            Begin: all proxies have it      interval over, enough seen, all good
//! Running ──────────────────────────────> Running ─────────────┬─ Advance ─> Running, next step
//!    │ ^                                     │ ^               └─ Promote ─> Promoted
//!    │ │ Resume                  too little  │ │ enough
//!    v │                                     v │
//!  Paused                                  Waiting
//!
//! any of these: a limit exceeded, or Abort ─ RollBack ─> RollingBack ─ Back: all proxies have it ─> RolledBack
//!               the split is another's     ─ Fail ─> Failed
//! ```

use std::time::{Duration, Instant};

use weft_api::traffic::Rollout;

use super::Plan;
use crate::load::{Figures, Reporting};

/// Proxies that take longer to go back hold up nobody: they are told of by the rollout.
const LONGEST_WAY_BACK: Duration = Duration::from_secs(30);

/// A shift, between two observations.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// What it is to do.
    pub plan: Plan,
    /// How it stands.
    pub state: State,
    /// The step that it has come to, from 0.
    pub step: usize,
    /// The version of the split that it wrote last; 0: it took the split away.
    pub version: u64,
    /// Since when the step's interval runs; `None`: not all proxies have the step yet. On the way back, since when.
    pub since: Option<Instant>,
}

/// How a shift stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The step is on its way to the proxies, or its interval runs.
    Running,
    /// The interval is over, but it can't be judged, for this reason.
    Waiting(String),
    /// Somebody paused it.
    Paused,
    /// The split of before is on its way to the proxies, for this reason.
    RollingBack(String),
    /// Ended: the split is that of before, for this reason.
    RolledBack(String),
    /// Ended: the split is that of the last step.
    Promoted,
    /// Ended: the split is another's, for this reason.
    Failed(String),
}

/// What is seen of a shift's Service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation<'a> {
    /// The version of the split that is stored; 0: none.
    pub version: u64,
    /// How far the proxies are with the version that the shift wrote.
    pub rollout: Rollout,
    /// Whether the proxies that hold the Service's routes report.
    pub reporting: Reporting,
    /// What was reported of the backend since the step was written.
    pub figures: Option<&'a Figures>,
    /// The same of the last minute at most.
    pub recent: Option<&'a Figures>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The step's interval begins.
    Begin,
    /// There is too little to judge by.
    Wait(String),
    /// Write the split of this step.
    Advance(usize),
    /// End with the last step, whose split is to be written unless it is this one's.
    Promote,
    /// Write the split of before.
    RollBack(String),
    /// End: what was before holds again.
    Back,
    /// End, and leave the split as it is.
    Fail(String),
    /// Stay at the step.
    Pause,
    /// Go on.
    Resume,
}

/// What a person can say to a shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Stay at the step.
    Pause,
    /// Go on; the interval begins anew.
    Resume,
    /// Go to the last step at once.
    Promote,
    /// Put back what was before.
    Abort,
}

impl Machine {
    /// A shift whose first step is about to be written.
    pub fn new(plan: Plan) -> Self {
        Self { plan, state: State::Running, step: 0, version: 0, since: None }
    }

    /// What is to be done at `now`; `None`: nothing.
    pub fn decide(&self, now: Instant, seen: &Observation<'_>) -> Option<Decision> {
        match &self.state {
            State::RolledBack(_) | State::Promoted | State::Failed(_) => None,
            State::RollingBack(_) => {
                let arrived = is_complete(&seen.rollout) || seen.version != self.version;
                (arrived || self.ran(now) >= LONGEST_WAY_BACK).then_some(Decision::Back)
            }
            State::Running | State::Waiting(_) | State::Paused => self.decide_step(now, seen),
        }
    }

    fn decide_step(&self, now: Instant, seen: &Observation<'_>) -> Option<Decision> {
        if seen.version != self.version {
            return Some(Decision::Fail(changed_by_others(seen.version)));
        }
        // Also before all proxies have the step: those that have it send what it says.
        if let Some(reason) = self.exceeded(seen) {
            return Some(Decision::RollBack(reason));
        }
        if self.since.is_none() {
            return is_complete(&seen.rollout).then_some(Decision::Begin);
        }
        if self.state == State::Paused || self.ran(now) < self.plan.interval {
            return None;
        }
        match (self.lacks(seen), &self.state) {
            (Some(lack), State::Waiting(known)) if lack == *known => None,
            (Some(lack), _) => Some(Decision::Wait(lack)),
            (None, _) if self.step + 1 < self.plan.steps.len() => Some(Decision::Advance(self.step + 1)),
            (None, _) => Some(Decision::Promote),
        }
    }

    /// What a person's word leads to; `None`: the shift has ended, or what is asked for is so already.
    pub fn obey(&self, command: Command) -> Option<Decision> {
        let active = self.is_active();
        match command {
            Command::Pause => (active && self.state != State::Paused).then_some(Decision::Pause),
            Command::Resume => (self.state == State::Paused).then_some(Decision::Resume),
            Command::Promote => active.then_some(Decision::Promote),
            Command::Abort => active.then(|| Decision::RollBack("aborted".to_owned())),
        }
    }

    /// Takes a step that was written; `version` is that of the split then.
    pub fn apply(&mut self, decision: Decision, version: u64, now: Instant) {
        self.version = version;
        self.state = match decision {
            Decision::Begin => {
                self.since = Some(now);
                return;
            }
            Decision::Wait(reason) => State::Waiting(reason),
            Decision::Advance(step) => {
                (self.step, self.since) = (step, None);
                State::Running
            }
            Decision::Promote => {
                self.step = self.plan.steps.len().saturating_sub(1);
                State::Promoted
            }
            Decision::RollBack(reason) => {
                self.since = Some(now);
                State::RollingBack(reason)
            }
            Decision::Back => match std::mem::replace(&mut self.state, State::Running) {
                State::RollingBack(reason) | State::RolledBack(reason) => State::RolledBack(reason),
                other => other,
            },
            Decision::Fail(reason) => State::Failed(reason),
            Decision::Pause => State::Paused,
            Decision::Resume => {
                self.since = None;
                State::Running
            }
        };
    }

    /// Whether it has come to the same step of the same shift as another.
    pub fn is_at(&self, other: &Self) -> bool {
        (self.step, self.version) == (other.step, other.version) && self.plan == other.plan
    }

    /// Whether it may still change the split by itself.
    pub fn is_active(&self) -> bool {
        matches!(self.state, State::Running | State::Waiting(_) | State::Paused)
    }

    /// Whether nothing will happen any more.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::RolledBack(_) | State::Promoted | State::Failed(_))
    }

    /// For how long the interval has run.
    pub fn ran(&self, now: Instant) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// The limit that is exceeded, since the step was written or lately: hours of good do not hide a bad minute.
    fn exceeded(&self, seen: &Observation<'_>) -> Option<String> {
        let enough = |figures: &&&Figures| figures.issued >= self.plan.min_requests;
        let judged = [seen.figures, seen.recent];
        judged.iter().flatten().filter(enough).find_map(|figures| self.plan.limits.exceeded(figures))
    }

    /// Why the step can't be judged.
    fn lacks(&self, seen: &Observation<'_>) -> Option<String> {
        let Rollout { proxies, current, silent_replicas } = &seen.rollout;
        let Reporting { expected, fresh } = seen.reporting;
        let (issued, needed) = (seen.figures.map_or(0, |figures| figures.issued), self.plan.min_requests);
        if current < proxies {
            Some(format!("{current} of {proxies} proxies have this step"))
        } else if !silent_replicas.is_empty() {
            Some(format!("no word of the proxies of {}", silent_replicas.join(", ")))
        } else if *proxies == 0 {
            Some("no connected proxy routes to the Service".to_owned())
        } else if u64::from(fresh) * 10 < u64::from(expected) * 9 || fresh == 0 {
            Some(format!("{fresh} of {expected} proxies report in time"))
        } else if issued < needed {
            Some(format!("{issued} of {needed} requests so far"))
        } else {
            None
        }
    }
}

/// What a shift says when somebody else wrote the split, whose version is this now.
pub fn changed_by_others(version: u64) -> String {
    match version {
        0 => "the split was deleted by somebody else; it is left as it is".to_owned(),
        _ => format!("the split was changed by somebody else (version {version}); it is left as it is"),
    }
}

fn is_complete(rollout: &Rollout) -> bool {
    rollout.current == rollout.proxies && rollout.silent_replicas.is_empty()
}

#[cfg(test)]
mod tests;
