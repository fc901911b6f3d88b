use serde_json::json;

use super::super::testing::{Server, api, weights};
use super::*;
use crate::traffic::store::{Author, Store as _};

/// A split that another tool changed, and a write of before that was decided and not done.
async fn left_behind(take_over: bool) -> (Server, Arc<ClusterStore>) {
    let server = Server::default();
    let (store, author) = (server.store(), Author { who: "loopback".to_owned(), at: SystemTime::UNIX_EPOCH });
    let set = Arc::clone(&store);
    let set = move || set.set(&api(), &weights(90, 10), None, &author).map(drop);
    tokio::task::spawn_blocking(set).await.unwrap().unwrap();
    server.edit("kubectl-edit", |route| route["spec"]["rules"][0]["backendRefs"][0]["weight"] = json!(30));
    let backends = json!([{"service": "api-v1", "weight": 5}, {"service": "api-v2", "weight": 5}]);
    server.edit_record(|status| {
        status["pending"] = json!({
            "expected": 2, "version": 3, "backends": backends, "takeOver": take_over, "since": "2020-01-01T00:00:00Z",
        });
    });
    (server, store)
}

#[tokio::test]
async fn a_take_over_that_was_begun_is_finished() {
    let (server, store) = left_behind(true).await;
    store.put_in_order(&api()).await.unwrap();
    assert_eq!((server.weights(), server.forced()), (vec![5, 5], 1));
    assert!(server.record().get("pending").is_none());
}

#[tokio::test]
async fn a_write_that_was_no_take_over_is_left_where_another_tool_has_the_split() {
    let (server, store) = left_behind(false).await;
    store.put_in_order(&api()).await.unwrap();
    assert_eq!((server.weights(), server.forced()), (vec![30, 10], 0));
    assert!(server.record().get("pending").is_none());
}
