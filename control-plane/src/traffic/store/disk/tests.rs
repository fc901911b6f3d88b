use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;
use crate::load::Figures;
use crate::traffic::store::StoredShift;

fn temporary() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weft.redb");
    (dir, path)
}

fn api() -> ObjectName {
    ObjectName::new("shop", "api")
}

fn now() -> Author {
    Author { who: "loopback 127.0.0.1".to_owned(), at: SystemTime::now() }
}

fn split(weight: u32) -> Vec<SplitBackend> {
    vec![SplitBackend { service: "api-v1".into(), port: Some(80), weight }]
}

#[test]
fn what_was_written_is_there_after_opening_again() {
    let (_dir, path) = temporary();
    let at = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let written = DiskStore::open(&path).unwrap().set(&api(), &split(7), None, &Author { at, ..now() }).unwrap();
    let store = DiskStore::open(&path).unwrap();
    assert_eq!(store.splits().get(&api()), Some(&written));
    assert_eq!((written.split.version, written.updated_at), (1, at));
}

#[test]
fn versions_go_up_also_across_deletions_and_restarts() {
    let (_dir, path) = temporary();
    let store = DiskStore::open(&path).unwrap();
    assert_eq!(store.set(&api(), &split(1), None, &now()).unwrap().split.version, 1);
    assert_eq!(store.set(&api(), &split(1), None, &now()).unwrap().split.version, 2);
    store.delete(&api(), None, &now()).unwrap();
    drop(store);
    let store = DiskStore::open(&path).unwrap();
    assert!(store.splits().is_empty());
    assert_eq!(store.set(&api(), &split(1), None, &now()).unwrap().split.version, 3);
}

#[test]
fn a_stale_version_writes_nothing() {
    let (_dir, path) = temporary();
    let store = DiskStore::open(&path).unwrap();
    let stale = |result: Result<_, StoreError>| match result {
        Err(StoreError::Stale { expected, current }) => (expected, current),
        other => panic!("{other:?}"),
    };
    assert_eq!(stale(store.set(&api(), &split(1), Some(1), &now())), (1, 0));
    store.set(&api(), &split(1), Some(0), &now()).unwrap();
    assert_eq!(stale(store.set(&api(), &split(2), Some(0), &now())), (0, 1));
    store.set(&api(), &split(2), Some(1), &now()).unwrap();
    assert!(matches!(store.delete(&api(), Some(1), &now()), Err(StoreError::Stale { expected: 1, current: 2 })));
    assert_eq!(store.splits().get(&api()).unwrap().split.backends, split(2));
    store.delete(&api(), Some(2), &now()).unwrap();
    assert!(matches!(store.delete(&api(), None, &now()), Err(StoreError::Missing)));
    assert_eq!(stale(store.set(&api(), &split(1), Some(2), &now())), (2, 0), "deleted means version 0");
}

#[test]
fn subscribers_see_each_write() {
    let (_dir, path) = temporary();
    let store = DiskStore::open(&path).unwrap();
    let mut splits = store.subscribe();
    store.set(&api(), &split(1), None, &now()).unwrap();
    assert!(splits.has_changed().unwrap());
    assert!(splits.borrow_and_update().contains_key(&api()));
}

#[test]
fn a_second_process_is_told_the_likely_cause() {
    let (_dir, path) = temporary();
    let _store = DiskStore::open(&path).unwrap();
    let error = DiskStore::open(&path).err().unwrap().to_string();
    assert!(error.contains("another weft-control"), "{error}");
}

fn shift(service: &ObjectName) -> StoredShift {
    let before = Some(split(7));
    let plan = crate::traffic::shift::Plan {
        service: service.clone(),
        to: "api-v2".into(),
        port: Some(80),
        steps: vec![10, 100],
        interval: Duration::from_millis(1500),
        limits: "error-rate>1%,p99>500ms".parse().unwrap(),
        min_requests: 3,
        before,
    };
    let at = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    StoredShift {
        machine: crate::traffic::shift::machine::Machine::new(plan),
        started_at: at,
        updated_at: at,
        revision: 0,
    }
}

fn write<'a>(shift: &'a StoredShift, change: Change<'a>, expected: u64) -> ShiftWrite<'a> {
    ShiftWrite { change, expected, shift, begins: false, action: "shift-step", reason: "well", figures: None }
}

