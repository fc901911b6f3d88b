use std::time::Duration;

use super::*;

const LABELS: RequestLabels<'_> = RequestLabels {
    direction: Direction::Outbound,
    destination: "shop/api:80",
    peer: "spiffe://cluster.local/ns/shop/sa/api",
    tls: true,
};

#[track_caller]
fn assert_line(text: &str, line: &str) {
    assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
}

#[test]
fn the_shards_of_all_workers_are_summed() {
    let registry = Registry::new(Conditions::default());
    let (one, other) = (registry.worker(), registry.worker());
    one.requests(&LABELS).record(200, false, Duration::from_millis(1));
    other.requests(&LABELS).record(204, false, Duration::from_millis(3));
    other.requests(&LABELS).record(0, false, Duration::from_secs(60));
    one.retries("shop/api:80").record();
    other.retries("shop/api:80").record();
    let text = registry.encode().unwrap();
    let labels = r#"direction="outbound",destination="shop/api:80""#;
    let peer = r#"peer="spiffe://cluster.local/ns/shop/sa/api",tls="mtls""#;
    assert_line(&text, &format!(r#"weft_requests_total{{{labels},{peer},status="2xx"}} 2"#));
    assert_line(&text, &format!(r#"weft_requests_total{{{labels},{peer},status="000"}} 1"#));
    assert_line(&text, r#"weft_retries_total{destination="shop/api:80"} 2"#);
    for (bound, count) in [("0.0005", 0), ("0.001", 1), ("0.0025", 1), ("0.005", 2), ("10.0", 2), ("+Inf", 3)] {
        assert_line(&text, &format!(r#"weft_request_duration_seconds_bucket{{le="{bound}",{labels}}} {count}"#));
    }
    assert_line(&text, &format!("weft_request_duration_seconds_count{{{labels}}} 3"));
    assert_line(&text, &format!("weft_request_duration_seconds_sum{{{labels}}} 60.004"));
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn statuses_fall_into_their_classes() {
    let registry = Registry::new(Conditions::default());
    let requests = registry.worker().requests(&LABELS);
    for status in [0, 101, 200, 301, 404, 503, 599, 600, u16::MAX] {
        requests.record(status, false, Duration::ZERO);
    }
    let text = registry.encode().unwrap();
    for (class, count) in [("000", 3), ("1xx", 1), ("2xx", 1), ("3xx", 1), ("4xx", 1), ("5xx", 2)] {
        assert!(text.contains(&format!(r#"status="{class}"}} {count}"#)), "{class}: {text}");
    }
}

#[test]
fn connections_count_as_open_until_they_are_dropped() {
    let registry = Registry::new(Conditions::default());
    let worker = registry.worker();
    let first = worker.connection(Direction::Inbound, WireProtocol::Mesh);
    let second = worker.connection(Direction::Inbound, WireProtocol::Mesh);
    drop(first);
    worker.refused(Refusal::Plaintext);
    worker.detect_timed_out();
    let text = registry.encode().unwrap();
    assert_line(&text, r#"weft_connections_total{direction="inbound",protocol="tls"} 2"#);
    assert_line(&text, r#"weft_connections_open{direction="inbound",protocol="tls"} 1"#);
    assert_line(&text, r#"weft_connections_open{direction="outbound",protocol="opaque"} 0"#);
    assert_line(&text, r#"weft_refused_total{reason="plaintext"} 1"#);
    assert_line(&text, "weft_detect_timeouts_total 1");
    drop(second);
}

#[test]
fn what_the_control_thread_knows_is_read_at_each_scrape() {
    let registry = Registry::new(Conditions::default());
    registry.exports.spans_dropped.inc_by(3);
    registry.watch(|| ProcessState {
        certificate_expiry: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        xds_connected: true,
        destinations: 7,
        destinations_evicted: 1,
        discovery_unavailable: 2,
        resources_refused: 3,
    });
    let text = registry.encode().unwrap();
    for line in [
        "weft_certificate_expiry_seconds 1800000000",
        "weft_xds_connected 1",
        "weft_destinations 7",
        "weft_destinations_evicted_total 1",
        "weft_discovery_unavailable_total 2",
        "weft_resources_refused_total 3",
        "weft_spans_dropped_total 3",
        "weft_spans_exported_total 0",
    ] {
        assert_line(&text, line);
    }
}

#[test]
fn a_flood_of_labels_ends_in_the_overflow() {
    let registry = Registry::new(Conditions::default());
    let worker = registry.worker();
    for number in 0..SERIES_CAP + 500 {
        let destination = format!("shop/api-{number}:80");
        worker.requests(&RequestLabels { destination: &destination, ..LABELS }).record(200, false, Duration::ZERO);
        worker.retries(&destination).record();
    }
    let text = registry.encode().unwrap();
    let overflow = r#"direction="outbound",destination="overflow""#;
    assert_line(&text, &format!(r#"weft_requests_total{{{overflow},peer="",tls="mtls",status="2xx"}} 500"#));
    assert_line(&text, &format!("weft_request_duration_seconds_count{{{overflow}}} 500"));
    assert_line(&text, r#"weft_retries_total{destination="overflow"} 500"#);
    assert_eq!(text.lines().filter(|line| line.starts_with("weft_requests_total")).count(), SERIES_CAP + 1);
}

#[test]
fn a_series_is_forgotten_when_it_is_idle_and_nobody_holds_it() {
    let family: Family<RetryKey, Count> = Family::new(2);
    let start = Instant::now();
    let minutes = |count: u64| start + Duration::from_secs(count * 60);
    let held = family.cell(0, RetryKey("held".into()), start);
    family.cell(0, RetryKey("idle".into()), start).record();
    let names = |now| family.collect(now).into_iter().map(|(key, _)| key.0.to_string()).collect::<Vec<_>>();
    assert_eq!(names(minutes(1)), ["held", "idle"]);
    assert_eq!(names(minutes(15)), ["held", "idle"]);
    assert_eq!(names(minutes(16)), ["held"]);
    held.record();
    drop(held);
    assert_eq!(names(minutes(40)), ["held"]);
    assert_eq!(names(minutes(55)), [""; 0]);
    family.cell(1, RetryKey("new".into()), minutes(55));
    assert_eq!(names(minutes(55)), ["new"]);
}

#[test]
fn events_are_counted_by_what_they_are() {
    let registry = Registry::new(Conditions::default());
    let (one, other) = (registry.worker(), registry.worker());
    let api: Arc<str> = "shop/api:80".into();
    one.event(Event::ProxyAnswer(Direction::Outbound), &api, "no_endpoint");
    one.event(Event::ProxyAnswer(Direction::Outbound), &api, "no_endpoint");
    other.event(Event::ProxyAnswer(Direction::Outbound), &api, "no_endpoint");
    other.event(Event::Fault, &api, "delay");
    one.maintain();
    one.event(Event::ProxyAnswer(Direction::Outbound), &api, "no_endpoint");
    let text = registry.encode().unwrap();
    let labels = r#"direction="outbound",destination="shop/api:80",reason="no_endpoint""#;
    assert_line(&text, &format!("weft_proxy_answers_total{{{labels}}} 4"));
    assert_line(&text, r#"weft_faults_injected_total{destination="shop/api:80",kind="delay"} 1"#);
}

#[test]
fn failures_are_counted_beside_the_status() {
    let registry = Registry::new(Conditions::default());
    let requests = registry.worker().requests(&LABELS);
    requests.record(200, true, Duration::ZERO);
    requests.record(200, false, Duration::ZERO);
    let text = registry.encode().unwrap();
    let labels = r#"direction="outbound",destination="shop/api:80",peer="spiffe://cluster.local/ns/shop/sa/api""#;
    assert_line(&text, &format!(r#"weft_request_failures_total{{{labels},tls="mtls"}} 1"#));
}

#[test]
fn conditions_are_gauges() {
    let conditions = Conditions::default();
    let registry = Registry::new(conditions.clone());
    let (api, now): (Arc<str>, _) = ("shop/api:80".into(), Instant::now());
    conditions.eject(&api, ([10, 0, 0, 1], 80).into(), now);
    conditions.eject(&api, ([10, 0, 0, 2], 80).into(), now);
    conditions.breaker_opened(&api, crate::telemetry::conditions::Breaker::Requests, now);
    let text = registry.encode().unwrap();
    assert_line(&text, r#"weft_endpoints_ejected{destination="shop/api:80"} 2"#);
    assert_line(&text, r#"weft_breaker_open{destination="shop/api:80",which="requests"} 1"#);
}
