//! Guarded shifts as people drive them, with proxies that report.

use std::time::Duration;

use serde_json::json;
use tonic::{Code, Streaming};
use weft_api::traffic::shift::State;
use weft_api::traffic::{
    Backend, GetSplitRequest, ListAuditRequest, ListShiftsRequest, SetWeightsRequest, Shift, ShiftRequest,
    StartShiftRequest,
};
use weft_api::xds::ResourceKind::RouteConfiguration;
use weft_certs::identity::WorkloadIdentity;

use crate::support::discovery::Delta;
use crate::support::load::Reports;
use crate::support::{Control, Folders, LONG, WEB_TOKEN, http, json_line, lines};

const SHIFT: &str = "/v1/namespaces/shop/services/api/shift";

fn flags() -> [String; 1] {
    ["--load-report-interval=200ms".to_owned()]
}

fn start() -> StartShiftRequest {
    StartShiftRequest {
        namespace: "shop".to_owned(),
        service: "api".to_owned(),
        to: "v2".to_owned(),
        steps: vec![10, 100],
        interval: "100ms".to_owned(),
        ..StartShiftRequest::default()
    }
}

fn api() -> ShiftRequest {
    ShiftRequest { namespace: "shop".to_owned(), service: "api".to_owned() }
}

async fn set(control: &Control, v1: i64, v2: i64) {
    let backend = |(service, weight): (&str, i64)| Backend { service: service.to_owned(), port: 0, weight };
    let backends = [("api-v1", v1), ("api-v2", v2)].map(backend).to_vec();
    let (namespace, service) = ("shop".to_owned(), "api".to_owned());
    let request = SetWeightsRequest { namespace, service, backends, expected_version: None, take_over: false };
    control.traffic().await.set_weights(request).await.unwrap();
}

/// The weights in force; none: no split.
async fn weights(control: &Control) -> Vec<(String, i64)> {
    let request = GetSplitRequest { namespace: "shop".to_owned(), service: "api".to_owned() };
    match control.traffic().await.get_split(request).await {
        Ok(split) => split.into_inner().backends.into_iter().map(|b| (b.service, b.weight)).collect(),
        Err(status) => {
            assert_eq!(status.code(), Code::NotFound);
            vec![]
        }
    }
}

fn pairs(pairs: &[(&str, i64)]) -> Vec<(String, i64)> {
    pairs.iter().map(|(service, weight)| ((*service).to_owned(), *weight)).collect()
}

/// The proxy of `web`: it holds the routes of `api` and reports.
struct Web {
    routes: Delta,
    reports: Reports,
}

impl Web {
    async fn connect(control: &Control, identity: &WorkloadIdentity) -> Self {
        let mut routes = Delta::open(control, identity, "web").await;
        routes.subscribe(RouteConfiguration, &["shop/api:80"]);
        routes.acked().await;
        let mut reports = Reports::open(control, Some(identity), "web.shop").await.unwrap();
        reports.answer().await.unwrap();
        Self { routes, reports }
    }

    async fn new(control: &Control) -> Self {
        Self::connect(control, &control.join("web", WEB_TOKEN).await).await
    }

    /// Takes new routes and reports so many requests, until the shift is as wanted.
    async fn until(
        &mut self,
        shifts: &mut Streaming<Shift>,
        all: u64,
        failed: u64,
        wanted: impl Fn(&Shift) -> bool,
    ) -> Shift {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        let deadline = tokio::time::Instant::now() + LONG;
        let mut latest = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => panic!("it never came to that: {latest:?}"),
                response = self.routes.receive() => self.routes.answer(&response.unwrap(), None),
                _ = tick.tick() => self.reports.send("shop/api-v2:80", all, failed),
                shift = shifts.message() => {
                    let shift = shift.unwrap().unwrap_or_else(|| panic!("the watch ended: {latest:?}"));
                    if wanted(&shift) {
                        return shift;
                    }
                    latest = Some(shift);
                }
            }
        }
    }
}

async fn watch(control: &Control) -> Streaming<Shift> {
    control.traffic().await.watch_shift(api()).await.unwrap().into_inner()
}

async fn audit(control: &Control) -> Vec<String> {
    let request = ListAuditRequest { namespace: "shop".to_owned(), service: "api".to_owned(), limit: 0 };
    let entries = control.traffic().await.list_audit(request).await.unwrap().into_inner().entries;
    entries.into_iter().rev().map(|entry| format!("{} {}", entry.who, entry.action)).collect()
}

