//! What is repeated, how often and when; how long a request may take; what is hedged.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use http::Method;
use libtest_mimic::Trial;
use weft_cli::world::World;
use weft_tests::apps::{Act, Seen};
use weft_tests::cast::{Cast, call, get, request, with};
use weft_tests::trial;

const LIMIT: Duration = Duration::from_secs(90);
const PODS: [&str; 3] = ["api-1", "api-2", "api-3"];
/// The longest body that is kept for a repetition.
const MOST_REPLAYED: usize = 64 * 1024;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("retries: by status, reset and time-out, each on another endpoint", LIMIT, retries),
        trial("retries: gRPC status, push-back and deadline", LIMIT, grpc),
        trial("retries: the budget bounds them", LIMIT, budget),
        trial("time-outs: of the request, of a try, of silence", LIMIT, time_outs),
        trial("hedging: an attempt that fails leaves the answer to the others", LIMIT, hedges_that_fail),
        trial("hedging: a slow endpoint does not make a slow answer", LIMIT, hedging),
    ]
}

const RETRY: &str = "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: api, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: api}]
  requests: {perTryTimeout: 400ms}
  retry:
    attempts: 2
    retryOn: [connect-failure, refused-stream, gateway-error, reset, per-try-timeout]
    backoff: {base: 10ms, max: 50ms}
";

async fn retries(world: World) -> Result<()> {
    let cast = Cast::start(&world, &PODS, RETRY).await?;
    let well = Act::default;

    let (answer, seen) = cast.play(get("/")?, [Act::status(503), Act::status(502), well()]).await?;
    answer.expect(200, "")?;
    on_different_pods(&seen, 3)?;

    let (answer, seen) = cast.play(get("/")?, [Act::status(503)]).await?;
    ensure!(answer.status == 503 && seen.len() == 3, "{answer:?} after {} attempts", seen.len());

    let (answer, seen) = cast.play(get("/")?, [Act::reset(), well()]).await?;
    answer.expect(200, "")?;
    on_different_pods(&seen, 2)?;

    let (answer, seen) = cast.play(get("/")?, [Act::silence(), well()]).await?;
    answer.expect(200, "")?;
    on_different_pods(&seen, 2)?;
    let (least, most) = (Duration::from_millis(400), Duration::from_millis(1500));
    ensure!((least..most).contains(&answer.elapsed), "a try of 400 ms ended after {:?}", answer.elapsed);

    for (method, attempts) in [(Method::PUT, 2), (Method::DELETE, 2), (Method::POST, 1), (Method::PATCH, 1)] {
        let (answer, seen) = cast.play(request(method.clone(), "/", "data")?, [Act::status(503), well()]).await?;
        ensure!(seen.len() == attempts, "{method} was sent {} times: {answer:?}", seen.len());
    }

    // A body is repeated as it was, up to 64 KiB; one byte more, and there is one attempt alone.
    for (length, attempts) in [(MOST_REPLAYED, 2), (MOST_REPLAYED + 1, 1)] {
        let body: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        let (answer, seen) = cast.play(request(Method::PUT, "/", body.clone())?, [Act::status(503), well()]).await?;
        ensure!(seen.len() == attempts, "{length} bytes were sent {} times: {answer:?}", seen.len());
        ensure!(seen.iter().all(|seen| seen.body == body), "a body was changed on the way");
    }

    let (answer, seen) = cast.play(get("/")?, [Act::status(503).header("retry-after", "1"), well()]).await?;
    ensure!(answer.status == 200 && seen.len() == 2, "{answer:?}");
    ensure!(answer.elapsed >= Duration::from_secs(1), "Retry-After was not waited for: {:?}", answer.elapsed);

    // What has begun to come back is not repeated.
    for act in [Act::cut_short(), Act::lie()] {
        let (answer, seen) = cast.play(get("/")?, [act.clone(), well()]).await?;
        ensure!(seen.len() == 1 && answer.status == 200 && answer.trailers.is_none(), "{act:?}: {answer:?}");
    }
    cast.metric_reaches("weft_retries_total", &[("destination", "default/api:80")], 8.0).await
}

fn on_different_pods(seen: &[Seen], attempts: usize) -> Result<()> {
    let pods: BTreeSet<&str> = seen.iter().map(|seen| seen.pod.as_str()).collect();
    ensure!(seen.len() == attempts && pods.len() == attempts, "{} attempts on {pods:?}", seen.len());
    Ok(())
}

