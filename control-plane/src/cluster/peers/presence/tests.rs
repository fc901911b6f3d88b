use super::super::{Report, Told};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn alive(pods: &[&str]) -> BTreeSet<Arc<str>> {
    pods.iter().map(|pod| Arc::from(*pod)).collect()
}

fn reports(beats: &[(&str, &str)]) -> Reports {
    let told = |beat: &str| Told { report: Report::default(), beat: beat.to_owned() };
    beats.iter().map(|(pod, beat)| ((*pod).to_owned(), told(beat))).collect()
}

#[test]
fn who_is_alive_and_never_told_anything_is_still_known_of() {
    let (mut presence, now) = (Presence::default(), Instant::now());
    let (others, replicas) = presence.look(now, alive(&["b"]), &reports(&[]));
    assert_eq!((others.get("b"), replicas.get("b")), (Some(&None), Some(&Replica::default())));
    let (others, replicas) = presence.look(now + PATIENCE, alive(&["b"]), &reports(&[]));
    assert!(others.is_empty(), "shifts go on without it");
    assert!(replicas["b"].is_silent && replicas["b"].told.is_none());
}

#[test]
fn who_was_heard_of_and_is_no_more_is_silent_until_the_next_word() {
    let (mut presence, now) = (Presence::default(), Instant::now());
    let pods = || alive(&["b"]);
    assert!(!presence.look(now, pods(), &reports(&[("b", "1")])).1["b"].is_silent);
    let late = now + PATIENCE - SECOND;
    assert!(!presence.look(late, pods(), &reports(&[("b", "1")])).1["b"].is_silent);
    let (others, replicas) = presence.look(now + PATIENCE, pods(), &reports(&[("b", "1")]));
    assert!(replicas["b"].is_silent && replicas["b"].told.is_some());
    assert!(others["b"].is_some(), "shifts are judged by what it told last");
    assert!(!presence.look(now + PATIENCE, pods(), &reports(&[("b", "2")])).1["b"].is_silent);
}

#[test]
fn who_is_gone_is_forgotten() {
    let (mut presence, now) = (Presence::default(), Instant::now());
    presence.look(now, alive(&["b", "c"]), &reports(&[("b", "1")]));
    let (others, replicas) = presence.look(now, alive(&["c"]), &reports(&[("b", "1")]));
    assert_eq!((others.len(), replicas.len()), (1, 1));
    assert!(!presence.look(now + PATIENCE, alive(&["b"]), &reports(&[("b", "1")])).1["b"].is_silent, "it came anew");
}
