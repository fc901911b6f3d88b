use super::*;

fn seen(written: u64, proxies: u32, current: u32, issued: u64) -> Seen {
    Seen {
        written,
        version: written,
        rollout: api::Rollout { proxies, current, silent_replicas: vec![] },
        reporting: Reporting { expected: proxies, fresh: proxies },
        figures: Figures { issued, ..Figures::default() },
        recent: Figures::default(),
    }
}

fn others(theirs: &[(&str, Option<Seen>)]) -> watch::Receiver<Arc<Others>> {
    let sightings = |seen: &Seen| Arc::new(Sightings::from([(api(), seen.clone())]));
    let theirs = theirs.iter().map(|(name, seen)| (Arc::from(*name), seen.as_ref().map(sightings))).collect();
    watch::channel(Arc::new(theirs)).1
}

fn api() -> ObjectName {
    ObjectName::new("shop", "api")
}

#[test]
fn what_replicas_see_of_one_step_is_added() {
    let peers = Peers::new(others(&[("b", Some(seen(3, 2, 1, 10))), ("c", Some(seen(3, 1, 1, 5)))]));
    let all = peers.all(&api(), &seen(3, 4, 4, 20));
    assert_eq!((all.rollout.proxies, all.rollout.current, all.figures.issued), (7, 6, 35));
    assert_eq!(all.reporting, Reporting { expected: 7, fresh: 7 });
    assert!(all.rollout.silent_replicas.is_empty());
}

#[test]
fn a_replica_that_is_behind_or_silent_holds_the_step_up() {
    let peers = Peers::new(others(&[("b", Some(seen(2, 2, 2, 10))), ("c", None), ("d", Some(seen(2, 0, 0, 0)))]));
    let all = peers.all(&api(), &seen(3, 4, 4, 20));
    assert_eq!((all.rollout.proxies, all.rollout.current, all.figures.issued), (6, 4, 20));
    assert_eq!(all.rollout.silent_replicas, ["c", "d"]);
}

#[test]
fn what_is_told_is_read_as_it_was() {
    let sightings = Sightings::from([(api(), seen(3, 4, 2, 20)), (ObjectName::new("shop", "web"), Seen::default())]);
    assert_eq!(decode(&encode(&sightings)).unwrap(), sightings);
    assert!(decode("{}").is_err());
}
