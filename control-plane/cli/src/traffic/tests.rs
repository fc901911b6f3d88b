use std::pin::Pin;

use clap::Parser as _;
use futures::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use weft_api::traffic::split_event::Kind;
use weft_api::traffic::traffic_server::{Traffic, TrafficServer};
use weft_api::traffic::{
    DeleteSplitResponse, Figures, ListAuditRequest, ListAuditResponse, ListShiftsRequest, ListShiftsResponse,
    ListSplitsResponse, Reports, Rollout, Shift, ShiftRequest, Split, SplitEvent, StartShiftRequest, shift::State,
};

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
        rollout: Some(Rollout { proxies: 3, current: 2, silent_replicas: vec![] }),
    }
}

#[tonic::async_trait]
impl Traffic for OneSplit {
    async fn set_weights(&self, request: Request<SetWeightsRequest>) -> Result<Response<Split>, Status> {
        let request = request.into_inner();
        match request.expected_version {
            Some(version) if version != 4 => Err(Status::aborted(format!("shop/api has version 4, not {version}"))),
            _ if request.take_over => Ok(Response::new(Split { version: 9, ..one_split() })),
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

    async fn start_shift(&self, request: Request<StartShiftRequest>) -> Result<Response<Shift>, Status> {
        let StartShiftRequest { service, to, steps, interval, abort_if, .. } = request.into_inner();
        Ok(Response::new(Shift { service, to: format!("api-{to}"), steps, interval, abort_if, ..one_shift() }))
    }

    async fn get_shift(&self, request: Request<ShiftRequest>) -> Result<Response<Shift>, Status> {
        match request.into_inner().service.as_str() {
            "api" => Ok(Response::new(one_shift())),
            other => Err(Status::not_found(format!("Service shop/{other} has no shift"))),
        }
    }

    async fn list_shifts(&self, _: Request<ListShiftsRequest>) -> Result<Response<ListShiftsResponse>, Status> {
        Ok(Response::new(ListShiftsResponse { shifts: vec![one_shift()] }))
    }

    async fn pause_shift(&self, _: Request<ShiftRequest>) -> Result<Response<Shift>, Status> {
        Ok(Response::new(in_state(State::Paused, "")))
    }

    async fn resume_shift(&self, _: Request<ShiftRequest>) -> Result<Response<Shift>, Status> {
        Ok(Response::new(one_shift()))
    }

    async fn promote_shift(&self, _: Request<ShiftRequest>) -> Result<Response<Shift>, Status> {
        Err(Status::failed_precondition("the shift of shop/api has ended, promoted"))
    }

    async fn abort_shift(&self, _: Request<ShiftRequest>) -> Result<Response<Shift>, Status> {
        Ok(Response::new(in_state(State::RollingBack, "aborted")))
    }

    type WatchShiftStream = Pin<Box<dyn Stream<Item = Result<Shift, Status>> + Send>>;

    async fn watch_shift(&self, request: Request<ShiftRequest>) -> Result<Response<Self::WatchShiftStream>, Status> {
        let waits = in_state(State::Waiting, "12 of 20 requests so far");
        let end = match request.into_inner().service.as_str() {
            "api" => Shift { step: 2, share: 100, ..in_state(State::Promoted, "") },
            _ => in_state(State::RolledBack, "p99 is 812ms, more than 500ms"),
        };
        let shifts = [Shift { figures: None, step_seconds: 0.0, ..one_shift() }, one_shift(), waits, end];
        Ok(Response::new(Box::pin(futures::stream::iter(shifts.map(Ok)))))
    }

    async fn list_audit(&self, request: Request<ListAuditRequest>) -> Result<Response<ListAuditResponse>, Status> {
        let entry = weft_api::traffic::AuditEntry {
            time: "2026-11-23T19:00:00Z".into(),
            who: "token 10.0.0.7".into(),
            action: "shift-start".into(),
            from: vec![],
            to: one_split().backends,
            version: 4,
            reason: "to api-v2".into(),
            figures: None,
        };
        assert_eq!(request.into_inner().limit, 50);
        Ok(Response::new(ListAuditResponse { entries: vec![entry] }))
    }
}

fn one_shift() -> Shift {
    let figures = Figures { requests: 140, errors: 1, error_rate: 1.0 / 140.0, p50_ms: 4.0, p90_ms: 8.0, p99_ms: 12.5 };
    Shift {
        namespace: "shop".into(),
        service: "api".into(),
        to: "api-v2".into(),
        port: 0,
        steps: vec![10, 100],
        interval: "1m".into(),
        abort_if: "error-rate>1%,p99>500ms".into(),
        min_requests: 20,
        state: State::Running.into(),
        step: 1,
        share: 10,
        step_seconds: 12.0,
        reason: String::new(),
        figures: Some(figures),
        reports: Some(Reports { proxies: 3, fresh: 3 }),
        version: 4,
        rollout: Some(Rollout { proxies: 3, current: 3, silent_replicas: vec![] }),
        before: vec![Backend { service: "api-v1".into(), port: 0, weight: 7 }],
        started_at: "2026-11-23T19:00:00Z".into(),
        updated_at: "2026-11-23T19:00:01Z".into(),
    }
}

fn in_state(state: State, reason: &str) -> Shift {
    Shift { state: state.into(), reason: reason.into(), ..one_shift() }
}

/// Serves [`OneSplit`] and runs one command line against it.
async fn run_line(line: &str) -> (String, anyhow::Result<ExitCode>) {
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

#[test]
fn a_replica_that_tells_nothing_is_named_instead_of_counted() {
    let silent = vec!["weft-control-b".to_owned()];
    let split =
        Split { rollout: Some(Rollout { proxies: 2, current: 2, silent_replicas: silent.clone() }), ..one_split() };
    let shown = show::written(&split);
    let head = "shop/api   version 4   2 of 2 current, no word from weft-control-b   written 2026-11-23T19:00:00Z\n";
    assert!(shown.starts_with(head), "{shown}");
    assert!(shown.ends_with("follow the proxies with: weft traffic watch -n shop"), "{shown}");
    let split = Split { rollout: Some(Rollout { silent_replicas: silent, ..Rollout::default() }), ..one_split() };
    assert!(show::split(&split).contains("   no proxy asked yet, no word from weft-control-b   "));
}

#[tokio::test]
async fn a_take_over_is_asked_for() {
    let (shown, result) = run_line("set api v1=2 -n shop --take-over").await;
    result.unwrap();
    assert!(shown.contains("version 9"), "{shown}");
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

#[tokio::test]
async fn a_shift_is_followed_to_its_end_which_the_exit_code_tells() {
    let (shown, result) = run_line("shift api --to v2 --steps 10,100 -n shop").await;
    assert_eq!(result.unwrap(), ExitCode::SUCCESS);
    assert_eq!(
        shown,
        "shop/api: api-v2 gets 10, then 100 %, 1m each; back at once if error-rate>1%\n\
         Ctrl-C ends this view alone; the shift goes on.\n\
         step 1 of 2    10 %   running\n\
         step 1 of 2    10 %   running        12s of 1m   140 requests, 1 failed (0.7 %), p50 4 ms, p99 12.5 ms\n\
         step 1 of 2    10 %   waiting        12s of 1m   140 requests, 1 failed (0.7 %), p50 4 ms, p99 12.5 ms   12 of 20 requests so far\n\
         step 2 of 2   100 %   promoted       12s of 1m   140 requests, 1 failed (0.7 %), p50 4 ms, p99 12.5 ms\n\
         shop/api: promoted; api-v2 has 100 %\n"
    );
    let (shown, result) = run_line("shift users --to v2 -n shop").await;
    assert_eq!(result.unwrap(), ExitCode::FAILURE);
    let end = "rolled back, because p99 is 812ms, more than 500ms; as before: api-v1 100 %\n";
    assert!(shown.ends_with(end), "{shown}");
}

#[tokio::test]
async fn a_shift_as_json_is_a_line_a_turn() {
    let (shown, result) = run_line("shift status api --follow -n shop -o json").await;
    assert_eq!(result.unwrap(), ExitCode::SUCCESS);
    let shifts: Vec<Shift> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(shifts.iter().map(Shift::state).next_back(), Some(State::Promoted));
    assert!(shown.contains(r#""state":"STATE_WAITING""#), "{shown}");
}

#[tokio::test]
async fn a_detached_shift_says_how_to_follow_it() {
    let (shown, result) = run_line("shift api --to v2:8080 -n shop --detach").await;
    assert_eq!(result.unwrap(), ExitCode::SUCCESS);
    assert!(shown.ends_with("Follow it with: weft traffic shift status api -n shop --follow\n"), "{shown}");
}

#[tokio::test]
async fn the_status_of_a_shift_has_a_line_for_each_thing() {
    let (shown, _) = run_line("shift status api -n shop").await;
    assert_eq!(
        shown,
        "shift     shop/api to api-v2\n\
         state     running\n\
         step      1 of 2 (10 %) of 10, 100 %\n\
         interval  12s of 1m\n\
         proxies   3 of 3 have the step, 3 of 3 report in time\n\
         back if   error-rate>1%,p99>500ms, seen in at least 20 requests\n\
         seen      140 requests, 1 failed (0.7 %), p50 4 ms, p99 12.5 ms\n\
         before    api-v1 100 %\n\
         started   2026-11-23T19:00:00Z\n\
         changed   2026-11-23T19:00:01Z\n"
    );
    let (shown, _) = run_line("shift status").await;
    assert_eq!(
        shown,
        "NAMESPACE   SERVICE   TO       SHARE   STEP     STATE     CHANGED\n\
         shop        api       api-v2   10 %    1 of 2   running   2026-11-23T19:00:01Z\n"
    );
    let (_, result) = run_line("shift promote api -n shop").await;
    assert!(result.unwrap_err().to_string().starts_with("the shift of shop/api has ended, promoted"));
}

#[tokio::test]
async fn the_audit_trail_has_a_line_an_entry() {
    let (shown, result) = run_line("audit api -n shop").await;
    result.unwrap();
    assert_eq!(
        shown,
        "TIME                   WHO              ACTION        SPLIT                                  WHY         SEEN\n\
         2026-11-23T19:00:00Z   token 10.0.0.7   shift-start   no split -> api-v1 90 %, api-v2 10 %   to api-v2   -\n"
    );
}
