//! Faulty applications, faults that are made, and mirrors: what each does to the request, and to nobody else.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use http::Method;
use libtest_mimic::Trial;
use weft_cli::world::{World, wait_until};
use weft_tests::apps::Act;
use weft_tests::cast::{Cast, HTTP, HTTP_TARGET, SOON, call, get, request, with};
use weft_tests::{client, trial};

const LIMIT: Duration = Duration::from_secs(90);
/// A policy that would repeat nearly everything.
const RETRY: &str = "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: api, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: api}]
  requests: {timeout: 2s}
  retry: {attempts: 2, retryOn: [connect-failure, refused-stream, reset, 5xx], backoff: {base: 5ms, max: 10ms}}
";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("faulty applications: each alone, as well as can be", LIMIT, faulty),
        trial("faulty applications: one among others goes unnoticed", LIMIT, among_others),
        trial("fault injection: aborts and delays, by share and by match", LIMIT, injected),
        trial("mirror: a share, and never at the request's cost", LIMIT, mirror),
    ]
}

async fn faulty(world: World) -> Result<()> {
    let cast = Cast::start(&world, &["api-1"], "").await?;
    let pod = cast.pod(0)?;
    // Refuses: nothing listens.
    let refusing = world.service("refusing").port(HTTP, 9999, "http").backends([pod]).create()?;
    wait_until("the Service to be known", SOON, async || {
        client::ask(&cast.web, refusing.address(HTTP), get("/")?).await?.expect(503, "connect_failed")
    })
    .await?;
    // Resets at once.
    let (answer, seen) = cast.play(get("/")?, [Act::reset()]).await?;
    answer.expect(502, "upstream_reset")?;
    ensure!(seen.len() == 1, "a GET was sent {} times without being asked for", seen.len());
    // Resets in the middle, and lies about the length: the client can tell that something is missing.
    for act in [Act::cut_short(), Act::lie()] {
        let (answer, seen) = cast.play(get("/")?, [act.clone()]).await?;
        ensure!(answer.status == 200 && answer.trailers.is_none(), "{act:?} is taken for a whole answer: {answer:?}");
        ensure!(seen.len() == 1, "{act:?} was asked {} times", seen.len());
    }
    // Slow: waited for.
    let (answer, _) = cast.play(get("/")?, [Act::default().after(Duration::from_secs(1))]).await?;
    answer.expect(200, "")?;
    // Headers, then nothing: they are passed on at once.
    let mut sender = client::http1(&cast.web, cast.at()).await?;
    cast.stage.always(pod, Act::stall());
    let begun = Instant::now();
    let response = sender.send_request(client::get_request("/")?).await?;
    ensure!(response.status() == 200, "{response:?}");
    ensure!(begun.elapsed() < Duration::from_secs(1), "the headers were kept for {:?}", begun.elapsed());
    drop(response);
    // Others are served meanwhile, and afterwards.
    cast.stage.always(pod, Act::default());
    cast.get("/").await?.expect(200, "")
}

async fn among_others(world: World) -> Result<()> {
    let cast = Cast::start(&world, &["api-1", "api-2", "api-3"], RETRY).await?;
    let faulty = cast.pod(0)?;
    let well = Act::default;
    let habits = [
        ("resets", vec![Act::reset()]),
        ("flaps", vec![well(), Act::status(503), Act::reset(), well()]),
        ("fails", vec![Act::status(500)]),
    ];
    for (how, acts) in habits {
        cast.stage.flap(faulty, acts);
        let answers = try_join_all((0..40).map(|_| cast.get("/"))).await?;
        let lost = answers.iter().find(|answer| answer.status != 200);
        ensure!(lost.is_none(), "one pod that {how} is noticed: {lost:?}");
    }
    // Its sidecar answers, but nobody listens behind it.
    let dead = world.pod("api-0").service_account("api").sidecar().start().await?;
    let all = cast.pods.iter().chain([&dead]);
    world.service("api").port(HTTP, HTTP_TARGET, "http").backends(all).create_as(&cast.service)?;
    cast.stage.always(faulty, well());
    wait_until("the dead endpoint to be tried", SOON, async || {
        let answers = try_join_all((0..20).map(async |_| cast.ask(request(Method::POST, "/", "order")?).await)).await?;
        let lost = answers.iter().find(|answer| answer.status != 200);
        ensure!(lost.is_none(), "a pod where nothing listens is noticed: {lost:?}");
        let tried = cast.metric("weft_retries_total", &[("destination", "default/api:80")]).await?;
        ensure!(tried > 0.0, "not tried yet");
        Ok(())
    })
    .await
}

