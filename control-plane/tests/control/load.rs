//! Load reports, as proxies send them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::Code;
use weft_control::load::Figures;
use weft_control::mesh::ObjectName;

use crate::support::load::Reports;
use crate::support::{Control, Folders, LONG, WEB_TOKEN, http};

/// Waits until it is so: reports are taken in a moment after they were sent.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn api_v2() -> Vec<Arc<str>> {
    vec!["shop/api-v2:80".into()]
}

#[tokio::test]
async fn reports_are_summed_until_the_proxy_leaves() {
    let flags = ["--load-report-interval=300ms".to_owned()];
    let control = Control::start_with(Folders::new(), &flags).await;
    let identity = control.join("web", WEB_TOKEN).await;
    let mut reports = Reports::open(&control, Some(&identity), "web.shop").await.unwrap();
    let answer = reports.answer().await.unwrap().unwrap();
    assert!(answer.send_all_clusters && answer.report_endpoint_granularity);
    assert_eq!(
        answer.load_reporting_interval.as_ref().map(|every| (every.seconds, every.nanos)),
        Some((0, 300_000_000))
    );

    let (loads, web) = (control.app.loads(), ObjectName::new("shop", "web"));
    let (began, tally) = (Instant::now(), loads.tally(api_v2()));
    assert_eq!(reports.answer().await.unwrap(), Some(answer), "a tally asks for reports");
    reports.send("shop/api-v2:80", 10, 1);
    reports.send("shop/api-v2:80", 5, 0);
    reports.send("shop/api-v1:80", 100, 100);
    until("three reports", || tally.figures().issued == 15).await;
    let recent = loads.recent(&api_v2(), began, Instant::now());
    assert_eq!((recent.issued, recent.errors), (15, 1));
    assert!(recent.quantile(0.99).unwrap() < Duration::from_millis(5));
    assert_eq!(loads.reporting([&web], Instant::now()).fresh, 1);
    let late = Instant::now() + Duration::from_secs(2);
    assert_eq!(loads.reporting([&web], late).fresh, 0);
    drop(reports);
    until("the proxy leaves", || loads.recent(&api_v2(), began, Instant::now()) == Figures::default()).await;
    assert_eq!(tally.figures().issued, 15);
    let metrics = http(control.app.addresses().metrics, "GET /metrics", &[], "").await;
    assert!(metrics.body.contains("weft_control_load_reports_total 3\n"), "{}", metrics.body);
}

#[tokio::test]
async fn only_the_pod_itself_reports_for_it() {
    let control = Control::start().await;
    let identity = control.join("web", WEB_TOKEN).await;
    let anybody = Reports::open(&control, None, "web.shop").await;
    assert_eq!(anybody.err().expect("no certificate, no stream").code(), Code::Unauthenticated);
    for (node, code) in [
        ("api-v1.shop", Code::PermissionDenied),
        ("nobody.shop", Code::PermissionDenied),
        ("web", Code::InvalidArgument),
    ] {
        let mut reports = Reports::open(&control, Some(&identity), node).await.unwrap();
        assert_eq!(reports.answer().await.unwrap_err().code(), code, "{node}");
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_control_plane() {
    let control = Control::start().await;
    let identity = control.join("web", WEB_TOKEN).await;
    let mut reports = Reports::open(&control, Some(&identity), "web.shop").await.unwrap();
    assert!(reports.answer().await.unwrap().is_some());
    let began = Instant::now();
    control.app.stop().await;
    assert!(began.elapsed() < Duration::from_secs(3), "a stream of reports held up the shutdown");
}