#[test]
fn a_shift_and_its_split_are_there_after_opening_again() {
    let (_dir, path) = temporary();
    let store = DiskStore::open(&path).unwrap();
    let begun = shift(&api());
    let written = store.shift(&api(), &write(&begun, Change::Set(&split(9)), 0), &now()).unwrap();
    assert_eq!(written, ShiftWritten { version: 1, revision: 1 });
    drop(store);
    let store = DiskStore::open(&path).unwrap();
    let stored = Arc::clone(&store.shifts().borrow()[&api()]);
    assert_eq!(stored.revision, 1);
    assert_eq!(stored.machine, crate::traffic::shift::machine::Machine { version: 1, ..begun.machine });
    assert_eq!(stored.started_at, begun.started_at);
    assert_eq!(store.splits()[&api()].split.backends, split(9));
}

#[test]
fn while_a_shift_is_active_only_that_writes_the_split() {
    use crate::traffic::shift::machine::State;

    let (_dir, path) = temporary();
    let store = DiskStore::open(&path).unwrap();
    let mut begun = shift(&api());
    store.shift(&api(), &write(&begun, Change::Set(&split(9)), 0), &now()).unwrap();
    let refused = [
        store.set(&api(), &split(1), None, &now()).map(drop),
        store.delete(&api(), None, &now()),
        store.shift(&api(), &ShiftWrite { begins: true, ..write(&begun, Change::Keep, 1) }, &now()).map(drop),
    ];
    for result in refused {
        assert!(
            matches!(&result, Err(StoreError::Shifting(text)) if text == "a shift to api-v2 is running at 10 %"),
            "{result:?}"
        );
    }
    store.set(&ObjectName::new("shop", "users"), &split(1), None, &now()).unwrap();
    begun.machine.state = State::RollingBack("slow".to_owned());
    let overtaken = store.shift(&api(), &write(&begun, Change::Delete, 1), &now());
    assert!(matches!(overtaken, Err(StoreError::Overtaken)), "{overtaken:?}");
    begun.revision = 1;
    let written = store.shift(&api(), &write(&begun, Change::Delete, 1), &now()).unwrap();
    assert_eq!(written, ShiftWritten { version: 0, revision: 2 });
    begun.revision = 2;
    assert_eq!(store.set(&api(), &split(1), None, &now()).unwrap().split.version, 2);
    let stale = store.shift(&api(), &write(&begun, Change::Keep, 0), &now());
    assert!(matches!(stale, Err(StoreError::Stale { expected: 0, current: 2 })), "{stale:?}");
}

#[test]
fn the_audit_trail_has_the_latest_and_no_more() {
    let (_dir, path) = temporary();
    let store = DiskStore::open(&path).unwrap();
    store.set(&api(), &split(1), None, &now()).unwrap();
    store.set(&ObjectName::new("shop", "api2"), &split(1), None, &now()).unwrap();
    let begun = shift(&api());
    let figures = Figures { issued: 5, errors: 1, ..Figures::default() };
    let weights = split(9);
    let step = ShiftWrite { figures: Some(&figures), ..write(&begun, Change::Set(&weights), 1) };
    store.shift(&api(), &step, &Author { who: "weft-control".to_owned(), ..now() }).unwrap();
    let [step, set] = <[AuditEntry; 2]>::try_from(store.audit(&api(), 9).unwrap()).unwrap();
    assert_eq!((set.action.as_str(), set.who.as_str(), set.from, set.version), ("set", "loopback 127.0.0.1", None, 1));
    assert_eq!((step.action.as_str(), step.reason.as_str(), step.version), ("shift-step", "well", 2));
    assert_eq!((step.from, step.to, step.figures), (Some(split(1)), Some(split(9)), Some(figures)));

    let transaction = begin(&store.database).unwrap();
    for number in 0..MAX_AUDIT {
        write_audit(&transaction, &api(), &AuditEntry { version: number, ..set_entry() }).unwrap();
    }
    transaction.commit().unwrap();
    let all = store.audit(&api(), usize::MAX).unwrap();
    assert_eq!((all.len(), all[0].version, all[999].version), (1000, 999, 0));
    assert_eq!(store.audit(&ObjectName::new("shop", "api2"), 9).unwrap().len(), 1);
    assert_eq!(store.audit(&ObjectName::new("shop", "ap"), 9).unwrap().len(), 0);
}

fn set_entry() -> AuditEntry {
    AuditEntry {
        time: UNIX_EPOCH,
        who: String::new(),
        action: "set".to_owned(),
        from: None,
        to: None,
        version: 0,
        reason: String::new(),
        figures: None,
    }
}
