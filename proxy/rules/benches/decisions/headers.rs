//! What becomes of a request's headers and path before it is forwarded.
//!
//! Where headers are removed or added they are those of a copy, which is counted: otherwise it would be done once only.

use std::time::Duration;

use gungraun::{library_benchmark, library_benchmark_group};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use weft_rules::fault::{Abort, FaultPolicy};
use weft_rules::header_edits::HeaderEdits;
use weft_rules::headers::{strip_hop_by_hop, strip_mesh_headers};
use weft_rules::rewrite::{PathRewrite, Rewrite};
use weft_rules::route::{HeaderMatch, PathMatch, TextMatch};
use weft_rules::share::Share;
use weft_rules::timeouts::{Timeouts, format_grpc_timeout};

use crate::{Decisions, decisions, randoms};

#[library_benchmark]
#[bench::no_hop_by_hop(no_hop_by_hop())]
#[bench::hop_by_hop(hop_by_hop())]
#[bench::no_mesh_headers(no_mesh_headers())]
#[bench::mesh_headers(mesh_headers())]
#[bench::fault(fault())]
#[bench::edit(edit())]
#[bench::rewrite_prefix(rewrite(PathRewrite::prefix("/v2").unwrap()))]
#[bench::rewrite_regex(rewrite(PathRewrite::regex("^/shop/([^/]+)/", r"/\1/").unwrap()))]
#[bench::timeout_http(timeout(request(&[])))]
#[bench::timeout_grpc(timeout(request(&[("content-type", "application/grpc"), ("grpc-timeout", "1500m")])))]
#[bench::format_grpc_timeout(grpc_timeouts())]
fn headers(mut decisions: Decisions) -> Decisions {
    decisions();
    decisions
}

library_benchmark_group!(name = headers_group, benchmarks = headers);

/// The headers that a browser's request might have, and others.
fn request(others: &[(&'static str, &'static str)]) -> HeaderMap {
    let usual = [
        ("host", "shop.default.svc.cluster.local"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip, deflate, br"),
        ("cookie", "theme=dark; session=0a0000010050; lang=de"),
        ("x-request-id", "5f8c1c4e-7a8e-4b57-a8d0-6a1a3c0ce1b4"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    let fields = usual.iter().chain(others);
    fields.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn no_hop_by_hop() -> Decisions {
    let mut headers = request(&[]);
    decisions(vec![()], move |()| headers = strip_hop_by_hop(std::mem::take(&mut headers)))
}

fn hop_by_hop() -> Decisions {
    let headers = request(&[("connection", "keep-alive, x-debug"), ("keep-alive", "timeout=5"), ("x-debug", "1")]);
    decisions(vec![headers], |headers| strip_hop_by_hop(headers.clone()))
}

fn no_mesh_headers() -> Decisions {
    let mut headers = request(&[]);
    decisions(vec![()], move |()| strip_mesh_headers(&mut headers))
}

fn mesh_headers() -> Decisions {
    let headers =
        request(&[("x-forwarded-client-cert", "By=spiffe://a/ns/b/sa/c"), ("weft-destination", "10.0.0.1:80")]);
    decisions(vec![headers], |headers| {
        let mut headers = headers.clone();
        strip_mesh_headers(&mut headers);
        headers
    })
}

fn fault() -> Decisions {
    let policy = FaultPolicy {
        delay: Some((Duration::from_millis(100), Share::from(1, 10))),
        abort: Some((Abort::Http(StatusCode::SERVICE_UNAVAILABLE), Share::from(1, 100))),
        headers: vec![HeaderMatch { name: http::header::USER_AGENT, value: TextMatch::Present }],
    };
    let headers = request(&[]);
    decisions(randoms(), move |random| policy.decide(&headers, [*random, random.rotate_left(32)]))
}

fn edit() -> Decisions {
    let field = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let edits = HeaderEdits {
        remove: vec![http::header::COOKIE],
        set: vec![field("x-request-id", "1"), field("x-route", "orders")],
        add: vec![field("via", "weft")],
    };
    decisions(vec![request(&[])], move |headers| {
        let mut headers = headers.clone();
        edits.apply(&mut headers);
        headers
    })
}

fn rewrite(path: PathRewrite) -> Decisions {
    let rewrite = Rewrite { host: None, path: Some(path) };
    let matched = PathMatch::Segments("/shop/v1".to_owned());
    let uri = Uri::from_static("/shop/v1/orders/17?full=1");
    assert!(rewrite.path_and_query(&matched, &uri).unwrap().is_some());
    decisions(vec![uri], move |uri| rewrite.path_and_query(&matched, uri))
}

fn timeout(headers: HeaderMap) -> Decisions {
    let timeouts = Timeouts { request: Some(Duration::from_secs(15)), honour_grpc: true, ..Timeouts::default() };
    decisions(vec![headers], move |headers| timeouts.effective(headers))
}

fn grpc_timeouts() -> Decisions {
    let times = [Duration::from_micros(250), Duration::from_millis(1500), Duration::from_secs(15)];
    decisions(times.to_vec(), |time| format_grpc_timeout(*time))
}
