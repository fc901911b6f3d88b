//! How long, how often, and at whose cost.

use std::time::Duration;

use http::Method;
use weft_tests::apps::Act;

use crate::case::{Case, Look, ask, case, get, post};

fn fails(statuses: &[u16]) -> Vec<Act> {
    statuses.iter().map(|status| Act::status(*status)).collect()
}

pub(super) fn time_outs() -> Vec<Case> {
    let late = |ms| [Act::status(200).after(Duration::from_millis(ms))];
    vec![
        case("time-out: in time", "time", get("/request"), "200 a").plays(late(100)),
        case("time-out: of the request", "time", get("/request"), "504 a").plays(late(900)),
        case("time-out: of the only try", "time", get("/try"), "504 a").plays(late(900)),
        case("time-out: of a try, repeated", "time", get("/retry"), "200 a x2").plays([late(900), late(0)].concat()),
        case("time-out: of each try", "time", get("/retry"), "504 a x3").plays(late(900)),
        case("time-out: of the request, among tries", "time", get("/whole"), "504 a x3").plays(late(900)),
        case("time-out: headers in time, then nothing", "time", get("/request"), "200 a, cut").plays([Act::stall()]),
        case("time-out: none", "time", get("/free"), "200 a").plays(late(900)),
    ]
}

pub(super) fn by_status() -> Vec<Case> {
    vec![
        case("retry: once", "retry-codes", get("/once"), "200 trio x2").plays(fails(&[503, 200])),
        case("retry: no more than asked for", "retry-codes", get("/once"), "503 trio x2").plays(fails(&[503])),
        case("retry: twice", "retry-codes", get("/twice"), "200 trio x3").plays(fails(&[503, 500, 200])),
        case("retry: in vain, the last answer counts", "retry-codes", get("/twice"), "503 trio x3")
            .plays(fails(&[500, 500, 503])),
        case("retry: not this status", "retry-codes", get("/once"), "502 trio").plays(fails(&[502, 200])),
        case("retry: 0 attempts", "retry-codes", get("/never"), "503 trio").plays(fails(&[503, 200])),
        case("retry: none asked for", "retry-codes", get("/free"), "503 trio").plays(fails(&[503, 200])),
        case("retry: 5xx", "retry-5xx", get("/"), "200 trio x3").plays(fails(&[500, 599, 200])),
        case("retry: 5xx, not 4xx", "retry-5xx", get("/"), "404 trio").plays(fails(&[404, 200])),
        case("retry: 5xx, a success is final", "retry-5xx", get("/"), "200 trio").plays(fails(&[200])),
        case("retry: gateway error", "retry-gateway", get("/"), "200 trio x3").plays(fails(&[502, 504, 200])),
        case("retry: gateway error, not 500", "retry-gateway", get("/"), "500 trio").plays(fails(&[500, 200])),
        case("retry: 4xx, 409", "retry-4xx", get("/"), "200 trio x2").plays(fails(&[409, 200])),
        case("retry: 4xx, not 404", "retry-4xx", get("/"), "404 trio").plays(fails(&[404, 200])),
        case("retry: POST is not repeated", "retry-5xx", post("/"), "503 trio").plays(fails(&[503, 200])),
        case("retry: PUT is repeated", "retry-5xx", ask(Method::PUT, "/"), "200 trio x2").plays(fails(&[503, 200])),
        case("retry: PATCH is not repeated", "retry-5xx", ask(Method::PATCH, "/"), "503 trio")
            .plays(fails(&[503, 200])),
        case("retry: POST, where that is allowed, with its body", "retry-post", post("/"), "200 trio x2")
            .plays(fails(&[503, 200])),
        case("retry: over HTTP/2", "retry-5xx", get("/").http2(), "200 trio x2").plays(fails(&[503, 200])),
    ]
}

pub(super) fn by_failure() -> Vec<Case> {
    vec![
        case("reset: no retry asked for", "plain", get("/"), "503 trio")
            .plays([Act::reset()])
            .differs("502 trio", "502 tells an answer that broke off from an overload, which is what our 503 says"),
        case("reset: repeated", "retry-reset", get("/"), "200 trio x2").plays([Act::reset(), Act::default()]),
        case("reset: POST is not repeated", "retry-reset", post("/"), "503 trio")
            .plays([Act::reset(), Act::default()])
            .differs("502 trio", "502 tells an answer that broke off from an overload, which is what our 503 says"),
        case("reset: over HTTP/2, repeated", "retry-reset", get("/").http2(), "200 trio x2")
            .plays([Act::reset(), Act::default()]),
        case("reset: among 5xx", "retry-5xx", get("/"), "200 trio x2").plays([Act::reset(), Act::default()]),
        case("reset: in the middle of the body is final", "retry-reset", get("/"), "200 trio, cut")
            .plays([Act::cut_short(), Act::default()]),
        case("a body shorter than said", "retry-reset", get("/"), "200 trio, cut").plays([Act::lie(), Act::default()]),
        case("refused stream: repeated", "retry-refused", get("/").http2(), "200 trio x2")
            .plays([Act::refuse(), Act::default()]),
        case("refused stream: POST, too", "retry-refused", post("/").http2(), "200 trio x2")
            .plays([Act::refuse(), Act::default()]),
        case("refused stream: no retry asked for", "plain", get("/").http2(), "503 trio")
            .plays([Act::refuse(), Act::default()])
            .differs("200 trio x2", "what no application saw is repeated without being asked for"),
        case("connect failure: nobody there", "dead", get("/"), "503"),
        case("connect failure: another endpoint", "half", get("/"), "200 a").look(Look::Spread(6)),
        case("connect failure: POST, too", "half", post("/"), "200 a").look(Look::Spread(6)),
    ]
}

pub(super) fn waiting() -> Vec<Case> {
    let second = Duration::from_millis(950);
    let busy = |name, value| [Act::status(503).header(name, value), Act::default()];
    vec![
        case("retry-after: is waited for", "retry-5xx", get("/"), "200 trio x2, late")
            .plays(busy("retry-after", "1"))
            .look(Look::Timed(second)),
        case("x-ratelimit-reset: is waited for", "retry-5xx", get("/"), "200 trio x2, late")
            .plays(busy("x-ratelimit-reset", "1"))
            .look(Look::Timed(second)),
        case("retry-after: no number", "retry-5xx", get("/"), "200 trio x2, at once")
            .plays(busy("retry-after", "soon"))
            .look(Look::Timed(second)),
        case("retry: backs off briefly", "retry-5xx", get("/"), "503 trio x3, at once")
            .plays(fails(&[503]))
            .look(Look::Timed(second)),
    ]
}
