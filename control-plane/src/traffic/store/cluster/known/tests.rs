use super::*;

fn api() -> ObjectName {
    ObjectName::new("shop", "api")
}

fn at(uid: &str, version: u64) -> At {
    At { uid: uid.to_owned(), resource_version: version.to_string() }
}

#[test]
fn a_late_event_does_not_take_a_write_back() {
    let mut known = Known::default();
    known.apply(&api(), at("a", 7), "written");
    known.apply(&api(), at("a", 5), "late");
    assert_eq!(known.get(&api()), Some(&"written"));
    known.apply(&api(), at("a", 8), "next");
    assert_eq!(known.get(&api()), Some(&"next"));
}

#[test]
fn a_late_event_does_not_bring_back_what_was_deleted() {
    let mut known = Known::default();
    known.apply(&api(), at("a", 5), 1);
    known.delete(&api(), "a");
    known.apply(&api(), at("a", 6), 2);
    assert_eq!(known.get(&api()), None);
    known.apply(&api(), at("b", 9), 3);
    known.deleted(&api(), "a");
    assert_eq!(known.get(&api()), Some(&3), "the event is about the one before");
}

#[test]
fn what_a_list_lacks_is_gone_but_for_what_was_written_meanwhile() {
    let mut known = Known::default();
    let other = ObjectName::new("shop", "web");
    let new = ObjectName::new("shop", "new");
    known.apply(&api(), at("a", 5), 1);
    known.apply(&other, at("b", 6), 1);
    known.list();
    known.apply(&other, at("b", 6), 1);
    known.apply(&new, at("c", 7), 1);
    known.end_list();
    assert_eq!(known.iter().map(|(name, _)| name).collect::<Vec<_>>(), [&new, &other]);
}
