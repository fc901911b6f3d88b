//! gRPC, faults, mirrors, and which endpoint has a request.

use std::time::Duration;

use weft_tests::apps::Act;

use crate::case::{Case, Look, case, get, grpc, post};

fn grpc_routes() -> Vec<Case> {
    vec![
        case("gRPC: service and method", "grpc", grpc("/shop.Orders/Get"), "200 a; grpc-status 0")
            .plays([Act::grpc(0)]),
        case("gRPC: another method", "grpc", grpc("/shop.Orders/Put"), "200; grpc-status 12"),
        case("gRPC: any method of a service", "grpc", grpc("/shop.Carts/Put"), "200 b; grpc-status 0")
            .plays([Act::grpc(0)]),
        case("gRPC: regular expressions", "grpc", grpc("/shop.Users/ListAll"), "200 b; grpc-status 0")
            .plays([Act::grpc(0)]),
        case("gRPC: a service's name is not a prefix", "grpc", grpc("/shop.CartsOld/Put"), "200; grpc-status 12"),
    ]
}

pub(super) fn grpc_calls() -> Vec<Case> {
    let call = || grpc("/shop.Orders/Get");
    let calls = vec![
        case("gRPC: status among the headers, repeated", "retry-grpc", call(), "200 trio x2; grpc-status 0")
            .plays([Act::grpc_headers(14), Act::grpc(0)]),
        case("gRPC: status after a message is final", "retry-grpc", call(), "200 trio; grpc-status 14")
            .plays([Act::grpc(14), Act::grpc(0)]),
        case("gRPC: another status is final", "retry-grpc", call(), "200 trio; grpc-status 13")
            .plays([Act::grpc_headers(13), Act::grpc(0)]),
        case("gRPC: as often as asked for", "retry-grpc", call(), "200 trio x3; grpc-status 14")
            .plays([Act::grpc_headers(14)]),
        case("gRPC: a deadline in time", "plain", call().header("grpc-timeout", "5S"), "200 trio; grpc-status 0")
            .plays([Act::grpc(0)])
            .differs(
                "200 trio grpc-timeout: less; grpc-status 0",
                "an application is told what is left of the deadline",
            ),
        case("gRPC: a deadline that passes", "plain", call().header("grpc-timeout", "300m"), "200 trio; grpc-status 14")
            .plays([Act::grpc(0).after(Duration::from_millis(900))])
            .differs(
                "200 trio grpc-timeout: less; grpc-status 4",
                "a deadline that has passed is DEADLINE_EXCEEDED, and the application is told of it; to Envoy each 504 is UNAVAILABLE",
            ),
        case("gRPC: a connection that breaks", "plain", call(), "200 trio; grpc-status 14").plays([Act::reset()]),
    ];
    [grpc_routes(), calls].concat()
}

pub(super) fn faults() -> Vec<Case> {
    let delay = Duration::from_millis(290);
    vec![
        case("fault: abort", "fault", get("/abort"), "418"),
        case("fault: abort of a call", "fault", grpc("/grpc"), "200; grpc-status 8"),
        case("fault: delay", "fault", get("/delay"), "200 a, late").look(Look::Timed(delay)),
        case("fault: 0 %", "fault", get("/never"), "200 a").look(Look::Spread(10)),
        case("fault: its header", "fault", get("/matched").header("x-fault", "yes"), "503"),
        case("fault: not its header", "fault", get("/matched").header("x-fault", "no"), "200 a"),
    ]
}

pub(super) fn mirrors() -> Vec<Case> {
    vec![
        case("mirror: all, and its answer does not count", "mirrored", get("/all"), "200 a + mirror")
            .look(Look::Mirrored(true)),
        case("mirror: with the body", "mirrored", post("/all"), "200 a + mirror").look(Look::Mirrored(true)),
        case("mirror: 0 %", "mirrored", get("/none"), "200 a").look(Look::Mirrored(false)),
        case(
            "mirror: as rewritten",
            "mirrored",
            get("/rewritten/x"),
            "200 a, path /new/x, host other.example + mirror, path /new/x, host other.example",
        )
        .look(Look::Mirrored(true)),
    ]
}

pub(super) fn balancing() -> Vec<Case> {
    let slow = [Act::status(200).after(Duration::from_millis(400))];
    vec![
        case("ring hash: by header", "ring", get("/"), "each key keeps its pod, 3 pods").look(Look::Sticky("x-user")),
        case("Maglev: by header", "maglev", get("/"), "each key keeps its pod, 3 pods").look(Look::Sticky("x-user")),
        case("ring hash: by a cookie that is made", "hash-cookie", get("/"), "the session keeps its pod")
            .look(Look::Session("user", true)),
        case("session: in a cookie", "session", get("/cookie"), "the session keeps its pod")
            .look(Look::Session("place", true)),
        case("session: in a header", "session", get("/header"), "the session keeps its pod")
            .look(Look::Session("x-place", false)),
        case("round robin", "round", get("/"), "[10, 10, 10]").look(Look::Even(30)),
        case("one request at a time", "narrow", get("/"), "1 x 200, 2 x 503").plays(slow).look(Look::Crowd(3)),
    ]
}