const GRPC: &str = "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: api, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: api}]
  retry: {attempts: 2, grpcStatuses: [UNAVAILABLE], methods: [POST], backoff: {base: 10ms, max: 50ms}}
";

async fn grpc(world: World) -> Result<()> {
    let cast = Cast::start(&world, &PODS, GRPC).await?;
    let grpc_status = |answer: &weft_tests::client::Answer| answer.header("grpc-status").map(str::to_owned);

    let (answer, seen) = cast.play(call("/shop.Orders/Get")?, [Act::grpc_headers(14), Act::grpc(0)]).await?;
    ensure!(seen.len() == 2 && grpc_status(&answer).as_deref() == Some("0"), "{answer:?}");
    let (answer, seen) = cast.play(call("/shop.Orders/Get")?, [Act::grpc_headers(3), Act::grpc(0)]).await?;
    ensure!(seen.len() == 1 && grpc_status(&answer).as_deref() == Some("3"), "{answer:?}");

    // The server says when, or that it should not be tried again at all.
    let push_back = |value: &str| Act::grpc_headers(14).header("grpc-retry-pushback-ms", value);
    let (answer, seen) = cast.play(call("/shop.Orders/Get")?, [push_back("500"), Act::grpc(0)]).await?;
    ensure!(seen.len() == 2 && grpc_status(&answer).as_deref() == Some("0"), "{answer:?}");
    ensure!(answer.elapsed >= Duration::from_millis(500), "push-back was not waited for: {:?}", answer.elapsed);
    let (answer, seen) = cast.play(call("/shop.Orders/Get")?, [push_back("-1"), Act::grpc(0)]).await?;
    ensure!(seen.len() == 1 && grpc_status(&answer).as_deref() == Some("14"), "{answer:?}");

    // A deadline is told to the application, shortened, and ends the call.
    let timed = with(call("/shop.Orders/Get")?, "grpc-timeout", "600m")?;
    let (answer, seen) = cast.play(timed, [Act::silence()]).await?;
    ensure!(grpc_status(&answer).as_deref() == Some("4"), "no DEADLINE_EXCEEDED: {answer:?}");
    let (least, most) = (Duration::from_millis(550), Duration::from_millis(1500));
    ensure!((least..most).contains(&answer.elapsed), "a deadline of 600 ms ended after {:?}", answer.elapsed);
    let told = seen.first().and_then(|seen| seen.header("grpc-timeout")).map(str::to_owned);
    let left = told.as_deref().and_then(in_microseconds);
    ensure!(left.is_some_and(|left| left > 0 && left < 600_000), "the application was told {told:?} of 600 ms");
    Ok(())
}

/// `500m` -> 500000.
fn in_microseconds(timeout: &str) -> Option<u64> {
    let (digits, unit) = timeout.split_at_checked(timeout.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok()?;
    match unit {
        "S" => number.checked_mul(1_000_000),
        "m" => number.checked_mul(1_000),
        "u" => Some(number),
        "n" => Some(number / 1_000),
        _ => None,
    }
}

const BUDGET: &str = "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: api, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: api}]
  retry:
    attempts: 3
    retryOn: [5xx]
    backoff: {base: 1ms, max: 2ms}
    budget: {percent: 20, minPerSecond: 1, window: 10s}
";

async fn budget(world: World) -> Result<()> {
    const REQUESTS: usize = 300;
    let cast = Cast::start(&world, &PODS, BUDGET).await?;
    for pod in &cast.pods {
        cast.stage.always(pod, Act::status(503));
    }
    let begun = std::time::Instant::now();
    let answers = try_join_all((0..REQUESTS).map(|_| cast.get("/"))).await?;
    ensure!(answers.iter().all(|answer| answer.status == 503), "not every answer is a 503");
    let retries = cast.stage.take().len() - REQUESTS;
    // A fifth of the requests, and what is allowed in any case: one a second, saved up for the window at most.
    let most = REQUESTS as f64 * 0.2 + 10.0 + begun.elapsed().as_secs_f64();
    ensure!(
        retries > 0 && retries as f64 <= most,
        "{retries} retries of {REQUESTS} requests, at most {most:.0} are allowed"
    );
    cast.metric_reaches("weft_retries_denied_total", &[("cause", "budget")], 1.0).await
}

const TIME_OUTS: &str = "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: api, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: api}]
  requests: {timeout: 700ms}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, namespace: default}
