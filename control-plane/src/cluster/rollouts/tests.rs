use std::time::SystemTime;

use super::*;
use crate::mesh::testing::{split, split_mesh};
use crate::registry::testing::{DEMO, good};
use crate::traffic::rollout::Board;
use crate::traffic::{Record, Splits, rollout};

fn api() -> ObjectName {
    ObjectName::new("shop", "api")
}

fn held(digest: u64, proxies: u32, current: u32) -> Held {
    Held { digest, proxies, current }
}

fn counted(proxies: u32, current: u32) -> Rollout {
    Rollout { proxies, current, silent_replicas: vec![] }
}

/// Replicas that told of one Service, or of none.
fn replicas(told: &[(&str, Option<Held>)]) -> Replicas {
    let replica = |held: Option<Held>| {
        let rollouts: Rollouts = held.into_iter().map(|held| (api(), held)).collect();
        Replica { told: Some(Arc::new(rollouts)), is_silent: false }
    };
    told.iter().map(|(pod, held)| (Arc::from(*pod), replica(*held))).collect()
}

#[test]
fn a_replica_with_other_routes_has_no_current_proxies() {
    let same = held(7, 3, 2);
    assert_eq!(add(7, (1, 1), &same), (3, 4));
    assert_eq!(add(8, (1, 1), &same), (1, 4));
}

#[test]
fn what_is_told_is_read_as_it_was() {
    let rollouts = Rollouts::from([(api(), held(u64::MAX, 3, 2)), (ObjectName::new("shop", "web"), Held::default())]);
    assert_eq!(decode(&encode(&rollouts)).unwrap(), rollouts);
}

#[test]
fn people_read_the_proxies_of_all_replicas() {
    let theirs = replicas(&[("b", Some(held(7, 3, 2))), ("c", Some(held(7, 0, 0))), ("d", Some(held(6, 4, 4)))]);
    let all = sum(counted(2, 2), Some(7), &api(), &theirs);
    assert_eq!(all, counted(9, 4), "d has the routes of before");
    assert_eq!(sum(counted(2, 0), None, &api(), &theirs).current, 0, "the split is not published here yet");
}

#[test]
fn who_has_not_told_is_named_instead_of_counted_as_none() {
    let mut theirs = replicas(&[("b", None), ("c", Some(held(6, 0, 0))), ("d", Some(held(7, 5, 5)))]);
    theirs.insert("e".into(), Replica::default());
    theirs.insert("f".into(), Replica { is_silent: true, ..theirs["d"].clone() });
    let all = sum(counted(1, 1), Some(7), &api(), &theirs);
    assert_eq!((all.proxies, all.current), (6, 6));
    assert_eq!(all.silent_replicas, ["b", "c", "e", "f"]);
}

#[tokio::test]
async fn watchers_learn_what_another_replica_tells() {
    let split = split("api", &[("api-v1", 0, 1)]);
    let publisher = Arc::new(Publisher::new(split_mesh(good(DEMO), std::slice::from_ref(&split)), Arc::default()));
    let digest = publisher.route_digest(&api());
    let (told, theirs) = watch::channel(Arc::new(Replicas::from([("b".into(), Replica::default())])));
    let peers = Arc::new(PeerRollouts { ours: watch::Sender::default(), theirs });
    let record = Arc::new(Record { updated_at: SystemTime::UNIX_EPOCH, split: Arc::new(split) });
    let (splits, stored) = watch::channel(Arc::new(Splits::from([(api(), record)])));
    let (board, mut seen) = watch::channel(Arc::<Board>::default());
    let tracked = tokio::spawn(rollout::Rollouts::new(publisher, Some(peers)).track(stored, board));

    let shown = |board: &Arc<Board>| board.get(&api()).map(|entry| entry.rollout.clone());
    let silent = Rollout { silent_replicas: vec!["b".to_owned()], ..Rollout::default() };
    seen.wait_for(|board| shown(board).as_ref() == Some(&silent)).await.unwrap();
    told.send_replace(Arc::new(replicas(&[("b", Some(held(digest, 2, 1)))])));
    seen.wait_for(|board| shown(board) == Some(counted(2, 1))).await.unwrap();
    drop(splits);
    tracked.await.unwrap();
}
