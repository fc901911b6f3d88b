use std::time::UNIX_EPOCH;

use super::*;
use crate::load::Figures;

fn backend(service: &str, port: Option<u16>, weight: u32) -> SplitBackend {
    SplitBackend { service: service.into(), port, weight }
}

fn shift(state: State) -> StoredShift {
    let plan = Plan {
        service: ObjectName::new("shop", "api"),
        to: "api-v2".into(),
        port: Some(80),
        steps: vec![10, 100],
        interval: Duration::from_millis(1500),
        limits: "error-rate>1%,p99>500ms".parse().unwrap(),
        min_requests: 3,
        before: Some(vec![backend("api-v1", None, 7)]),
    };
    let at = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let machine = Machine { plan, state, step: 1, version: 4, since: None };
    StoredShift { machine, started_at: at, updated_at: at, revision: 9 }
}

#[test]
fn a_shift_is_read_as_it_was_written() {
    let reason = || "p99 is too high".to_owned();
    let states =
        [State::Running, State::Paused, State::RollingBack(reason()), State::Promoted, State::Failed(reason())];
    for state in states {
        let stored = shift(state);
        let status = Status { shift: Some(Shift::of(&stored)), ..Status::default() };
        let object = status.object(&empty(&stored.machine.plan.service));
        let read = Status::read(&object).unwrap();
        assert_eq!(read, status);
        assert_eq!(read.shift.unwrap().stored(stored.machine.plan.service.clone()).unwrap(), stored);
    }
}

#[test]
fn what_somebody_breaks_is_named() {
    let mut shift = Shift::of(&shift(State::Running));
    shift.interval = "soon".to_owned();
    let error = shift.stored(ObjectName::new("shop", "api")).unwrap_err();
    assert!(error.starts_with("status.shift.interval: "), "{error}");
}

#[test]
fn the_audit_trail_keeps_the_latest_and_is_bounded_in_entries_and_bytes() {
    let entry = |version, reason: &str| AuditEntry {
        time: UNIX_EPOCH,
        who: "loopback 127.0.0.1".to_owned(),
        action: "set".to_owned(),
        from: None,
        to: Some(vec![backend("api-v1", None, 7)]),
        version,
        reason: reason.to_owned(),
        figures: Some(Figures { issued: 5, errors: 1, ..Figures::default() }),
    };
    let mut status = Status::default();
    for version in 0..250 {
        status.note(&entry(version, ""));
    }
    assert_eq!(status.audit.len(), MAX_AUDIT);
    assert_eq!(status.audit.last().unwrap().clone().entry(), entry(249, ""));
    for version in 250..260 {
        status.note(&entry(version, &"x".repeat(200_000)));
    }
    assert_eq!(status.audit.iter().map(|audit| audit.version).collect::<Vec<_>>(), [258, 259]);
}