spec:
  parentRefs: [{group: '', kind: Service, name: api}]
  rules:
  - matches: [{path: {value: /short}}]
    timeouts: {request: 300ms}
    backendRefs: [{name: api, port: 80}]
  - matches: [{path: {value: /try}}]
    timeouts: {request: 5s, backendRequest: 300ms}
    backendRefs: [{name: api, port: 80}]
  - matches: [{path: {value: /free}}]
    timeouts: {request: 0s}
    backendRefs: [{name: api, port: 80}]
  - backendRefs: [{name: api, port: 80}]
---
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: api-2, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: api-2}]
  requests: {idleTimeout: 400ms}
";

async fn time_outs(world: World) -> Result<()> {
    let cast = Cast::start(&world, &["api-1", "api-2"], TIME_OUTS).await?;
    let within = |elapsed: Duration, limit: u64| {
        let (least, most) = (Duration::from_millis(limit - 10), Duration::from_millis(limit + 600));
        ensure!((least..most).contains(&elapsed), "a time-out of {limit} ms came after {elapsed:?}");
        Ok(())
    };
    // The rule's own time-out counts, else the policy's.
    for (path, reason, limit) in [("/short", "timeout", 300), ("/try", "per_try_timeout", 300), ("/", "timeout", 700)] {
        let (answer, seen) = cast.play(get(path)?, [Act::silence()]).await?;
        answer.expect(504, reason)?;
        ensure!(seen.len() == 1, "{path}: {} attempts", seen.len());
        within(answer.elapsed, limit)?;
        let labels = [("destination", "default/api:80"), ("reason", reason)];
        cast.metric_reaches("weft_proxy_answers_total", &labels, 1.0).await?;
    }
    let (answer, _) = cast.play(get("/free")?, [Act::default().after(Duration::from_millis(1000))]).await?;
    answer.expect(200, "")?;
    // An answer that has begun is cut off.
    let (answer, _) = cast.play(get("/short")?, [Act::stall()]).await?;
    ensure!(answer.status == 200 && answer.trailers.is_none(), "{answer:?}");
    within(answer.elapsed, 300)?;
    // Nothing at all in either direction.
    let (answer, _) = cast.play_at(cast.own(1)?, get("/")?, [Act::silence()]).await?;
    answer.expect(504, "idle_timeout")?;
    within(answer.elapsed, 400)?;
    let (answer, _) = cast.play_at(cast.own(1)?, get("/")?, [Act::stall()]).await?;
    ensure!(answer.status == 200 && answer.trailers.is_none(), "{answer:?}");
    within(answer.elapsed, 400)
}

const HEDGE: &str = "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: api, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: api}]
  hedge: {after: 150ms, max: 1}
";

const HEDGE_ONCE: &str = "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: api, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: api}]
  retry: {attempts: 1, statusCodes: [502, 503]}
  hedge: {after: 150ms, max: 1}
";

async fn hedges_that_fail(world: World) -> Result<()> {
    let cast = Cast::start(&world, &PODS, HEDGE_ONCE).await?;
    for failing in [Act::status(503), Act::reset()] {
        let late = Act::default().after(Duration::from_millis(600));
        let (answer, seen) = cast.play(get("/")?, [late, failing]).await?;
        answer.expect(200, "")?;
        ensure!(seen.len() == 2, "{answer:?} after {} attempts", seen.len());
    }
    Ok(())
}

async fn hedging(world: World) -> Result<()> {
    let cast = Cast::start(&world, &PODS, HEDGE).await?;
    let slow = || Act::default().after(Duration::from_secs(3));
    let (answer, seen) = cast.play(get("/")?, [slow(), Act::default()]).await?;
    answer.expect(200, "")?;
    ensure!(answer.elapsed < Duration::from_secs(2), "the second attempt's answer was not taken: {:?}", answer.elapsed);
    on_different_pods(&seen, 2)?;
    // The first is not given up: whoever answers first counts.
    let late = Act::default().after(Duration::from_millis(600));
    let (answer, seen) = cast.play(get("/")?, [late, slow()]).await?;
    answer.expect(200, "")?;
    ensure!(seen.len() == 2 && answer.elapsed < Duration::from_secs(2), "{answer:?} after {} attempts", seen.len());
    // A POST is sent once, a quick answer needs no second attempt.
    let (answer, seen) =
        cast.play(request(Method::POST, "/", "order")?, [Act::default().after(Duration::from_millis(500))]).await?;
    ensure!(answer.status == 200 && seen.len() == 1, "POST: {answer:?} after {} attempts", seen.len());
    let (answer, seen) = cast.play(get("/")?, [Act::default()]).await?;
    ensure!(answer.status == 200 && seen.len() == 1, "{answer:?} after {} attempts", seen.len());
    Ok(())
}
