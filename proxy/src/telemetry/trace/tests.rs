use std::str::FromStr as _;
use std::sync::Arc;

use http::{HeaderValue, Method, Version};
use opentelemetry::trace::Status;
use opentelemetry::{InstrumentationScope, Value};
use opentelemetry_sdk::trace::SpanData;

use super::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
const ALWAYS: Sampler = Sampler { parent_based: true, ratio: 1.0 };
const NEVER: Sampler = Sampler { parent_based: true, ratio: 0.0 };

fn tracer(sampler: Sampler) -> (Tracer, mpsc::Receiver<Finished>, Counter) {
    let (spans, received) = mpsc::channel(4);
    let dropped = Counter::default();
    (Tracer { sink: Some(Sink { sampler, spans, ready: Arc::default(), dropped: dropped.clone() }) }, received, dropped)
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
}

fn end(method: &Method) -> SpanEnd<'_> {
    SpanEnd {
        method,
        route: None,
        scheme: "http",
        path: "/orders/7",
        host: "api.shop",
        port: 80,
        version: Version::HTTP_11,
        status: Some(200),
        error: None,
        fault: None,
        peer: None,
        peer_identity: None,
        peer_service: None,
    }
}

fn exported(finished: Finished) -> SpanData {
    finished.into_span_data(&InstrumentationScope::builder("test").build())
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    span.attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|attribute| match &attribute.value {
        Value::I64(number) => number.to_string(),
        other => other.as_str().into_owned(),
    })
}

