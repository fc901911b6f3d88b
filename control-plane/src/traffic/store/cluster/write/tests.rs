use std::sync::Arc;

use serde_json::json;

use super::super::testing::{Server, api, weights};
use super::*;
use crate::traffic::Record;
use crate::traffic::store::Store as _;

struct World {
    server: Server,
    store: Arc<ClusterStore>,
}

impl World {
    fn new() -> Self {
        let server = Server::default();
        Self { store: server.store(), server }
    }

    async fn write(&self, v1: u32, v2: u32, take_over: bool) -> Result<Arc<Record>, StoreError> {
        let store = Arc::clone(&self.store);
        let author = Author { who: "loopback 127.0.0.1".to_owned(), at: SystemTime::UNIX_EPOCH };
        let write = move || match take_over {
            true => store.take_over(&api(), &weights(v1, v2), None, &author),
            false => store.set(&api(), &weights(v1, v2), None, &author),
        };
        tokio::task::spawn_blocking(write).await.unwrap()
    }

    async fn set(&self, v1: u32, v2: u32) -> u64 {
        self.write(v1, v2, false).await.unwrap().split.version
    }

    async fn take_over(&self, v1: u32, v2: u32) -> u64 {
        self.write(v1, v2, true).await.unwrap().split.version
    }

    /// Why a write was refused.
    async fn refused(&self, take_over: bool) -> String {
        match self.write(1, 1, take_over).await {
            Err(StoreError::Foreign(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    /// `ACTION REASON` of what was done last.
    async fn last(&self) -> String {
        let store = Arc::clone(&self.store);
        let audit = tokio::task::spawn_blocking(move || store.audit(&api(), 1)).await.unwrap().unwrap();
        format!("{} {}", audit[0].action, audit[0].reason)
    }
}

/// As `kubectl edit` does.
fn edit_weight(route: &mut serde_json::Value) {
    route["spec"]["rules"][0]["backendRefs"][0]["weight"] = json!(30);
}

#[tokio::test]
async fn what_another_tool_changed_is_refused_until_it_is_taken_over() {
    let world = World::new();
    assert_eq!(world.set(90, 10).await, 1);
    world.server.edit("kubectl-edit", edit_weight);
    let why = world.refused(false).await;
    for part in ["conflict with \"kubectl-edit\"", ".spec.rules", "weft traffic set api -n shop --take-over"] {
        assert!(why.contains(part), "{part} is missing in {why}");
    }
    assert_eq!((world.server.weights(), world.last().await), (vec![30, 10], "set ".to_owned()));

    assert_eq!(world.take_over(50, 50).await, 3);
    assert_eq!((world.server.weights(), world.server.forced()), (vec![50, 50], 1));
    let last = world.last().await;
    assert!(last.starts_with("take-over taken from another tool: "), "{last}");
    assert!(last.contains("\"kubectl-edit\"") && !last.contains('\n'), "{last}");
    assert!(world.server.record().get("pending").is_none());

    assert_eq!(world.set(1, 1).await, 4, "it is ours again");
}

#[tokio::test]
async fn where_nothing_is_in_the_way_a_take_over_is_a_write_like_others() {
    let world = World::new();
    assert_eq!(world.take_over(90, 10).await, 1);
    assert_eq!(world.take_over(80, 20).await, 2);
    assert_eq!((world.server.forced(), world.last().await), (0, "set ".to_owned()));
}

#[tokio::test]
async fn a_route_that_is_no_split_is_never_taken_over() {
    let world = World::new();
    let by_hand = json!({
        "parentRefs": [{"group": "", "kind": "Service", "name": "api"}],
        "rules": [{"backendRefs": [{"name": "api-v2", "port": 80, "weight": 7}]}],
    });
    world.server.edit("kubectl", |route| route["spec"] = by_hand);
    let why = world.refused(true).await;
    assert!(why.contains("is somebody else's (it has no label weft.dev/split)"), "{why}");
    assert_eq!((world.server.weights(), world.server.forced()), (vec![7], 0));
}

#[tokio::test]
async fn a_split_that_became_more_by_hand_is_not_taken_over() {
    let world = World::new();
    world.set(90, 10).await;
    world.server.edit("kubectl-edit", |route| route["spec"]["rules"][0]["timeouts"] = json!({"request": "1s"}));
    let why = world.refused(true).await;
    assert!(why.contains("its rule has timeouts"), "{why}");
    assert_eq!((world.server.weights(), world.server.forced()), (vec![90, 10], 0));
}

#[tokio::test]
async fn no_force_is_used_on_what_was_not_read() {
    let world = World::new();
    let ported = weights(1, 1).map(|to| (to, 80));
    let new = NewRoute::new(&api(), &ported, None, 0);
    world.server.edit("kubectl", |route| route["spec"] = json!({"rules": []}));
    let applied = world.store.apply(&api(), &new, Manner { dry_run: false, force: true }).await;
    assert!(matches!(applied, Err(Failure::Owned(_))), "{applied:?}");
}

#[tokio::test]
async fn a_change_in_between_is_read_again_before_it_is_taken_over() {
    let world = World::new();
    world.set(90, 10).await;
    world.server.edit("kubectl-edit", edit_weight);
    let known = world.store.route(&api()).await.unwrap().unwrap();
    let known = read_route(&known).unwrap();
    world
        .server
        .edit("kubectl-edit", |route| route["spec"]["rules"][0]["filters"] = json!([{"type": "RequestMirror"}]));
    let new = NewRoute::new(&api(), &weights(1, 1).map(|to| (to, 80)), Some(&known), 0);
    let applied = world.store.apply(&api(), &new, Manner { dry_run: false, force: true }).await;
    assert!(matches!(applied, Err(Failure::Moved)), "{applied:?}");
}