#[tokio::test]
async fn a_good_backend_gets_everything() {
    let control = Control::start_with(Folders::new(), &flags()).await;
    set(&control, 9, 0).await;
    let mut web = Web::new(&control).await;
    let begun = control.traffic().await.start_shift(start()).await.unwrap().into_inner();
    assert_eq!((begun.state(), begun.to.as_str(), begun.step, begun.share), (State::Running, "api-v2", 1, 10));
    assert_eq!((begun.abort_if.as_str(), begun.min_requests, begun.version), ("error-rate>1%", 20, 2));
    assert_eq!(weights(&control).await, pairs(&[("api-v1", 90), ("api-v2", 10)]));
    let mut shifts = watch(&control).await;
    web.until(&mut shifts, 10, 0, |shift| shift.step == 2).await;
    assert_eq!(weights(&control).await, pairs(&[("api-v1", 0), ("api-v2", 100)]));
    let done = web.until(&mut shifts, 10, 0, |shift| shift.state() == State::Promoted).await;
    assert!(done.figures.unwrap().requests >= 20);
    assert!(shifts.message().await.unwrap().is_none(), "the watch ends with the shift");
    assert_eq!(
        audit(&control).await,
        [
            "loopback 127.0.0.1 set",
            "loopback 127.0.0.1 shift-start",
            "weft-control shift-step",
            "weft-control shift-end"
        ]
    );
    set(&control, 1, 1).await;
}

#[tokio::test]
async fn a_bad_backend_is_left_and_no_split_is_as_there_was_none() {
    let control = Control::start_with(Folders::new(), &flags()).await;
    let mut web = Web::new(&control).await;
    let request = StartShiftRequest { interval: "1h".to_owned(), abort_if: "error-rate>5%".to_owned(), ..start() };
    control.traffic().await.start_shift(request).await.unwrap();
    assert_eq!(weights(&control).await, pairs(&[("api", 90), ("api-v2", 10)]));
    let mut shifts = watch(&control).await;
    let ended = web.until(&mut shifts, 10, 1, |shift| shift.state() == State::RolledBack).await;
    assert!(ended.reason.starts_with("error-rate is 10 %"), "{ended:?}");
    assert_eq!((ended.version, ended.before.len()), (0, 0));
    assert_eq!(weights(&control).await, []);
    assert_eq!(audit(&control).await.last().unwrap(), "weft-control shift-end");
    assert!(audit(&control).await.contains(&"weft-control shift-rollback".to_owned()));
}

