//! What a connection speaks, which rule a request falls under, and which of the rule's backends takes it.

use gungraun::{library_benchmark, library_benchmark_group};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use weft_rules::route::{
    Action, Filters, HeaderMatch, Match, PathMatch, Pattern, QueryMatch, RequestHead, Routes, Rule, TextMatch,
};
use weft_rules::sniff::sniff;
use weft_rules::weighted::Weighted;

use crate::{Decisions, decisions, randoms};

/// How many rules a request may have to pass; each rule gets the same number of requests.
const RULES: usize = 50;

#[library_benchmark]
#[bench::sniff_http1(sniffed(b"GET /orders/17?full=1 HTTP/1.1\r\nhost: api\r\n\r\n"))]
#[bench::sniff_http2(sniffed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0"))]
#[bench::sniff_tls(sniffed(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"))]
#[bench::sniff_opaque(sniffed(b"\0\0\0\x55\x0a8.0.36\0"))]
#[bench::by_path(by_path())]
#[bench::by_segments(by_segments())]
#[bench::by_regex(by_regex())]
#[bench::by_header(by_header())]
#[bench::by_query(by_query())]
#[bench::grpc_methods(grpc_methods())]
#[bench::weighted_backend(weighted_backend())]
fn routing(mut decisions: Decisions) -> Decisions {
    decisions();
    decisions
}

library_benchmark_group!(name = routing_group, benchmarks = routing);

fn sniffed(first_bytes: &'static [u8]) -> Decisions {
    decisions(vec![first_bytes], |first_bytes| sniff(first_bytes))
}

/// A request that fits the rule of the same number alone.
struct Request {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
}

impl Request {
    fn new(number: usize) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "shop.default.svc.cluster.local".to_owned()),
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0".to_owned()),
            ("accept", "*/*".to_owned()),
            ("accept-encoding", "gzip, deflate, br".to_owned()),
            ("x-request-id", "5f8c1c4e-7a8e-4b57-a8d0-6a1a3c0ce1b4".to_owned()),
            ("x-tenant", format!("tenant-{number}")),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::try_from(value).unwrap());
        }
        let (path, query) = (format!("/shop/v1/service-{number}/orders/17"), format!("full=1&tenant={number}"));
        Self { method: Method::GET, path, query, headers }
    }

    /// A call of the method of that number.
    fn grpc(number: usize) -> Self {
        let mut request = Self::new(number);
        request.method = Method::POST;
        request.path = format!("/shop.v1.Orders/Method{number}");
        request.headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        request
    }

    fn head(&self) -> RequestHead<'_> {
        RequestHead { method: &self.method, path: &self.path, query: Some(&self.query), headers: &self.headers }
    }
}

fn routed(request: impl Fn(usize) -> Request, matcher: impl Fn(usize) -> Match) -> Decisions {
    let rule = |number| Rule {
        name: format!("rule-{number}").into(),
        manifest: "".into(),
        matcher: matcher(number),
        filters: Filters::default(),
        action: Action::<()>::Respond(StatusCode::OK),
    };
    let routes = Routes::new((0..RULES).map(rule).collect());
    let requests: Vec<_> = (0..RULES).map(request).collect();
    for (number, request) in requests.iter().enumerate() {
        assert_eq!(*routes.find(&request.head()).unwrap().name, format!("rule-{number}"));
    }
    decisions(requests, move |request| routes.find(&request.head()).is_some())
}

fn by_path() -> Decisions {
    routed(Request::new, |number| Match {
        path: PathMatch::Exact(format!("/shop/v1/service-{number}/orders/17")),
        ..Match::any()
    })
}

fn by_segments() -> Decisions {
    routed(Request::new, |number| Match {
        path: PathMatch::Segments(format!("/shop/v1/service-{number}")),
        ..Match::any()
    })
}

fn by_regex() -> Decisions {
    routed(Request::new, |number| Match {
        path: PathMatch::Regex(Pattern::new(&format!("/shop/v[0-9]+/service-{number}/orders/[^/]+")).unwrap()),
        ..Match::any()
    })
}

fn by_header() -> Decisions {
    let name = HeaderName::from_static("x-tenant");
    routed(Request::new, |number| Match {
        headers: vec![HeaderMatch { name: name.clone(), value: TextMatch::Exact(format!("tenant-{number}")) }],
        ..Match::any()
    })
}

fn by_query() -> Decisions {
    routed(Request::new, |number| Match {
        query: vec![QueryMatch { name: "tenant".to_owned(), value: TextMatch::Exact(number.to_string()) }],
        ..Match::any()
    })
}

fn grpc_methods() -> Decisions {
    routed(Request::grpc, |number| Match {
        path: PathMatch::Exact(format!("/shop.v1.Orders/Method{number}")),
        method: Some(Method::POST),
        grpc: true,
        ..Match::any()
    })
}

fn weighted_backend() -> Decisions {
    let backends = Weighted::new(vec![("v1", 90), ("v2", 9), ("v3", 1)]).unwrap();
    decisions(randoms(), move |random| *backends.pick(*random))
}
