use weft_api::status::{EjectedEndpoint, OpenBreaker};

use super::*;

const NOW: u64 = 1_800_000_000;

fn proxy(node: &str, resources: Vec<Resource>) -> Proxy {
    Proxy {
        node: node.into(),
        identity: "spiffe://cluster.local/ns/shop/sa/web".into(),
        version: "0.1.0".into(),
        connected_seconds: 252,
        certificate_expires: NOW + 86_000,
        resources,
        ejected: vec![],
        open_breakers: vec![],
    }
}

fn resource(wanted: &str, acked: &str, error: &str) -> Resource {
    Resource {
        kind: "RouteConfiguration".into(),
        name: "shop/api:80".into(),
        wanted_version: wanted.into(),
        acked_version: acked.into(),
        stale_seconds: 12,
        error: error.into(),
        age_seconds: 60,
    }
}

#[test]
fn proxies_that_are_current_take_a_line_each() {
    let overview = Overview { proxies: vec![proxy("web.shop", vec![resource("a1", "a1", "")])], faults: vec![] };
    assert_eq!(
        show(&overview, false, NOW),
        "PROXY      IDENTITY                                VERSION   CONNECTED   CONFIGURATION   CERTIFICATE\n\
         web.shop   spiffe://cluster.local/ns/shop/sa/web   0.1.0     4m 12s      1 current       ends in 23h 53m"
    );
}

#[test]
fn what_is_held_is_listed_with_its_version_and_age() {
    let resources = vec![resource("a1", "a1", ""), resource("", "", "")];
    let shown = show(&Overview { proxies: vec![proxy("web.shop", resources)], faults: vec![] }, true, NOW);
    let (_, held) = shown.split_once("\n\n").unwrap();
    assert_eq!(
        held,
        "PROXY      RESOURCE                         VERSION   FOR\n\
         web.shop   RouteConfiguration shop/api:80   a1        1m"
    );
}

#[test]
fn what_is_behind_is_named_with_its_reason() {
    let resources = vec![resource("a2", "a1", ""), resource("a2", "", "routes[0].match: unknown field")];
    let shown = show(&Overview { proxies: vec![proxy("web.shop", resources)], faults: vec![] }, false, NOW);
    assert!(shown.contains("0 of 2 current"), "{shown}");
    assert!(
        shown.contains("web.shop      RouteConfiguration shop/api:80   a1     a2       12s   not acknowledged yet"),
        "{shown}"
    );
    assert!(shown.contains("none   a2       12s   routes[0].match: unknown field"), "{shown}");
}

#[test]
fn bad_manifests_are_shown_with_file_line_and_field() {
    let fault = Fault { file: "api.yaml".into(), line: 7, field: "spec.ports[0].port".into(), message: "is 0".into() };
    let shown = show(&Overview { proxies: vec![], faults: vec![fault] }, false, NOW);
    assert_eq!(
        shown,
        "No proxy is connected.\n\n\
         BAD MANIFEST   FIELD                WHY\n\
         api.yaml:7     spec.ports[0].port   is 0"
    );
}

#[test]
fn an_ended_certificate_says_so() {
    assert_eq!(certificate(NOW - 60, NOW), "ended 1m ago");
    assert_eq!(certificate(0, NOW), "unknown");
}

#[test]
fn what_is_not_used_is_listed() {
    let ejected = EjectedEndpoint { cluster: "shop/api:80".into(), address: "10.1.0.3:8080".into(), seconds_left: 12 };
    let open = OpenBreaker { cluster: "shop/users:80".into(), which: "requests".into() };
    let proxy = Proxy { ejected: vec![ejected], open_breakers: vec![open], ..proxy("web.shop", vec![]) };
    let shown = show(&Overview { proxies: vec![proxy], faults: vec![] }, false, NOW);
    let (_, unused) = shown.split_once("\n\n").unwrap();
    assert_eq!(
        unused,
        "NOT USED BY   CLUSTER         WHAT                     WHY\n\
         web.shop      shop/api:80     endpoint 10.1.0.3:8080   ejected for failing, 12s left\n\
         web.shop      shop/users:80   more requests            the limit is reached: the breaker is open"
    );
}
