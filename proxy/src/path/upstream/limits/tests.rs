//! Limits of requests and connections, with real sockets where connections are at stake.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{Request, Version};
use http_body_util::BodyExt as _;
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};
use weft_rules::limits::Limits;

use crate::discovery::{ClusterPolicy, Place};
use crate::path::body::Body;
use crate::path::http::{self as server, Version as Speaks};
use crate::path::upstream::testing::{World, at};
use crate::path::upstream::{EndpointState, PickBy, SendError};
use crate::telemetry::conditions::Breaker;

fn policy(limits: Limits) -> ClusterPolicy {
    ClusterPolicy { limits, connect_timeout: Duration::from_secs(5), ..ClusterPolicy::default() }
}

fn open(world: &World) -> Vec<Breaker> {
    world.conditions.snapshot(Instant::now()).open_breakers.iter().map(|open| open.which).collect()
}

#[test]
fn no_more_requests_are_admitted_than_may_be() {
    let world = World::new();
    let limits = Limits { max_requests: Some(2), ..Limits::default() };
    let (_named, cluster) = world.cluster(policy(limits), Vec::new());
    let first = cluster.admit().unwrap();
    let _second = cluster.admit().unwrap();
    assert!(open(&world).is_empty());
    let refused = cluster.admit().unwrap_err();
    assert_eq!(refused.which, Breaker::Requests);
    assert_eq!(refused.to_string(), "shop/api:8080 has 2 requests under way, as many as requests.max allows");
    drop(first);
    let _third = cluster.admit().unwrap();
    assert_eq!(open(&world), [Breaker::Requests]);
}

#[test]
fn a_breaker_closes_when_there_was_room_for_a_while_and_with_its_cluster() {
    let world = World::new();
    let limits = Limits { max_requests: Some(0), ..Limits::default() };
    let (named, cluster) = world.cluster(policy(limits), Vec::new());
    cluster.admit().unwrap_err();
    world.upstreams.maintain(Instant::now(), &Place::default());
    world.upstreams.maintain(Instant::now(), &Place::default());
    assert_eq!(open(&world), [Breaker::Requests], "none has ever room");
    drop((named, cluster));
    world.upstreams.maintain(Instant::now(), &Place::default());
    assert!(open(&world).is_empty());

    let limits = Limits { max_requests: Some(1), ..Limits::default() };
    let (_named, cluster) = world.cluster(policy(limits), Vec::new());
    let permit = cluster.admit().unwrap();
    cluster.admit().unwrap_err();
    drop(permit);
    world.upstreams.maintain(Instant::now(), &Place::default());
    assert_eq!(open(&world), [Breaker::Requests], "it was refused just now");
    world.upstreams.maintain(Instant::now(), &Place::default());
    assert!(open(&world).is_empty());
}

/// An application that answers each request with the number of its connection.
async fn application() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        for number in 0_u32.. {
            let (stream, _) = listener.accept().await.unwrap();
            spawn_local(async move {
                let (_drainer, drain) = crate::drain::channel();
                let mut start = [0; 3];
                let speaks = match stream.peek(&mut start).await {
                    Ok(3) if &start == b"PRI" => Speaks::Http2,
                    _ => Speaks::Http1,
                };
                server::serve(stream, speaks, &drain, async move |_| {
                    http::Response::new(Body::text(number.to_string()))
                })
                .await;
            });
        }
    });
    address
}

async fn ask(endpoint: &Rc<EndpointState>, version: Version) -> Result<String, SendError> {
    let mut request = Request::builder().uri("http://api/").header("host", "api").body(Body::empty()).unwrap();
    *request.version_mut() = version;
    let response = endpoint.send(request).await?;
    Ok(String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap())
}

#[tokio::test]
async fn requests_wait_for_a_connection_and_share_it() {
    LocalSet::new()
        .run_until(async {
            for version in [Version::HTTP_11, Version::HTTP_2] {
                let world = World::new();
                let limits = Limits { max_connections: Some(1), ..Limits::default() };
                let (_named, cluster) = world.cluster(policy(limits), vec![at(application().await)]);
                let endpoint = world.pick(&cluster, &PickBy::default()).unwrap();
                let asked = (0..10).map(|_| ask(&endpoint, version));
                for answer in futures::future::join_all(asked).await {
                    assert_eq!(answer.unwrap(), "0", "all by the one connection");
                }
                assert!(open(&world).is_empty());
            }
        })
        .await;
}

