//! Health checks of applications that are well, ill and gone.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};
use weft_rules::balance::BalancePolicy;
use weft_rules::health::{HealthPolicy, Probe};

use crate::discovery::{ClusterPolicy, Place};
use crate::path::body::Body;
use crate::path::http::{self as server, Version};
use crate::path::upstream::testing::{World, at};
use crate::path::upstream::{ClusterState, PickBy};

const INTERVAL: Duration = Duration::from_millis(10);
/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(10);

fn policy(probe: Probe) -> ClusterPolicy {
    let health = HealthPolicy {
        interval: INTERVAL,
        timeout: Duration::from_secs(5),
        healthy_threshold: 2,
        unhealthy_threshold: 2,
        probe,
    };
    let balance = BalancePolicy { panic_percent: 0, ..BalancePolicy::default() };
    ClusterPolicy { health: Some(health), balance, ..ClusterPolicy::default() }
}

/// An application that answers `/healthz` and `Health/Check` as it is told.
async fn application(status: Rc<Cell<StatusCode>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let status = Rc::clone(&status);
            spawn_local(async move {
                let (_drainer, drain) = crate::drain::channel();
                let mut start = [0; 3];
                let is_http2 = matches!(stream.peek(&mut start).await, Ok(3)) && &start == b"PRI";
                let version = if is_http2 { Version::Http2 } else { Version::Http1 };
                server::serve(stream, version, &drain, async move |request| {
                    assert_eq!(request.headers()["user-agent"].as_bytes().get(..17), Some(&b"weft-health-check"[..]));
                    match request.uri().path() {
                        "/healthz" => Response::builder().status(status.get()).body(Body::text("well or not")).unwrap(),
                        "/grpc.health.v1.Health/Check" => check(status.get()),
                        other => panic!("{other} was asked for"),
                    }
                })
                .await;
            });
        }
    });
    address
}

/// A HealthCheckResponse of SERVING or NOT_SERVING.
fn check(status: StatusCode) -> Response<Body> {
    let serving = if status.is_success() { 1 } else { 2 };
    let headers = HeaderMap::from_iter([
        (http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
        (http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0")),
    ]);
    let mut response = Response::new(Body::text(vec![0, 0, 0, 0, 2, 8, serving]));
    *response.headers_mut() = headers;
    response
}

/// Waits until the cluster has an endpoint to pick, or none.
async fn until(world: &World, cluster: &ClusterState, picked: bool) {
    let changed = async {
        while world.pick(cluster, &PickBy::default()).is_some() != picked {
            tokio::time::sleep(INTERVAL).await;
        }
    };
    tokio::time::timeout(PATIENCE, changed).await.unwrap();
}

async fn is_left_out_while_ill(probe: Probe) {
    let world = World::new();
    let status = Rc::new(Cell::new(StatusCode::OK));
    let (_named, cluster) = world.cluster(policy(probe), vec![at(application(Rc::clone(&status)).await)]);
    assert!(world.pick(&cluster, &PickBy::default()).is_some());
    for (now, picked) in [(StatusCode::SERVICE_UNAVAILABLE, false), (StatusCode::OK, true)] {
        status.set(now);
        until(&world, &cluster, picked).await;
    }
}

fn http() -> Probe {
    Probe::Http { path: "/healthz".parse().unwrap(), host: None, expected: Vec::new() }
}

#[tokio::test]
async fn an_endpoint_is_left_out_while_it_is_ill() {
    LocalSet::new().run_until(is_left_out_while_ill(http())).await;
}

#[tokio::test]
async fn grpc_endpoints_are_asked_by_grpc() {
    LocalSet::new().run_until(is_left_out_while_ill(Probe::Grpc { service: String::new() })).await;
}

#[tokio::test]
async fn an_endpoint_that_takes_no_connection_is_ill() {
    LocalSet::new()
        .run_until(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let world = World::new();
            let (_named, cluster) = world.cluster(policy(Probe::Tcp), vec![at(address)]);
            assert!(world.pick(&cluster, &PickBy::default()).is_some());
            drop(listener);
            until(&world, &cluster, false).await;
            let _listener = TcpListener::bind(address).await.unwrap();
            until(&world, &cluster, true).await;
        })
        .await;
}

#[tokio::test]
async fn one_worker_checks_for_all() {
    LocalSet::new()
        .run_until(async {
            let status = Rc::new(Cell::new(StatusCode::SERVICE_UNAVAILABLE));
            let (checks, uses) = (World::new(), World::new());
            let (named, checker) = checks.cluster(policy(http()), vec![at(application(status).await)]);
            let user = uses.upstreams.cluster(&named);
            // No traffic of the one that checks.
            checks.upstreams.maintain(Instant::now(), &Place::default());
            assert!(uses.pick(&user, &PickBy::default()).is_some());
            until(&uses, &user, false).await;
            drop(checker);
        })
        .await;
}

#[tokio::test]
async fn what_is_gone_is_checked_no_more_though_a_request_still_holds_it() {
    LocalSet::new()
        .run_until(async {
            let world = World::new();
            let status = Rc::new(Cell::new(StatusCode::OK));
            let (named, cluster) = world.cluster(policy(http()), vec![at(application(status).await)]);
            let used = world.pick(&cluster, &PickBy::default()).unwrap();
            assert_eq!(Rc::weak_count(&used), 1, "the check's");
            drop((named, cluster));
            world.upstreams.maintain(Instant::now(), &Place::default());
            let ended = async {
                while Rc::weak_count(&used) > 0 {
                    tokio::time::sleep(INTERVAL).await;
                }
            };
            tokio::time::timeout(PATIENCE, ended).await.unwrap();
        })
        .await;
}