const INJECTED: &str = "
apiVersion: weft.dev/v1alpha1
kind: FaultInjection
metadata: {name: abort, namespace: default}
spec: {abort: {httpStatus: 418, percent: 100}}
---
apiVersion: weft.dev/v1alpha1
kind: FaultInjection
metadata: {name: half, namespace: default}
spec: {abort: {httpStatus: 503, percent: 50}}
---
apiVersion: weft.dev/v1alpha1
kind: FaultInjection
metadata: {name: slow, namespace: default}
spec: {delay: {fixed: 400ms, percent: 100}, headers: [{name: x-fault, value: 'yes', type: Exact}]}
---
apiVersion: weft.dev/v1alpha1
kind: FaultInjection
metadata: {name: call, namespace: default}
spec: {abort: {grpcStatus: UNAVAILABLE, percent: 100}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, namespace: default}
spec:
  parentRefs: [{group: '', kind: Service, name: api}]
  rules:
  - matches: [{path: {value: /abort}}]
    filters: [{type: ExtensionRef, extensionRef: {group: weft.dev, kind: FaultInjection, name: abort}}]
    backendRefs: [{name: api, port: 80}]
  - matches: [{path: {value: /half}}]
    filters: [{type: ExtensionRef, extensionRef: {group: weft.dev, kind: FaultInjection, name: half}}]
    backendRefs: [{name: api, port: 80}]
  - matches: [{path: {value: /slow}}]
    filters: [{type: ExtensionRef, extensionRef: {group: weft.dev, kind: FaultInjection, name: slow}}]
    backendRefs: [{name: api, port: 80}]
  - backendRefs: [{name: api, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: api-1, namespace: default}
spec:
  parentRefs: [{group: '', kind: Service, name: api-1}]
  rules:
  - filters: [{type: ExtensionRef, extensionRef: {group: weft.dev, kind: FaultInjection, name: call}}]
    backendRefs: [{name: api-1, port: 80}]
";

async fn injected(world: World) -> Result<()> {
    const REQUESTS: u32 = 200;
    let cast = Cast::start(&world, &["api-1"], INJECTED).await?;
    let (answer, seen) = cast.play(get("/abort")?, []).await?;
    answer.expect(418, "fault_abort")?;
    ensure!(seen.is_empty(), "an aborted request arrived");

    cast.stage.take();
    let answers = try_join_all((0..REQUESTS).map(|_| cast.get("/half"))).await?;
    let aborted = answers.iter().filter(|answer| answer.status == 503).count();
    // 4.5 standard deviations.
    ensure!((68..=132).contains(&aborted), "{aborted} of {REQUESTS} were aborted, not half of them");
    ensure!(cast.stage.take().len() + aborted == REQUESTS as usize, "an aborted request arrived, or another was lost");

    for (header, least, most) in [("yes", 400, 1500), ("no", 0, 390)] {
        let (answer, _) = cast.play(with(get("/slow")?, "x-fault", header)?, []).await?;
        answer.expect(200, "")?;
        let (least, most) = (Duration::from_millis(least), Duration::from_millis(most));
        ensure!((least..most).contains(&answer.elapsed), "x-fault: {header} took {:?}", answer.elapsed);
    }

    let (answer, seen) = cast.play_at(cast.own(0)?, call("/shop.Orders/Get")?, []).await?;
    ensure!(answer.header("grpc-status") == Some("14") && seen.is_empty(), "{answer:?}");

    cast.metric_reaches("weft_faults_injected_total", &[("kind", "abort")], aborted as f64 + 2.0).await?;
    cast.metric_reaches("weft_faults_injected_total", &[("kind", "delay")], 1.0).await?;
    let log = cast.web.sidecar()?.process().log()?;
    ensure!(log.contains("flags=FI") && log.contains("flags=DI"), "the access log does not tell faults:\n{log}");
    Ok(())
}

const MIRROR: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, namespace: default}
spec:
  parentRefs: [{group: '', kind: Service, name: api}]
  rules:
  - matches: [{path: {value: /all}}]
    filters: [{type: RequestMirror, requestMirror: {backendRef: {name: api-2, port: 80}}}]
    backendRefs: [{name: api-1, port: 80}]
  - matches: [{path: {value: /half}}]
    filters: [{type: RequestMirror, requestMirror: {backendRef: {name: api-2, port: 80}, fraction: {numerator: 1, denominator: 2}}}]
    backendRefs: [{name: api-1, port: 80}]
