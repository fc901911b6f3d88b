use proptest::prelude::*;

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const PARENT: &str = "b7ad6b7169203331";

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    map
}

fn read(lines: &[(&str, &str)]) -> Incoming {
    Incoming::read(&map(lines))
}

fn ids() -> Option<(TraceId, SpanId)> {
    Some((TraceId::from_hex(TRACE).unwrap(), SpanId::from_hex(SPAN).unwrap()))
}

#[test]
fn w3c() {
    let sampled = read(&[("traceparent", &format!("00-{TRACE}-{SPAN}-01"))]);
    assert_eq!((sampled.ids, sampled.sampled), (ids(), Some(true)));
    let not = read(&[("traceparent", &format!("00-{TRACE}-{SPAN}-00"))]);
    assert_eq!((not.ids, not.sampled), (ids(), Some(false)));
    let other_flags = read(&[("traceparent", &format!("00-{TRACE}-{SPAN}-fe"))]);
    assert_eq!(other_flags.sampled, Some(false));
    let later = read(&[("traceparent", &format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"))]);
    assert_eq!((later.ids, later.sampled), (ids(), Some(true)));
}

#[test]
fn w3c_that_is_malformed_is_not_there() {
    for text in [
        String::new(),
        format!("00-{TRACE}-{SPAN}"),
        format!("00-{TRACE}-{SPAN}-1"),
        format!("00-{TRACE}-{SPAN}-01-"),
        format!("00-{TRACE}-{SPAN}-01-more"),
        format!("00-{TRACE}-{SPAN}-0g"),
        format!("00-{TRACE}-{SPAN}-+1"),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("cc-{TRACE}-{SPAN}-01.more"),
        format!("0-{TRACE}-{SPAN}-01"),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        format!("00-{}-{SPAN}-01", "0".repeat(32)),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("00-{}-{SPAN}-01", &TRACE[1..]),
        format!(" 00 -{TRACE}-{SPAN}-01"),
    ] {
        assert_eq!(read(&[("traceparent", &text)]), Incoming::default(), "{text}");
    }
    let line = format!("00-{TRACE}-{SPAN}-01");
    assert_eq!(read(&[("traceparent", &line), ("traceparent", &line)]), Incoming::default());
}

#[test]
fn b3_single() {
    let single = |text: &str| read(&[("b3", text)]);
    for (text, sampled, debug) in [
        (format!("{TRACE}-{SPAN}"), None, false),
        (format!("{TRACE}-{SPAN}-1"), Some(true), false),
        (format!("{TRACE}-{SPAN}-0"), Some(false), false),
        (format!("{TRACE}-{SPAN}-d-{PARENT}"), Some(true), true),
    ] {
        let incoming = single(&text);
        assert_eq!((incoming.ids, incoming.sampled, incoming.forms.b3_debug), (ids(), sampled, debug), "{text}");
    }
    for (text, sampled) in [("0", false), ("1", true), ("d", true)] {
        let incoming = single(text);
        assert_eq!((incoming.ids, incoming.sampled), (None, Some(sampled)), "{text}");
    }
    for text in [
        "",
        "2",
        "true",
        TRACE,
        &format!("{TRACE}-{SPAN}-x"),
        &format!("{TRACE}-{SPAN}-1-"),
        &format!("{TRACE}-{SPAN}-1-{PARENT}-"),
        &format!("{TRACE}-{}", "0".repeat(16)),
        &format!("{}-{SPAN}-1", &TRACE[..20]),
    ] {
        assert_eq!(single(text), Incoming::default(), "{text}");
    }
}

#[test]
fn b3_multi() {
    let both = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)];
    let with = |more: (&'static str, &'static str)| read(&[both[0], both[1], more]);
    assert_eq!((read(&both).ids, read(&both).sampled), (ids(), None));
    assert_eq!(with(("x-b3-sampled", "1")).sampled, Some(true));
    assert_eq!(with(("x-b3-sampled", "0")).sampled, Some(false));
    assert_eq!(with(("x-b3-sampled", "yes")).sampled, None);
    assert_eq!(with(("x-b3-flags", "1")).sampled, Some(true));
    assert_eq!((read(&[("x-b3-sampled", "0")]).ids, read(&[("x-b3-sampled", "0")]).sampled), (None, Some(false)));
    assert_eq!(read(&both[..1]), Incoming::default());
}

#[test]
fn short_b3_trace_ids_go_on_as_short_ones() {
    let incoming = read(&[("b3", &format!("{SPAN}-{PARENT}-1"))]);
    let (trace, parent) = incoming.ids.unwrap();
    assert_eq!(trace.to_string(), format!("{}{SPAN}", "0".repeat(16)));
    let mut headers = map(&[("b3", "x")]);
    let span = SpanId::from_hex(SPAN).unwrap();
    Outgoing { trace, span, parent: Some(parent), sampled: true, forms: incoming.forms }.write(&mut headers);
    assert_eq!(headers["b3"], format!("{SPAN}-{SPAN}-1-{PARENT}"));
    assert_eq!(headers["traceparent"], format!("00-{}{SPAN}-{SPAN}-01", "0".repeat(16)));
}

#[test]
fn w3c_wins_and_the_first_trace_state_is_kept_whole() {
    let headers = map(&[
        ("b3", &format!("{SPAN}-{PARENT}-0")),
        ("traceparent", &format!("00-{TRACE}-{SPAN}-01")),
        ("tracestate", "a=1"),
        ("tracestate", "b=2"),
    ]);
    let incoming = Incoming::read(&headers);
    assert_eq!((incoming.ids, incoming.sampled), (ids(), Some(true)));
    assert_eq!(incoming.trace_state(&headers), "a=1,b=2");
    assert_eq!(read(&[("tracestate", "a=1")]).trace_state(&headers), "");
}

#[test]
fn headers_are_replaced_in_their_place() {
    let mut headers = map(&[
        ("a", "1"),
        ("traceparent", &format!("00-{TRACE}-{SPAN}-01")),
        ("x-b3-traceid", TRACE),
        ("x-b3-spanid", SPAN),
        ("x-b3-flags", "1"),
        ("tracestate", "k=v"),
        ("b", "2"),
    ]);
    let incoming = Incoming::read(&headers);
    let (trace, parent) = incoming.ids.unwrap();
    let span = SpanId::from_hex(PARENT).unwrap();
    Outgoing { trace, span, parent: Some(parent), sampled: true, forms: incoming.forms }.write(&mut headers);
    let lines: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    assert_eq!(
        lines,
        [
            ("a", "1"),
            ("traceparent", &*traceparent),
            ("x-b3-traceid", TRACE),
            ("x-b3-spanid", PARENT),
            ("x-b3-flags", "1"),
            ("tracestate", "k=v"),
            ("b", "2"),
            ("x-b3-parentspanid", SPAN),
        ]
    );
}

#[test]
fn a_trace_state_without_its_trace_is_removed() {
    let mut headers = map(&[("a", "1"), ("tracestate", "k=v"), ("traceparent", "broken"), ("b", "2")]);
    let forms = Incoming::read(&headers).forms;
    let (trace, span) = ids().unwrap();
    Outgoing { trace, span, parent: None, sampled: false, forms }.write(&mut headers);
    let names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["a", "traceparent", "b"]);
    assert_eq!(headers["traceparent"], format!("00-{TRACE}-{SPAN}-00"));
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(trace in 1_u128.., span in 1_u64.., sampled: bool, b3_single: bool, b3_multi: bool) {
        let forms = Forms { b3_single, b3_multi, ..Forms::default() };
        let trace = TraceId::from_bytes(trace.to_be_bytes());
        let span = SpanId::from_bytes(span.to_be_bytes());
        let mut headers = HeaderMap::new();
        Outgoing { trace, span, parent: None, sampled, forms }.write(&mut headers);
        let all = Incoming::read(&headers);
        headers.remove("traceparent");
        let b3 = Incoming::read(&headers);
        prop_assert_eq!((all.ids, all.sampled), (Some((trace, span)), Some(sampled)));
        if b3_single || b3_multi {
            prop_assert_eq!((b3.ids, b3.sampled), (Some((trace, span)), Some(sampled)));
        }
    }

    #[test]
    fn any_text_is_read_without_harm(name in prop::sample::select(vec!["traceparent", "b3", "x-b3-traceid"]), text in "[0-9a-f-]{0,80}") {
        if let Some((trace, span)) = read(&[(name, &text)]).ids {
            prop_assert!(trace != TraceId::INVALID && span != SpanId::INVALID);
        }
    }
}