#[tokio::test]
async fn it_waits_while_there_is_too_little_traffic_and_goes_on_with_a_word() {
    let control = Control::start_with(Folders::new(), &flags()).await;
    set(&control, 3, 1).await;
    let mut web = Web::new(&control).await;
    let mut traffic = control.traffic().await;
    traffic.start_shift(start()).await.unwrap();
    let mut shifts = watch(&control).await;
    let waits = web.until(&mut shifts, 0, 0, |shift| shift.state() == State::Waiting).await;
    assert_eq!((waits.step, waits.reason.as_str()), (1, "0 of 20 requests so far"));

    let refused = traffic.start_shift(start()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("a shift to api-v2 is running at 10 %"), "{refused:?}");
    assert_eq!(traffic.pause_shift(api()).await.unwrap().into_inner().state(), State::Paused);
    assert_eq!(traffic.pause_shift(api()).await.unwrap_err().code(), Code::FailedPrecondition);
    let shifted = traffic.resume_shift(api()).await.unwrap().into_inner();
    assert_eq!(shifted.state(), State::Running);
    assert_eq!(traffic.promote_shift(api()).await.unwrap().into_inner().state(), State::Promoted);
    assert_eq!(weights(&control).await, pairs(&[("api-v1", 0), ("api-v2", 100)]));
    assert_eq!(traffic.abort_shift(api()).await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn an_aborted_shift_puts_back_exactly_what_was() {
    let control = Control::start_with(Folders::new(), &flags()).await;
    set(&control, 700, 3).await;
    let mut web = Web::new(&control).await;
    let mut traffic = control.traffic().await;
    traffic.start_shift(start()).await.unwrap();
    let aborted = traffic.abort_shift(api()).await.unwrap().into_inner();
    assert_eq!((aborted.state(), aborted.reason.as_str()), (State::RollingBack, "aborted"));
    assert_eq!(weights(&control).await, pairs(&[("api-v1", 700), ("api-v2", 3)]));
    let mut shifts = watch(&control).await;
    web.until(&mut shifts, 0, 0, |shift| shift.state() == State::RolledBack).await;
}

#[tokio::test]
async fn a_restart_goes_on_at_the_same_step() {
    let control = Control::start_with(Folders::new(), &flags()).await;
    let mut web = Web::new(&control).await;
    let request = StartShiftRequest { steps: vec![10, 20, 100], ..start() };
    control.traffic().await.start_shift(request).await.unwrap();
    let mut shifts = watch(&control).await;
    web.until(&mut shifts, 10, 0, |shift| shift.step == 2).await;
    let identity = control.join("web", WEB_TOKEN).await;
    drop(web);
    control.app.stop().await;
    let control = Control::start_with(control.folders, &flags()).await;
    let shift = control.traffic().await.get_shift(api()).await.unwrap().into_inner();
    assert_eq!((shift.state(), shift.step, shift.figures.unwrap().requests), (State::Running, 2, 0));
    assert_eq!(weights(&control).await, pairs(&[("api", 80), ("api-v2", 20)]));
    let mut web = Web::connect(&control, &identity).await;
    let mut shifts = watch(&control).await;
    web.until(&mut shifts, 10, 0, |shift| shift.state() == State::Promoted).await;
    let all = control.traffic().await.list_shifts(ListShiftsRequest::default()).await.unwrap().into_inner().shifts;
    assert_eq!(all.len(), 1);
}

#[tokio::test]
async fn what_is_wrong_is_named_by_field() {
    let control = Control::start().await;
    let mut traffic = control.traffic().await;
    let wrong = StartShiftRequest {
        steps: vec![50, 5],
        interval: "1ms".to_owned(),
        abort_if: "latency>1s".to_owned(),
        min_requests: Some(0),
        ..start()
    };
    let error = traffic.start_shift(wrong).await.unwrap_err();
    for field in ["steps: 50, 5 do not rise", "interval: ", "abort_if: ", "min_requests: "] {
        assert!(error.message().contains(field), "{field}: {error:?}");
    }
    let nobody = traffic.start_shift(StartShiftRequest { to: "v9".to_owned(), ..start() }).await.unwrap_err();
    assert_eq!(nobody.code(), Code::NotFound);
    let port = traffic.start_shift(StartShiftRequest { port: 81, ..start() }).await.unwrap_err();
    assert!(port.message().starts_with("port: "), "{port:?}");
    set(&control, 0, 1).await;
    let everything = traffic.start_shift(start()).await.unwrap_err();
    assert_eq!(everything.code(), Code::FailedPrecondition);
    assert_eq!(traffic.get_shift(api()).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn the_same_as_json() {
    let control = Control::start_with(Folders::new(), &flags()).await;
    let address = control.app.addresses().api;
    let body = r#"{"to": "v2", "steps": [5, 50], "interval": "1m", "abort_if": "p99>500ms", "min_requests": 7}"#;
    let begun = http(address, &format!("PUT {SHIFT}"), &[], body).await;
    assert_eq!(begun.status, 200, "{begun:?}");
    let begun = begun.json();
    assert_eq!(
        (&begun["state"], &begun["steps"], &begun["min_requests"]),
        (&json!("STATE_RUNNING"), &json!([5, 50]), &json!(7))
    );
    let split = http(
        address,
        "PUT /v1/namespaces/shop/services/api/split",
        &[],
        r#"{"backends": [{"service": "v1", "weight": 1}]}"#,
    )
    .await;
    assert_eq!((split.status, &split.json()["error"]["code"]), (400, &json!("FAILED_PRECONDITION")));
    let mut shifts = lines(address, &format!("GET {SHIFT}:watch")).await;
    assert_eq!(json_line(&mut shifts).await["to"], "api-v2");
    assert_eq!(http(address, &format!("POST {SHIFT}:pause"), &[], "").await.json()["state"], "STATE_PAUSED");
    assert_eq!(http(address, &format!("POST {SHIFT}:resume"), &[], "").await.json()["state"], "STATE_RUNNING");
    assert_eq!(http(address, &format!("DELETE {SHIFT}"), &[], "").await.json()["reason"], "aborted");
    let list = http(address, "GET /v1/shifts?namespace=shop", &[], "").await.json();
    assert_eq!(list["shifts"].as_array().unwrap().len(), 1);
    let audit = http(address, "GET /v1/namespaces/shop/services/api/audit?limit=1", &[], "").await.json();
    assert_eq!(audit["entries"].as_array().unwrap().len(), 1);
    let unknown = http(address, &format!("PUT {SHIFT}"), &[], r#"{"to": "v2", "step": 1}"#).await;
    assert!(unknown.body.contains("unknown field `step`"), "{unknown:?}");
}