";

async fn mirror(world: World) -> Result<()> {
    const REQUESTS: usize = 100;
    let cast = Cast::start(&world, &["api-1", "api-2"], MIRROR).await?;
    let (real, copy) = (cast.pod(0)?, cast.pod(1)?);
    cast.stage.always(copy, Act::status(500));
    cast.ask(request(Method::POST, "/all?x=1", "order")?).await?.expect(200, "")?;
    let mut seen = Vec::new();
    wait_until("the copy", SOON, async || {
        seen.extend(cast.stage.take());
        let copies: Vec<_> = seen.iter().filter(|seen| seen.pod == copy.name()).collect();
        let copy = copies.first().context("it did not come")?;
        let same =
            copy.body == "order" && copy.path() == "/all?x=1" && copy.method == Method::POST && copy.host() == "api";
        ensure!(same && copies.len() == 1, "{copies:?}");
        Ok(())
    })
    .await?;

    for _ in 0..REQUESTS {
        cast.get("/half").await?.expect(200, "")?;
    }
    let mut counts = cast.stage.take_counts();
    wait_until("about half to be copied", SOON, async || {
        for (pod, count) in cast.stage.take_counts() {
            *counts.entry(pod).or_default() += count;
        }
        let copies = counts.get(copy.name()).copied().unwrap_or_default();
        ensure!((28..=72).contains(&copies) && counts.get(real.name()) == Some(&REQUESTS), "{counts:?}");
        Ok(())
    })
    .await?;

    // Whatever the copies meet, the requests know nothing of it: silence, resets, and then nobody at all.
    for act in [Act::silence(), Act::stall(), Act::reset(), Act::cut_short()] {
        cast.stage.always(copy, act.clone());
        let answers = try_join_all((0..REQUESTS).map(|_| cast.get("/all"))).await?;
        let worst = answers.iter().map(|answer| answer.elapsed).max().unwrap_or_default();
        ensure!(answers.iter().all(|answer| answer.status == 200 && answer.trailers.is_some()), "{act:?} is noticed");
        ensure!(worst < Duration::from_secs(3), "{act:?} makes a request last {worst:?}");
    }
    copy.sidecar()?.process().kill().await?;
    for _ in 0..10 {
        let answer = cast.get("/all").await?;
        answer.expect(200, "")?;
        ensure!(answer.elapsed < Duration::from_secs(1), "without the mirror it takes {:?}", answer.elapsed);
    }
    cast.metric_reaches("weft_mirrored_requests_total", &[("destination", "default/api-2:80")], 1.0).await
}
