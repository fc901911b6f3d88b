use proptest::prelude::*;

use super::*;

fn name(name: &str) -> HeaderName {
    HeaderName::from_bytes(name.as_bytes()).unwrap()
}

fn pairs(lines: &[(&str, &str)]) -> Vec<(HeaderName, HeaderValue)> {
    lines.iter().map(|(key, value)| (name(key), HeaderValue::from_str(value).unwrap())).collect()
}

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs(lines) {
        map.append(name, value);
    }
    map
}

fn lines(map: &HeaderMap) -> Vec<(&str, &str)> {
    map.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect()
}

#[test]
fn removes_then_sets_then_adds_and_keeps_the_order() {
    let edits = HeaderEdits {
        remove: vec![name("b"), name("absent")],
        set: pairs(&[("c", "new"), ("z", "last")]),
        add: pairs(&[("b", "again"), ("a", "2")]),
    };
    let mut headers = map(&[("a", "1"), ("b", "1"), ("c", "1"), ("b", "2"), ("c", "2"), ("d", "1")]);
    edits.apply(&mut headers);
    assert_eq!(lines(&headers), [("a", "1"), ("a", "2"), ("c", "new"), ("d", "1"), ("z", "last"), ("b", "again")]);
    assert!(!edits.is_empty() && HeaderEdits::default().is_empty());
}

#[test]
fn a_full_map_is_left_without_what_does_not_fit() {
    let mut headers = HeaderMap::new();
    let mut count = 0;
    while headers.try_append(name(&format!("h{count}")), HeaderValue::from_static("1")).is_ok() {
        count += 1;
    }
    let before = headers.len();
    HeaderEdits { add: pairs(&[("x-one-more", "1")]), ..HeaderEdits::default() }.apply(&mut headers);
    assert_eq!(headers.len(), before);
}

fn some_lines() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let names = prop::sample::select(vec!["a", "b", "c", "d", "e"]);
    prop::collection::vec((names, prop::sample::select(vec!["1", "2", "3"])), 0..8)
}

proptest! {
    #[test]
    fn what_is_not_edited_stays_in_its_order(
        before in some_lines(),
        remove in prop::collection::vec(prop::sample::select(vec!["a", "b"]), 0..2),
        set in prop::collection::vec((Just("c"), Just("set")), 0..2),
        add in prop::collection::vec((Just("d"), Just("added")), 0..2),
    ) {
        let edits = HeaderEdits {
            remove: remove.iter().map(|key| name(key)).collect(),
            set: pairs(&set),
            add: pairs(&add),
        };
        let original = map(&before);
        let mut edited = original.clone();
        edits.apply(&mut edited);
        let untouched = |map: &HeaderMap| -> Vec<(String, String)> {
            let lines = lines(map).into_iter();
            let lines = lines.filter(|(key, value)| !remove.contains(key) && *key != "c" && *value != "added");
            lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        prop_assert_eq!(untouched(&original), untouched(&edited));
        for key in remove {
            prop_assert!(!edited.contains_key(key));
        }
        if !set.is_empty() {
            prop_assert_eq!(edited.get_all("c").iter().collect::<Vec<_>>(), ["set"]);
        }
        prop_assert_eq!(edited.get_all("d").iter().filter(|value| *value == "added").count(), add.len());
    }
}