#[tokio::test]
async fn an_idle_connection_makes_room_for_another_endpoint() {
    LocalSet::new()
        .run_until(async {
            let world = World::new();
            let limits = Limits { max_connections: Some(1), ..Limits::default() };
            let (_named, cluster) =
                world.cluster(policy(limits), vec![at(application().await), at(application().await)]);
            let first = world.pick(&cluster, &PickBy::default()).unwrap();
            let tried = [first.endpoint.address];
            let second = world.pick(&cluster, &PickBy { tried: &tried, ..PickBy::default() }).unwrap();
            for _ in 0..3 {
                ask(&first, Version::HTTP_11).await.unwrap();
                ask(&second, Version::HTTP_2).await.unwrap();
                drop(first.connect().await.unwrap());
            }
        })
        .await;
}

#[tokio::test]
async fn a_connection_that_becomes_idle_makes_room_for_another_endpoint() {
    LocalSet::new()
        .run_until(async {
            for (before, after) in [
                (Version::HTTP_11, Version::HTTP_11),
                (Version::HTTP_11, Version::HTTP_2),
                (Version::HTTP_2, Version::HTTP_11),
                (Version::HTTP_2, Version::HTTP_2),
            ] {
                let world = World::new();
                let limits = Limits { max_connections: Some(1), ..Limits::default() };
                let (_named, cluster) =
                    world.cluster(policy(limits), vec![at(application().await), at(application().await)]);
                let first = world.pick(&cluster, &PickBy::default()).unwrap();
                let tried = [first.endpoint.address];
                let second = world.pick(&cluster, &PickBy { tried: &tried, ..PickBy::default() }).unwrap();
                let (before, after) = tokio::join!(ask(&first, before), ask(&second, after));
                assert_eq!((before.unwrap(), after.unwrap()), ("0".to_owned(), "0".to_owned()));
            }
        })
        .await;
}

#[tokio::test]
async fn what_cannot_wait_or_waits_in_vain_overflows() {
    LocalSet::new()
        .run_until(async {
            let world = World::new();
            let limits = Limits { max_connections: Some(1), max_pending: Some(1), ..Limits::default() };
            let policy = ClusterPolicy { connect_timeout: Duration::from_millis(50), ..policy(limits) };
            let (_named, cluster) = world.cluster(policy, vec![at(application().await)]);
            let endpoint = world.pick(&cluster, &PickBy::default()).unwrap();
            let _held = endpoint.connect().await.unwrap();
            for version in [Version::HTTP_11, Version::HTTP_2] {
                let (waited, refused) = tokio::join!(ask(&endpoint, version), ask(&endpoint, version));
                let which = |result| match result {
                    Err(SendError::Overflow(overflow)) => overflow.which,
                    other => panic!("{other:?}"),
                };
                assert_eq!(which(waited), Breaker::Connections);
                assert_eq!(which(refused), Breaker::Pending);
            }
            assert_eq!(open(&world), [Breaker::Connections, Breaker::Pending]);
        })
        .await;
}

#[tokio::test]
async fn connections_that_are_too_old_are_replaced() {
    LocalSet::new()
        .run_until(async {
            for version in [Version::HTTP_11, Version::HTTP_2] {
                let world = World::new();
                let policy = ClusterPolicy { max_connection_age: Some(Duration::ZERO), ..ClusterPolicy::default() };
                let (_named, cluster) = world.cluster(policy, vec![at(application().await)]);
                let endpoint = world.pick(&cluster, &PickBy::default()).unwrap();
                assert_eq!(ask(&endpoint, version).await.unwrap(), "0");
                assert_eq!(ask(&endpoint, version).await.unwrap(), "1");
            }
        })
        .await;
}

#[tokio::test]
async fn connections_that_are_idle_for_too_long_are_closed() {
    LocalSet::new()
        .run_until(async {
            for version in [Version::HTTP_11, Version::HTTP_2] {
                let world = World::new();
                let policy = ClusterPolicy { idle_timeout: Some(Duration::from_secs(60)), ..ClusterPolicy::default() };
                let (_named, cluster) = world.cluster(policy, vec![at(application().await)]);
                let endpoint = world.pick(&cluster, &PickBy::default()).unwrap();
                let soon = Instant::now() + Duration::from_secs(30);
                ask(&endpoint, version).await.unwrap();
                world.upstreams.maintain(soon, &Place::default());
                assert_eq!(ask(&endpoint, version).await.unwrap(), "0");
                world.upstreams.maintain(soon + Duration::from_secs(60), &Place::default());
                assert_eq!(ask(&endpoint, version).await.unwrap(), "1");
            }
        })
        .await;
}
