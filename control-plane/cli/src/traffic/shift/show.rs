//! Shifts and the audit trail as people read them.

use weft_api::traffic::shift::State;
use weft_api::traffic::{AuditEntry, Backend, Figures, Rollout, Shift};

use crate::text;

/// What a shift will do.
pub(super) fn begun(shift: &Shift) -> String {
    format!(
        "{}/{}: {} gets {} %, {} each; back at once if {}",
        shift.namespace,
        shift.service,
        target(shift),
        steps(shift, ", then "),
        shift.interval,
        shift.abort_if.replace(',', " or "),
    )
}

/// How to see how a shift goes on.
pub(super) fn how_to_follow(shift: &Shift) -> String {
    format!("Follow it with: weft traffic shift status {} -n {} --follow", shift.service, shift.namespace)
}

/// A line of a shift that is followed.
pub(super) fn progress(shift: &Shift) -> String {
    let mut parts = vec![
        format!("step {} of {}", shift.step, shift.steps.len()),
        format!("{:>3} %", shift.share),
        format!("{:<12}", state(shift.state())),
    ];
    let Rollout { proxies, current, silent_replicas } = shift.rollout.clone().unwrap_or_default();
    if current < proxies || !silent_replicas.is_empty() {
        parts.push(text::counted(format!("{current} of {proxies} proxies have it"), &silent_replicas));
    } else if shift.step_seconds > 0.0 {
        parts.push(format!("{} of {}", seconds(shift.step_seconds), shift.interval));
    }
    if let Some(figures) = shift.figures.as_ref().filter(|figures| figures.requests > 0) {
        parts.push(self::figures(figures));
    }
    if !shift.reason.is_empty() {
        parts.push(shift.reason.clone());
    }
    parts.join("   ").trim_end().to_owned()
}

/// What a shift ended with; none while it is under way.
pub(super) fn end(shift: &Shift) -> Option<String> {
    let service = format!("{}/{}", shift.namespace, shift.service);
    match shift.state() {
        State::Promoted => Some(format!("{service}: promoted; {} has {} %", target(shift), shift.share)),
        State::RolledBack => {
            let before = split(&shift.before, "no split, its own endpoints answer");
            Some(format!("{service}: rolled back, because {}; as before: {before}", shift.reason))
        }
        State::Failed => Some(format!("{service}: failed, because {}", shift.reason)),
        _ => None,
    }
}

/// One shift, a line for each thing.
pub(super) fn shift(shift: &Shift) -> String {
    let mut lines = vec![
        ("shift", format!("{}/{} to {}", shift.namespace, shift.service, target(shift))),
        ("state", with_reason(shift)),
        ("step", format!("{} of {} ({} %) of {} %", shift.step, shift.steps.len(), shift.share, steps(shift, ", "))),
    ];
    if is_under_way(shift.state()) {
        let ran = match shift.step_seconds > 0.0 {
            true => format!("{} of {}", seconds(shift.step_seconds), shift.interval),
            false => format!("{}, not begun: not all proxies have the step", shift.interval),
        };
        lines.push(("interval", ran));
        let (rollout, reports) = (shift.rollout.clone().unwrap_or_default(), shift.reports.unwrap_or_default());
        let proxies = format!("{} of {} have the step", rollout.current, rollout.proxies);
        let proxies = text::counted(proxies, &rollout.silent_replicas);
        lines.push(("proxies", format!("{proxies}, {} of {} report in time", reports.fresh, reports.proxies)));
    }
    lines.push(("back if", format!("{}, seen in at least {} requests", shift.abort_if, shift.min_requests)));
    let seen = shift.figures.as_ref().filter(|figures| figures.requests > 0);
    lines.push(("seen", seen.map_or_else(|| "no request yet".to_owned(), figures)));
    lines.push(("before", split(&shift.before, "no split")));
    lines.push(("started", shift.started_at.clone()));
    lines.push(("changed", shift.updated_at.clone()));
    let lines: Vec<_> = lines.into_iter().map(|(name, value)| format!("{name:<9} {value}")).collect();
    lines.join("\n")
}

/// All shifts, a line each.
pub(super) fn list(shifts: &[Shift]) -> String {
    let rows = shifts.iter().map(|shift| {
        [
            shift.namespace.clone(),
            shift.service.clone(),
            target(shift),
            format!("{} %", shift.share),
            format!("{} of {}", shift.step, shift.steps.len()),
            with_reason(shift),
            shift.updated_at.clone(),
        ]
    });
    text::table(["NAMESPACE", "SERVICE", "TO", "SHARE", "STEP", "STATE", "CHANGED"], rows)
}

/// The audit trail, the latest first.
pub(super) fn audit(entries: &[AuditEntry]) -> String {
    let rows = entries.iter().map(|entry| {
        let (from, to) = (split(&entry.from, "no split"), split(&entry.to, "no split"));
        let change = if from == to { to } else { format!("{from} -> {to}") };
        let seen = entry.figures.as_ref().map_or_else(|| "-".to_owned(), figures);
        let reason = if entry.reason.is_empty() { "-".to_owned() } else { entry.reason.clone() };
        [entry.time.clone(), entry.who.clone(), entry.action.clone(), change, reason, seen]
    });
    text::table(["TIME", "WHO", "ACTION", "SPLIT", "WHY", "SEEN"], rows)
}

fn is_under_way(state: State) -> bool {
    matches!(state, State::Running | State::Waiting | State::Paused | State::RollingBack)
}

fn with_reason(shift: &Shift) -> String {
    let state = state(shift.state());
    if shift.reason.is_empty() { state.to_owned() } else { format!("{state}: {}", shift.reason) }
}

fn state(state: State) -> &'static str {
    match state {
        State::Unspecified => "unknown",
        State::Running => "running",
        State::Waiting => "waiting",
        State::Paused => "paused",
        State::RollingBack => "rolling back",
        State::RolledBack => "rolled back",
        State::Promoted => "promoted",
        State::Failed => "failed",
    }
}

fn target(shift: &Shift) -> String {
    if shift.port == 0 { shift.to.clone() } else { format!("{}:{}", shift.to, shift.port) }
}

fn steps(shift: &Shift, between: &str) -> String {
    shift.steps.iter().map(u32::to_string).collect::<Vec<_>>().join(between)
}

fn figures(figures: &Figures) -> String {
    let Figures { requests, errors, error_rate, p50_ms, p99_ms, .. } = figures;
    let rate = (error_rate * 1000.0).round() / 10.0;
    format!("{requests} requests, {errors} failed ({rate} %), p50 {p50_ms} ms, p99 {p99_ms} ms")
}

fn split(backends: &[Backend], none: &str) -> String {
    if backends.is_empty() {
        return none.to_owned();
    }
    let sum = backends.iter().map(|backend| backend.weight).fold(0, i64::saturating_add);
    let one = |backend: &Backend| format!("{} {}", backend.service, text::share(backend.weight, sum));
    backends.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Tenths below a second, else in the two largest units.
fn seconds(seconds: f64) -> String {
    // Whole from a second on, and never negative.
    if seconds < 1.0 { format!("{seconds:.1}s") } else { text::span(seconds as u64) }
}
