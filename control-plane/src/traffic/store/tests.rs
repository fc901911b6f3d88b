use std::path::PathBuf;

use super::*;

fn temporary() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weft.redb");
    (dir, path)
}

fn api() -> ObjectName {
    ObjectName::new("shop", "api")
}

fn split(weight: u32) -> Vec<SplitBackend> {
    vec![SplitBackend { service: "api-v1".into(), port: Some(80), weight }]
}

#[test]
fn what_was_written_is_there_after_opening_again() {
    let (_dir, path) = temporary();
    let now = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let written = Store::open(&path).unwrap().set(&api(), &split(7), None, now).unwrap();
    let store = Store::open(&path).unwrap();
    assert_eq!(store.splits().get(&api()), Some(&written));
    assert_eq!((written.split.version, written.updated_at), (1, now));
}

#[test]
fn versions_go_up_also_across_deletions_and_restarts() {
    let (_dir, path) = temporary();
    let now = SystemTime::now();
    let store = Store::open(&path).unwrap();
    assert_eq!(store.set(&api(), &split(1), None, now).unwrap().split.version, 1);
    assert_eq!(store.set(&api(), &split(1), None, now).unwrap().split.version, 2);
    store.delete(&api(), None).unwrap();
    drop(store);
    let store = Store::open(&path).unwrap();
    assert!(store.splits().is_empty());
    assert_eq!(store.set(&api(), &split(1), None, now).unwrap().split.version, 3);
}

#[test]
fn a_stale_version_writes_nothing() {
    let (_dir, path) = temporary();
    let now = SystemTime::now();
    let store = Store::open(&path).unwrap();
    let stale = |result: Result<_, StoreError>| match result {
        Err(StoreError::Stale { expected, current }) => (expected, current),
        other => panic!("{other:?}"),
    };
    assert_eq!(stale(store.set(&api(), &split(1), Some(1), now)), (1, 0));
    store.set(&api(), &split(1), Some(0), now).unwrap();
    assert_eq!(stale(store.set(&api(), &split(2), Some(0), now)), (0, 1));
    store.set(&api(), &split(2), Some(1), now).unwrap();
    assert!(matches!(store.delete(&api(), Some(1)), Err(StoreError::Stale { expected: 1, current: 2 })));
    assert_eq!(store.splits().get(&api()).unwrap().split.backends, split(2));
    store.delete(&api(), Some(2)).unwrap();
    assert!(matches!(store.delete(&api(), None), Err(StoreError::Missing)));
    assert_eq!(stale(store.set(&api(), &split(1), Some(2), now)), (2, 0), "deleted means version 0");
}

#[test]
fn subscribers_see_each_write() {
    let (_dir, path) = temporary();
    let store = Store::open(&path).unwrap();
    let mut splits = store.subscribe();
    store.set(&api(), &split(1), None, SystemTime::now()).unwrap();
    assert!(splits.has_changed().unwrap());
    assert!(splits.borrow_and_update().contains_key(&api()));
}

#[test]
fn a_second_process_is_told_the_likely_cause() {
    let (_dir, path) = temporary();
    let _store = Store::open(&path).unwrap();
    let error = Store::open(&path).err().unwrap().to_string();
    assert!(error.contains("another weft-control"), "{error}");
}
