use std::sync::Arc;

use super::*;

fn pod(name: &str, address: &str) -> String {
    format!("---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nstatus: {{podIP: {address}}}\n")
}

/// Files, and what they say together.
fn merged(files: &[(&str, &FileState)]) -> Merged {
    let mut merged = Merged::default();
    for (name, state) in files {
        merged.put(name, FileState { objects: state.objects.clone(), faults: state.faults.clone() });
    }
    merged
}

fn pods(state: &FileState) -> Vec<String> {
    let merged = merged(&[("a.yaml", state)]);
    merged.manifests().pods.values().map(|pod| format!("{} {}", pod.name.name, pod.addresses[0])).collect()
}

fn read(text: &str, old: &FileState) -> FileState {
    FileState::read("a.yaml", text, old)
}

#[test]
fn what_did_not_change_is_the_same_value() {
    let arc = |state: &FileState, name: &str| {
        merged(&[("a.yaml", state)]).manifests().pods.get(&ObjectName::new("default", name)).cloned().unwrap()
    };
    let old = read(&(pod("a", "10.0.0.1") + &pod("b", "10.0.0.2")), &FileState::default());
    let new = read(&(pod("b", "10.0.0.3") + "# comment\n" + &pod("a", "10.0.0.1")), &old);
    assert!(Arc::ptr_eq(&arc(&old, "a"), &arc(&new, "a")));
    assert_eq!(pods(&new), ["a 10.0.0.1", "b 10.0.0.3"]);
}

#[test]
fn the_last_good_state_of_an_object_stays() {
    let good = read(&(pod("a", "10.0.0.1") + &pod("b", "10.0.0.2")), &FileState::default());
    let bad = read(&(pod("a", "10.0.0") + &pod("b", "10.0.0.9")), &good);
    assert_eq!(pods(&bad), ["a 10.0.0.1", "b 10.0.0.9"]);
    let fault = bad.faults[0].to_string();
    let expected = "a.yaml:6: status.podIP: \"10.0.0\" is not an IP address; its last good state stays in force";
    assert_eq!(fault, expected);
    let worse = read(&(pod("a", "x") + &pod("b", "10.0.0.9")), &bad);
    assert_eq!(pods(&worse), ["a 10.0.0.1", "b 10.0.0.9"]);
    let healed = read(&pod("a", "10.0.0.7"), &worse);
    assert_eq!((pods(&healed), healed.faults.len()), (vec!["a 10.0.0.7".to_owned()], 0));
}

#[test]
fn an_object_that_was_never_good_is_left_out() {
    let state = read(&(pod("a", "x") + &pod("b", "10.0.0.2")), &FileState::default());
    assert_eq!(pods(&state), ["b 10.0.0.2"]);
    assert!(state.faults[0].message.ends_with("; the object is left out"), "{:?}", state.faults);
}

#[test]
fn a_document_that_nobody_recognizes_takes_nothing_away() {
    let good = read(&(pod("a", "10.0.0.1") + &pod("b", "10.0.0.2")), &FileState::default());
    let broken = read(&("---\nkind: [\n".to_owned() + &pod("b", "10.0.0.3")), &good);
    assert_eq!(pods(&broken), ["a 10.0.0.1", "b 10.0.0.3"]);
    assert!(broken.faults[0].message.contains("what the file said before stays in force"), "{:?}", broken.faults);
    let unreadable = FileState::unreadable(broken.faults[0].clone(), &broken);
    assert_eq!(pods(&unreadable), ["a 10.0.0.1", "b 10.0.0.3"]);
}

#[test]
fn an_object_in_two_places_is_a_fault_that_names_both() {
    let first = FileState::read("a.yaml", &pod("a", "10.0.0.1"), &FileState::default());
    let second = FileState::read("b.yaml", &(pod("b", "10.0.0.2") + &pod("a", "10.0.0.3")), &FileState::default());
    let mut both = merged(&[("b.yaml", &second), ("a.yaml", &first)]);
    assert_eq!(both.manifests().pods.len(), 2);
    let address = |merged: &Merged| merged.manifests().pods.get(&ObjectName::new("default", "a")).unwrap().addresses[0];
    assert_eq!(address(&both).to_string(), "10.0.0.1");
    assert_eq!(
        both.faults().iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["b.yaml:7: metadata.name: Pod default/a is in b.yaml:7 and in a.yaml:1; the latter is in force"]
    );
    // What comes before it is gone: the other one is in force.
    both.remove("a.yaml");
    assert_eq!((address(&both).to_string(), both.faults()), ("10.0.0.3".to_owned(), vec![]));
    assert_eq!(**both.origins().get("Pod default/a").unwrap(), ("b.yaml".into(), 7));
    both.remove("b.yaml");
    assert!(both.manifests().pods.is_empty() && both.origins().is_empty() && both.holders.is_empty());
    let same = read(&(pod("a", "10.0.0.1") + &pod("a", "10.0.0.2")), &FileState::default());
    assert_eq!((pods(&same), same.faults.len()), (vec!["a 10.0.0.1".to_owned()], 1));
}

proptest::proptest! {
    /// Whatever came and went before: what the files say together is what they say when read at once.
    #[test]
    fn the_way_does_not_matter(
        steps in proptest::collection::vec((0usize..3, proptest::option::of(proptest::collection::vec(0u8..6, 0..4))), 1..12),
    ) {
        let names = ["a.yaml", "b.yaml", "c.yaml"];
        let mut merged_slowly = Merged::default();
        let mut last = BTreeMap::new();
        for (file, pods) in steps {
            let text: Option<String> =
                pods.map(|pods| pods.iter().map(|pod_| pod(&format!("p{pod_}"), &format!("10.0.{file}.{}", pod_ + 1))).collect());
            match text {
                Some(text) => {
                    let old = FileState::default();
                    merged_slowly.put(names[file], FileState::read(names[file], &text, merged_slowly.file(names[file]).unwrap_or(&old)));
                    last.insert(names[file], text);
                }
                None => {
                    merged_slowly.remove(names[file]);
                    last.remove(names[file]);
                }
            }
        }
        let mut at_once = Merged::default();
        for (name, text) in last {
            at_once.put(name, FileState::read(name, &text, &FileState::default()));
        }
        proptest::prop_assert_eq!(merged_slowly.manifests(), at_once.manifests());
        proptest::prop_assert_eq!(merged_slowly.origins(), at_once.origins());
        proptest::prop_assert_eq!(merged_slowly.faults(), at_once.faults());
    }
}
