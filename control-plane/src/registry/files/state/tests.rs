use std::sync::Arc;

use super::*;

fn pod(name: &str, address: &str) -> String {
    format!("---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nstatus: {{podIP: {address}}}\n")
}

fn pods(state: &FileState) -> Vec<String> {
    let (manifests, _) = merge([("a.yaml", state)].into_iter());
    manifests.pods.values().map(|pod| format!("{} {}", pod.name.name, pod.addresses[0])).collect()
}

fn read(text: &str, old: &FileState) -> FileState {
    FileState::read("a.yaml", text, old)
}

#[test]
fn what_did_not_change_is_the_same_value() {
    let arc = |state: &FileState, name: &str| {
        let (manifests, _) = merge([("a.yaml", state)].into_iter());
        manifests.pods.get(&ObjectName::new("default", name)).cloned().unwrap()
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
    let unreadable = FileState::unreadable(broken.faults[0].clone(), broken);
    assert_eq!(pods(&unreadable), ["a 10.0.0.1", "b 10.0.0.3"]);
}

#[test]
fn an_object_in_two_places_is_a_fault_that_names_both() {
    let first = FileState::read("a.yaml", &pod("a", "10.0.0.1"), &FileState::default());
    let second = FileState::read("b.yaml", &(pod("b", "10.0.0.2") + &pod("a", "10.0.0.3")), &FileState::default());
    let (manifests, faults) = merge([("a.yaml", &first), ("b.yaml", &second)].into_iter());
    assert_eq!(manifests.pods.len(), 2);
    assert_eq!(
        faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["b.yaml:7: metadata.name: Pod default/a is in b.yaml:7 and in a.yaml:1; the latter is in force"]
    );
    let same = read(&(pod("a", "10.0.0.1") + &pod("a", "10.0.0.2")), &FileState::default());
    assert_eq!((pods(&same), same.faults.len()), (vec!["a 10.0.0.1".to_owned()], 1));
}
