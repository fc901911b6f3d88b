use std::pin::Pin;

use clap::Parser as _;
use futures::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use weft_api::traffic::split_event::Kind;
use weft_api::traffic::traffic_server::{Traffic, TrafficServer};
use weft_api::traffic::{DeleteSplitResponse, ListSplitsResponse, Rollout, Split, SplitEvent};

use super::*;
use crate::args::{Args, Command};

/// Answers as a control plane would that holds one split of `shop/api`, version 4.
struct OneSplit;

fn one_split() -> Split {
    let backend = |service: &str, weight| Backend { service: service.into(), port: 0, weight };
    Split {
        namespace: "shop".into(),
        service: "api".into(),
        version: 4,
        backends: vec![backend("api-v1", 90), backend("api-v2", 10)],
        updated_at: "2026-11-23T19:00:00Z".into(),
        rollout: Some(Rollout { proxies: 3, current: 2 }),
    }
}

#[tonic::async_trait]
impl Traffic for OneSplit {
    async fn set_weights(&self, request: Request<SetWeightsRequest>) -> Result<Response<Split>, Status> {
        let request = request.into_inner();
        match request.expected_version {
            Some(version) if version != 4 => Err(Status::aborted(format!("shop/api has version 4, not {version}"))),
            _ => Ok(Response::new(Split { backends: request.backends, version: 5, ..one_split() })),
        }
    }

    async fn get_split(&self, request: Request<GetSplitRequest>) -> Result<Response<Split>, Status> {
        match request.metadata().get("authorization").map(|value| value.to_str()) {
            Some(Ok("Bearer s3cret")) => Ok(Response::new(one_split())),
            _ => Err(Status::unauthenticated("the call has no token")),
        }
    }

    async fn list_splits(&self, request: Request<ListSplitsRequest>) -> Result<Response<ListSplitsResponse>, Status> {
        let splits = if request.into_inner().namespace == "empty" { vec![] } else { vec![one_split()] };
        Ok(Response::new(ListSplitsResponse { splits }))
    }

    async fn delete_split(
        &self,
        request: Request<DeleteSplitRequest>,
    ) -> Result<Response<DeleteSplitResponse>, Status> {
        match request.into_inner().service.as_str() {
            "api" => Ok(Response::new(DeleteSplitResponse {})),
            other => Err(Status::not_found(format!("Service shop/{other} has no split"))),
        }
    }

    type WatchSplitsStream = Pin<Box<dyn Stream<Item = Result<SplitEvent, Status>> + Send>>;

    async fn watch_splits(&self, _: Request<WatchSplitsRequest>) -> Result<Response<Self::WatchSplitsStream>, Status> {
        let event = |kind: Kind, split| Ok(SplitEvent { kind: kind.into(), split });
        Ok(Response::new(Box::pin(futures::stream::iter([
            event(Kind::Set, Some(one_split())),
            event(Kind::Synced, None),
            event(Kind::Deleted, Some(one_split())),
        ]))))
    }
}

/// Serves [`OneSplit`] and runs one command line against it.
async fn run_line(line: &str) -> (String, anyhow::Result<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("--server=http://{}", listener.local_addr().unwrap());
    let serve = Server::builder()
        .add_service(TrafficServer::new(OneSplit))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let serve = tokio::spawn(serve);
    let args =
        Args::parse_from(["weft", "traffic"].into_iter().chain(line.split_whitespace()).chain([server.as_str()]));
    let Command::Traffic(command) = args.command else { panic!("parsed as another command") };
    let mut out = Vec::new();
    let result = run(command, &args.global, &mut out).await;
    serve.abort();
    (String::from_utf8(out).unwrap(), result)
}

#[tokio::test]
async fn set_shows_what_was_written_and_how_to_follow_it() {
    let (shown, result) = run_line("set api v1=2 v2:8080=1 -n shop").await;
    result.unwrap();
    assert_eq!(
        shown,
        "shop/api   version 5   2 of 3 current   written 2026-11-23T19:00:00Z\n\
         BACKEND   PORT         WEIGHT   SHARE\n\
         v1        as dialled   2        66.7 %\n\
         v2        8080         1        33.3 %\n\
         The write is durable; follow the proxies with: weft traffic watch -n shop\n"
    );
}

#[tokio::test]
async fn a_stale_write_fails_with_the_next_step() {
    let (shown, result) = run_line("set api v1=1 -n shop --expect-version 3").await;
    assert_eq!(shown, "");
    let message = result.unwrap_err().to_string();
    assert!(message.starts_with("shop/api has version 4, not 3\nnext: "), "{message}");
    assert!(message.contains("weft traffic get api -n shop"), "{message}");
}

#[tokio::test]
async fn get_sends_the_token_of_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "s3cret\n").unwrap();
    let (shown, result) = run_line(&format!("get api -n shop -o json --token-file {}", file.path().display())).await;
    result.unwrap();
    let split: Split = serde_json::from_str(&shown).unwrap();
    assert_eq!(split, one_split());

    let (_, result) = run_line("get api -n shop").await;
    assert!(result.unwrap_err().to_string().contains("--token-file"));
}

#[tokio::test]
async fn list_has_a_line_for_each_split() {
    let (shown, result) = run_line("list").await;
    result.unwrap();
    assert_eq!(
        shown,
        "NAMESPACE   SERVICE   VERSION   SPLIT                      PROXIES          WRITTEN\n\
         shop        api       4         api-v1 90 %, api-v2 10 %   2 of 3 current   2026-11-23T19:00:00Z\n"
    );
    let (shown, result) = run_line("list -n empty").await;
    result.unwrap();
    assert!(shown.starts_with("No splits."), "{shown}");
}

#[tokio::test]
async fn delete_says_who_answers_now() {
    let (shown, result) = run_line("delete api -n shop").await;
    result.unwrap();
    assert_eq!(shown, "shop/api has no split any more: its own endpoints answer\n");
}

#[tokio::test]
async fn where_a_split_is_missing_those_that_exist_are_named() {
    let (_, result) = run_line("delete user -n shop").await;
    let message = result.unwrap_err().to_string();
    assert!(
        message.starts_with("Service shop/user has no split\n  splits in shop: api\nnext: check the name"),
        "{message}"
    );
}

#[tokio::test]
async fn watch_prints_an_event_a_line_and_says_when_it_ends() {
    let (shown, result) = run_line("watch").await;
    assert!(result.unwrap_err().to_string().starts_with("the control plane ended the watch"));
    assert_eq!(shown, "shop/api   version 4   api-v1 90 %, api-v2 10 %   2 of 3 current\nshop/api   deleted\n");

    let (shown, _) = run_line("watch -o json").await;
    let kinds: Vec<serde_json::Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kinds.len(), 3);
    assert_eq!(kinds[1], serde_json::json!({ "kind": "KIND_SYNCED" }));
    assert_eq!(kinds[2]["split"]["backends"][0]["service"], "api-v1");
}

#[tokio::test]
async fn a_refused_connection_says_how_to_name_a_server() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let args = Args::parse_from(["weft", "traffic", "list", &format!("--server={unused}")]);
    let Command::Traffic(command) = args.command else { panic!("parsed as another command") };
    let message = run(command, &args.global, &mut Vec::new()).await.unwrap_err().to_string();
    assert!(
        message.starts_with(&format!("cannot reach the control plane at http://{unused}: Connection refused")),
        "{message}"
    );
    assert!(message.contains("WEFT_SERVER"), "{message}");
}
