use proptest::prelude::*;

use super::*;

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    map
}

fn lines(map: &HeaderMap) -> Vec<(&str, &str)> {
    map.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect()
}

#[track_caller]
fn strips_to(before: &[(&str, &str)], after: &[(&str, &str)]) {
    assert_eq!(lines(&strip_hop_by_hop(map(before))), after);
}

#[test]
fn removes_hop_by_hop_headers_and_keeps_the_order() {
    strips_to(
        &[
            ("host", "a"),
            ("connection", "keep-alive, X-Mine"),
            ("accept", "*/*"),
            ("keep-alive", "timeout=5"),
            ("x-mine", "1"),
            ("transfer-encoding", "chunked"),
            ("cookie", "Case=Kept"),
            ("proxy-connection", "keep-alive"),
            ("trailer", "x-sum"),
            ("proxy-authorization", "Basic eA=="),
            ("cookie", "b=2"),
            ("last", "z"),
        ],
        &[
            ("host", "a"),
            ("accept", "*/*"),
            ("cookie", "Case=Kept"),
            ("cookie", "b=2"),
            ("trailer", "x-sum"),
            ("proxy-authorization", "Basic eA=="),
            ("last", "z"),
        ],
    );
}

#[test]
fn all_connection_lines_count_and_odd_ones_do_no_harm() {
    strips_to(
        &[("connection", "close"), ("connection", " a ,, \t B\t,é,host , content-length"), ("a", "1"), ("b", "2")],
        &[],
    );
    strips_to(
        &[("connection", "host, content-length"), ("host", "h"), ("content-length", "3")],
        &[("host", "h"), ("content-length", "3")],
    );
}

#[test]
fn te_keeps_trailers_and_nothing_else() {
    strips_to(&[("te", "trailers"), ("a", "1")], &[("te", "trailers"), ("a", "1")]);
    strips_to(&[("te", "gzip;q=0.5, Trailers"), ("connection", "te")], &[("te", "trailers")]);
    strips_to(&[("te", "gzip"), ("connection", "te")], &[]);
    strips_to(&[("te", "gzip"), ("te", "trailers")], &[("te", "trailers")]);
}

#[test]
fn an_upgrade_keeps_what_it_needs() {
    strips_to(
        &[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "x"),
            ("keep-alive", "1"),
        ],
        &[("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "x")],
    );
    strips_to(
        &[
            ("upgrade", "TLS/1.2"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAM"),
            ("connection", "upgrade, HTTP2-Settings"),
        ],
        &[
            ("upgrade", "TLS/1.2"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAM"),
            ("connection", "upgrade, http2-settings"),
        ],
    );
}

#[test]
fn upgrade_that_connection_does_not_name_is_removed() {
    strips_to(&[("upgrade", "websocket"), ("a", "1")], &[("a", "1")]);
    strips_to(&[("connection", "http2-settings"), ("http2-settings", "AAM")], &[]);
    assert!(!is_upgrade(&map(&[("upgrade", "websocket"), ("connection", "close")])));
}

#[test]
fn applications_cannot_speak_for_the_mesh() {
    let mut headers = map(&[
        ("weft-destination", "10.0.0.1:80"),
        ("host", "a"),
        ("x-forwarded-client-cert", "By=spiffe://x"),
        ("traceparent", "00-1"),
        ("x-weft-reason", "lie"),
        ("x-envoy-internal", "true"),
        ("x-b3-traceid", "1"),
        ("x-forwarded-client-cert", "second"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-envoy-max-retries", "1"),
        ("weftless", "kept"),
        ("x-request-id", "r"),
    ]);
    strip_mesh_headers(&mut headers);
    let kept = [
        ("host", "a"),
        ("traceparent", "00-1"),
        ("x-b3-traceid", "1"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-envoy-max-retries", "1"),
        ("weftless", "kept"),
        ("x-request-id", "r"),
    ];
    assert_eq!(lines(&headers), kept);
}

#[test]
fn removing_one_header_keeps_the_order_of_the_others() {
    let mut headers = map(&[("a", "1"), ("b", "2"), ("c", "3"), ("b", "4"), ("d", "5")]);
    remove(&mut headers, &HeaderName::from_static("b"));
    assert_eq!(lines(&headers), [("a", "1"), ("c", "3"), ("d", "5")]);
}

/// Names of every kind: ordinary ones, hop-by-hop ones, ones that `Connection` may name.
fn header_lines() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let names = prop::sample::select(vec![
        "host",
        "accept",
        "cookie",
        "a",
        "b",
        "c",
        "connection",
        "keep-alive",
        "te",
        "upgrade",
        "transfer-encoding",
        "proxy-connection",
        "content-length",
    ]);
    let values = prop::sample::select(vec!["", "a", "b, C", "close", "upgrade", "Trailers", "host, te", "x;y=\"z\""]);
    prop::collection::vec((names, values), 0..20)
}

proptest! {
    #[test]
    fn what_stays_is_what_was_there_in_its_order(before in header_lines()) {
        let original = map(&before);
        let stripped = strip_hop_by_hop(original.clone());
        let named: Vec<String> = before
            .iter()
            .filter(|(name, _)| *name == "connection")
            .flat_map(|(_, value)| value.split(',').map(|option| option.trim().to_ascii_lowercase()))
            .filter(|option| option != "host" && option != "content-length")
            .collect();
        let special = ["connection", "te", "upgrade"];
        let hop = ["keep-alive", "transfer-encoding", "proxy-connection"];
        let expected: Vec<_> = lines(&original)
            .into_iter()
            .filter(|(name, _)| !special.contains(name) && !hop.contains(name) && !named.iter().any(|n| n == name))
            .collect();
        let ordinary: Vec<_> = lines(&stripped).into_iter().filter(|(name, _)| !special.contains(name)).collect();
        prop_assert_eq!(ordinary, expected);
        prop_assert_eq!(stripped.contains_key("upgrade"), is_upgrade(&original));
        prop_assert_eq!(stripped.contains_key("connection"), is_upgrade(&original));
        let wants_trailers = before.contains(&("te", "Trailers"));
        prop_assert_eq!(stripped.get("te").is_some_and(|te| te == "trailers"), wants_trailers);
    }

    #[test]
    fn stripping_twice_is_stripping_once(before in header_lines()) {
        let once = strip_hop_by_hop(map(&before));
        prop_assert_eq!(&strip_hop_by_hop(once.clone()), &once);
    }
}