/// A request passes both proxies; what each injects is what the next one reads.
#[test]
fn parents_are_right_across_both_proxies() {
    let (tracer, mut spans, _) = tracer(ALWAYS);
    let mut request = headers(&[("traceparent", &format!("{PARENT}-01")), ("tracestate", "k=v")]);

    let mut client = tracer.request(SpanKind::Client, &request);
    client.inject(&mut request);
    let mut server = tracer.request(SpanKind::Server, &request);
    server.inject(&mut request);
    server.finish(&end(&Method::GET));
    client.finish(&end(&Method::GET));

    let (server, client) = (exported(spans.try_recv().unwrap()), exported(spans.try_recv().unwrap()));
    assert_eq!(client.parent_span_id.to_string(), "00f067aa0ba902b7");
    assert_eq!(server.parent_span_id, client.span_context.span_id());
    assert_eq!(server.span_context.trace_id(), client.span_context.trace_id());
    assert_eq!(client.span_context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert!(client.parent_span_is_remote && server.span_context.is_sampled());
    assert_eq!(server.span_context.trace_state().header(), "k=v");
    let seen_by_the_application = request["traceparent"].to_str().unwrap();
    assert!(seen_by_the_application.contains(&server.span_context.span_id().to_string()));
    assert_eq!((client.span_kind, server.span_kind), (SpanKind::Client, SpanKind::Server));
}

#[test]
fn a_trace_is_started_where_none_is() {
    let (tracer, mut spans, _) = tracer(ALWAYS);
    let mut request = headers(&[("traceparent", "broken")]);
    let mut trace = tracer.request(SpanKind::Client, &request);
    trace.inject(&mut request);
    trace.finish(&end(&Method::GET));
    let span = exported(spans.try_recv().unwrap());
    assert_eq!(span.parent_span_id, SpanId::INVALID);
    let (trace_id, span_id) = (span.span_context.trace_id(), span.span_context.span_id());
    assert_eq!(request["traceparent"], format!("00-{trace_id}-{span_id}-01"));
    assert_eq!(trace.trace_id(), Some(trace_id));
    assert!(!request.contains_key("b3"));
}

#[test]
fn the_decision_of_the_parent_goes_on_untouched() {
    for sampler in [ALWAYS, NEVER] {
        let (tracer, mut spans, _) = tracer(sampler);
        for lines in [
            &[("traceparent", &*format!("{PARENT}-00")), ("tracestate", "k=v")][..],
            &[("b3", "0")],
            &[("x-b3-sampled", "0")],
        ] {
            let before = headers(lines);
            let mut after = before.clone();
            let mut trace = tracer.request(SpanKind::Client, &before);
            trace.inject(&mut after);
            trace.finish(&end(&Method::GET));
            assert_eq!(after, before);
            assert!(!trace.is_sampled() && spans.try_recv().is_err());
        }
    }
    let (tracer, _spans, _) = tracer(NEVER);
    assert!(tracer.request(SpanKind::Client, &headers(&[("traceparent", &format!("{PARENT}-01"))])).is_sampled());
    assert!(tracer.request(SpanKind::Client, &headers(&[("b3", "1")])).is_sampled());
}

#[test]
fn the_sampled_flag_is_never_dropped() {
    let (tracer, _spans, _) = tracer(Sampler { parent_based: false, ratio: 0.0 });
    let before = headers(&[("traceparent", &format!("{PARENT}-01"))]);
    let mut after = before.clone();
    tracer.request(SpanKind::Client, &before).inject(&mut after);
    assert_eq!(after, before);
}

#[test]
fn who_is_left_the_decision_makes_it_for_all() {
    let (some, _spans, _) = tracer(Sampler { parent_based: true, ratio: f64::MIN_POSITIVE });
    let mut request = HeaderMap::new();
    let trace = some.request(SpanKind::Client, &request);
    trace.inject(&mut request);
    assert!(!trace.is_sampled());
    assert!(request["traceparent"].to_str().unwrap().ends_with("-00"), "{request:?}");

    let (never, _spans, _) = tracer(NEVER);
    let mut request = HeaderMap::new();
    never.request(SpanKind::Client, &request).inject(&mut request);
    assert!(request.is_empty(), "who traces nothing decides for nobody");
}

#[test]
fn without_an_exporter_headers_stay_and_the_trace_is_still_known() {
    let before = headers(&[("traceparent", &format!("{PARENT}-01"))]);
    let mut after = before.clone();
    let trace = Tracer::disabled().request(SpanKind::Server, &before);
    trace.inject(&mut after);
    assert_eq!(after, before);
    assert_eq!(trace.trace_id().unwrap().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
}

#[test]
fn b3_comes_out_in_the_forms_that_came_in() {
    let (tracer, _spans, _) = tracer(ALWAYS);
    let mut request = headers(&[("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1")]);
    tracer.request(SpanKind::Client, &request).inject(&mut request);
    let single = request["b3"].to_str().unwrap();
    assert!(
        single.starts_with("80f198ee56343ba864fe8b2a57d3eff7-") && single.ends_with("-1-e457b5a2e4d86bd1"),
        "{single}"
    );
    assert!(request.contains_key("traceparent") && !request.contains_key("x-b3-traceid"));
}

#[test]
fn each_attempt_is_a_span_beside_the_one_before() {
    let (tracer, mut spans, _) = tracer(ALWAYS);
    let mut request = HeaderMap::new();
    let mut trace = tracer.request(SpanKind::Client, &request);
    trace.finish(&SpanEnd { status: None, error: Some("connect_failed"), ..end(&Method::GET) });
    trace.finish(&end(&Method::GET));
    trace.next_attempt();
    trace.inject(&mut request);
    trace.finish(&end(&Method::GET));
    let (first, second) = (exported(spans.try_recv().unwrap()), exported(spans.try_recv().unwrap()));
    assert!(spans.try_recv().is_err(), "an attempt ends once");
    assert_eq!(first.parent_span_id, second.parent_span_id);
    assert_ne!(first.span_context.span_id(), second.span_context.span_id());
    assert_eq!(
        (attribute(&first, "http.request.resend_count"), attribute(&second, "http.request.resend_count")),
        (None, Some("1".to_owned()))
    );
    assert_eq!(attribute(&first, "error.type").as_deref(), Some("connect_failed"));
    assert_eq!(first.status, Status::error("connect_failed"));
    assert!(request["traceparent"].to_str().unwrap().contains(&second.span_context.span_id().to_string()));
}

#[test]
fn a_full_queue_drops_and_counts() {
    let (tracer, mut spans, dropped) = tracer(ALWAYS);
    for _ in 0..10 {
        tracer.request(SpanKind::Client, &HeaderMap::new()).finish(&end(&Method::GET));
    }
    assert_eq!(dropped.get(), 6);
    assert_eq!(std::iter::from_fn(|| spans.try_recv().ok()).count(), 4);
}

fn finished(kind: SpanKind, end: &SpanEnd<'_>) -> SpanData {
    let (tracer, mut spans, _) = tracer(ALWAYS);
    tracer.request(kind, &HeaderMap::new()).finish(end);
    exported(spans.try_recv().unwrap())
}

#[test]
fn a_client_span_by_the_conventions() {
    let (method, route) = (Method::POST, Arc::from("orders"));
    let span = finished(
        SpanKind::Client,
        &SpanEnd {
            route: Some(&route),
            status: Some(404),
            peer: Some(([10, 1, 0, 7], 8080).into()),
            peer_identity: Some("spiffe://cluster.local/ns/shop/sa/api"),
            peer_service: Some("example.com"),
            ..end(&method)
        },
    );
    assert_eq!(span.name, "POST orders");
    assert_eq!(span.status, Status::error(""));
    let mut attributes: Vec<(String, String)> = span
        .attributes
        .iter()
        .map(|a| (a.key.as_str().to_owned(), attribute(&span, a.key.as_str()).unwrap_or_default()))
        .collect();
    attributes.sort();
    let expected = [
        ("error.type", "404"),
        ("http.request.method", "POST"),
        ("http.response.status_code", "404"),
        ("network.peer.address", "10.1.0.7"),
        ("network.peer.port", "8080"),
        ("network.protocol.version", "1.1"),
        ("peer.service", "example.com"),
        ("server.address", "api.shop"),
        ("server.port", "80"),
        ("url.full", "http://api.shop:80/orders/7"),
        ("weft.peer.identity", "spiffe://cluster.local/ns/shop/sa/api"),
    ];
    assert_eq!(attributes, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
}

#[test]
fn a_server_span_by_the_conventions() {
    let (method, route) = (Method::from_str("BREW").unwrap(), Arc::from("/pots"));
    let span = finished(SpanKind::Server, &SpanEnd { route: Some(&route), status: Some(404), ..end(&method) });
    assert_eq!(span.name, "HTTP /pots");
    assert_eq!(span.status, Status::Unset, "a server's 404 is no error of its own");
    for (key, value) in [
        ("http.request.method", "_OTHER"),
        ("http.request.method_original", "BREW"),
        ("http.route", "/pots"),
        ("url.path", "/orders/7"),
        ("url.scheme", "http"),
    ] {
        assert_eq!(attribute(&span, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(attribute(&span, "url.full"), None);
    let failed = finished(SpanKind::Server, &SpanEnd { status: None, host: "", ..end(&Method::GET) });
    assert_eq!((&*failed.name, attribute(&failed, "error.type").as_deref()), ("GET", Some("_OTHER")));
    assert_eq!(attribute(&failed, "server.address"), None);
}

#[test]
fn what_is_long_is_cut_between_characters() {
    let path = format!("/{}", "é".repeat(2000));
    let span = finished(SpanKind::Server, &SpanEnd { path: &path, ..end(&Method::GET) });
    assert_eq!(attribute(&span, "url.path").unwrap().len(), 1023);
}

#[test]
fn the_share_of_traces_is_the_ratio_and_every_proxy_chooses_alike() {
    let ids: Vec<TraceId> = (0..20_000).map(|_| random_trace_id()).collect();
    for ratio in [0.0, 0.1, 0.5, 1.0] {
        let chosen = ids.iter().filter(|id| is_chosen(**id, ratio)).count() as f64 / ids.len() as f64;
        assert!((chosen - ratio).abs() < 0.02, "{ratio} gave {chosen}");
    }
    assert!(ids.iter().all(|id| !is_chosen(*id, 0.1) || is_chosen(*id, 0.2)));
}

#[test]
fn what_is_not_sampled_is_small() {
    assert!(size_of::<RequestTrace>() <= 64, "{}", size_of::<RequestTrace>());
}
