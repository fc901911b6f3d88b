//! What is kept from an endpoint or a Service that has enough, or is broken: limits, ejection, health checks, panic; and
//! that all of it can be seen.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use libtest_mimic::Trial;
use weft_cli::world::{World, wait_until};
use weft_tests::apps::Act;
use weft_tests::cast::{Cast, SOON, get};
use weft_tests::{client, trial};

const LIMIT: Duration = Duration::from_secs(90);
const PODS: [&str; 3] = ["api-1", "api-2", "api-3"];
const TO_API: (&str, &str) = ("destination", "default/api:80");

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("limits: what is too much is refused, and says why", LIMIT, limits),
        trial("limits: connections, and who waits for one", LIMIT, connections),
        trial("limits: the greatest age of a stream and of a connection", LIMIT, ages),
        trial("outliers: one of three is ejected, seen to be, and comes back", LIMIT, ejection),
        trial("outliers: one that fails more often than the others", LIMIT, success_rate),
        trial("outliers: never more than the cap", LIMIT, cap),
        trial("health checks: the sick get nothing, until all are", LIMIT, health),
        trial("health checks: without panic, nobody is asked", LIMIT, no_panic),
        trial("health checks: by gRPC and by connection", LIMIT, other_probes),
    ]
}

const LIMITS: &str = "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: api, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: api}]
  requests: {max: 2}
";

async fn limits(world: World) -> Result<()> {
    let cast = Cast::start(&world, &PODS, LIMITS).await?;
    for pod in &cast.pods {
        cast.stage.always(pod, Act::default().after(Duration::from_secs(2)));
    }
    let shown = wait_until("the open breaker in `weft status`", SOON, async || {
        let text = cast.weft(&["status"]).await?;
        ensure!(text.contains("requests") && text.contains("default/api:80"), "{text}");
        Ok(())
    });
    let answers = async {
        let mut all = Vec::new();
        for _ in 0..2 {
            all.extend(try_join_all((0..6).map(|_| cast.get("/"))).await?);
        }
        anyhow::Ok(all)
    };
    let (answers, shown) = tokio::join!(answers, shown);
    let answers = answers?;
    let well = answers.iter().filter(|answer| answer.status == 200).count();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    ensure!(well == 4 && refused.len() == 8, "{well} of 12 were let through, 2 at a time are allowed");
    for answer in refused {
        answer.expect(503, "overflow_requests")?;
        ensure!(answer.elapsed < Duration::from_secs(1), "a refusal took {:?}", answer.elapsed);
    }
    cast.metric_reaches("weft_proxy_answers_total", &[TO_API, ("reason", "overflow_requests")], 8.0).await?;
    shown?;
    let log = cast.web.sidecar()?.process().log()?;
    ensure!(log.contains("UO") && log.contains("overflow_requests"), "the access log does not say why:\n{log}");
    // The breaker closes by itself.
    wait_until("the breaker to be closed", SOON, async || {
        let open = cast.metric("weft_breaker_open", &[TO_API]).await?;
        ensure!(open == 0.0, "{open} breakers are open");
        cast.get("/").await?.expect(200, "")
    })
    .await
}

const CONNECTIONS: &str = "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: plain, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: plain}]
  connections: {max: 1}
  requests: {maxPending: 1}
";

async fn connections(world: World) -> Result<()> {
    // A pod without a sidecar: one request at a time on each connection.
    let plain = world.pod("plain").start().await?;
    let service = world.service("plain").port(80, 8080, "http").backends([&plain]).create()?;
    let cast = Cast::start(&world, &["api-1"], CONNECTIONS).await?;
    cast.stage.open(&plain, 8080).await?;
    let slow = Act::default().after(Duration::from_millis(700));
    let asked = (0..4).map(async |_| anyhow::Ok(cast.play_at(&service, get("/")?, [slow.clone()]).await?.0));
    let answers = try_join_all(asked).await?;
    let (well, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    ensure!(well.len() == 2 && refused.len() == 2, "{} of 4 were let through: {answers:?}", well.len());
    for answer in refused {
        answer.expect(503, "overflow_pending")?;
    }
    let connections = cast.stage.connections(&plain);
    ensure!(connections.peak == 1, "{} connections were open at once", connections.peak);
    let waited = well.iter().filter(|answer| answer.elapsed >= Duration::from_millis(1300)).count();
    ensure!(waited == 1, "{waited} of 2 waited for the connection");
    Ok(())
}

const AGES: &str = "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: api, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: api}]
  requests: {maxStreamAge: 600ms}
---
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: plain, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: plain}]
  connections: {maxAge: 500ms}
";

async fn ages(world: World) -> Result<()> {
    // A pod without a sidecar: connections of its own.
    let plain = world.pod("plain").start().await?;
    let service = world.service("plain").port(80, 8080, "http").backends([&plain]).create()?;
    let cast = Cast::start(&world, &["api-1"], AGES).await?;
    cast.stage.open(&plain, 8080).await?;
    let (answer, _) = cast.play(get("/")?, [Act::stall()]).await?;
    ensure!(answer.status == 200 && answer.trailers.is_none(), "a stream outlives its age: {answer:?}");
    let (least, most) = (Duration::from_millis(590), Duration::from_millis(1500));
    ensure!((least..most).contains(&answer.elapsed), "a stream of at most 600 ms was {:?} old", answer.elapsed);

    // One after the other, for 2 s, on connections of at most half a second: no request is lost when one ends.
    let (mut sender, begun) = (client::http1(&cast.web, service.address(80)).await?, Instant::now());
    while begun.elapsed() < Duration::from_secs(2) {
        sender.ready().await?;
        let response = client::whole(sender.send_request(client::get_request("/")?)).await?;
        ensure!(response.status() == 200, "{response:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let connections = cast.stage.connections(&plain).all;
    ensure!((3..=12).contains(&connections), "{connections} connections in 2 s, each at most 500 ms old");
    Ok(())
}

const OUTLIERS: &str = "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: api, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: api}]
  loadBalancer: {algorithm: RoundRobin}
  outlierDetection: {consecutive5xx: 3, interval: 100ms, baseEjection: 4s, maxEjection: 4s, maxEjectedPercent: 34}
";

async fn ejection(world: World) -> Result<()> {
    let cast = Cast::start(&world, &PODS, OUTLIERS).await?;
    let faulty = cast.pod(1)?;
    cast.stage.always(faulty, Act::status(500));
    // Each worker finds out for itself.
    wait_until("the faulty pod to be ejected", SOON, async || {
        let sample = cast.sample(30).await?;
        ensure!(sample.of(faulty) == 0 && sample.status(200) == 30, "{sample:?}");
        Ok(())
    })
    .await?;
    cast.metric_reaches("weft_endpoints_ejected", &[TO_API], 1.0).await?;
    cast.metric_reaches("weft_ejections_total", &[TO_API], 1.0).await?;
    let address = faulty.address(8080).to_string();
    wait_until("the ejection in `weft status`", SOON, async || {
        let status = cast.weft(&["status"]).await?;
        ensure!(status.contains(&address), "{address} is not in it:\n{status}");
        Ok(())
    })
    .await?;
    // Well again, it gets its share again.
    cast.stage.always(faulty, Act::default());
    wait_until("the pod to come back", SOON, async || {
        let sample = cast.sample(30).await?;
        ensure!(sample.of(faulty) >= 8 && sample.status(200) == 30, "{sample:?}");
        Ok(())
    })
    .await?;
    wait_until("the ejection to be over in the metric", SOON, async || {
        let ejected = cast.metric("weft_endpoints_ejected", &[TO_API]).await?;
        ensure!(ejected == 0.0, "{ejected}");
        Ok(())
    })
    .await
}

const SUCCESS_RATE: &str = "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: api, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: api}]
  loadBalancer: {algorithm: RoundRobin}
  outlierDetection:
    consecutive5xx: 0
    consecutiveGatewayErrors: 0
    successRate: {minHosts: 3, minRequests: 5, stdevFactor: 1.0}
    interval: 1s
    baseEjection: 60s
    maxEjectedPercent: 40
";

/// Every other answer is good, so that no run of failures gives it away.
async fn success_rate(world: World) -> Result<()> {
    let cast = Cast::start(&world, &PODS, SUCCESS_RATE).await?;
    let faulty = cast.pod(1)?;
    cast.stage.flap(faulty, [Act::status(500), Act::default()]);
    wait_until("the pod that fails half of the time to be ejected", SOON, async || {
        let sample = cast.sample(60).await?;
        ensure!(sample.of(faulty) == 0 && sample.status(200) == 60, "{sample:?}");
        Ok(())
    })
    .await?;
    cast.metric_reaches("weft_ejections_total", &[TO_API, ("cause", "success_rate")], 1.0).await
}

async fn cap(world: World) -> Result<()> {
    let cast = Cast::start(&world, &PODS, OUTLIERS).await?;
    for pod in &cast.pods {
        cast.stage.flap(pod, [Act::status(500), Act::status(503), Act::status(502), Act::status(500), Act::reset()]);
    }
    for _ in 0..3 {
        let sample = cast.sample(60).await?;
        ensure!(sample.status(200) == 0, "{sample:?}");
    }
    // One of three may be gone, in each worker: two at least are always asked.
    let ejected = cast.metric("weft_endpoints_ejected", &[TO_API]).await?;
    let workers = 2.0;
    ensure!((1.0..=workers).contains(&ejected), "{ejected} endpoints are ejected");
    let sample = cast.sample(60).await?;
    ensure!(sample.pods.len() >= 2, "only these are asked: {sample:?}");
    Ok(())
}

fn health_policy(panic_percent: u8) -> String {
    format!(
        "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: api, namespace: default}}
spec:
  targetRefs: [{{group: '', kind: Service, name: api}}]
  loadBalancer: {{algorithm: RoundRobin, panicPercent: {panic_percent}}}
  healthCheck: {{interval: 200ms, timeout: 150ms, healthyThreshold: 1, unhealthyThreshold: 2, http: {{path: /healthz}}}}
"
    )
}

async fn health(world: World) -> Result<()> {
    let cast = Cast::start(&world, &PODS, &health_policy(50)).await?;
    for pod in &cast.pods {
        cast.stage.at(pod, "/healthz", Act::status(200));
    }
    cast.get("/").await?.expect(200, "")?;
    let (first, second, third) = (cast.pod(0)?, cast.pod(1)?, cast.pod(2)?);
    // It answers requests well, but says that it is not.
    cast.stage.at(first, "/healthz", Act::status(503));
    wait_until("the sick pod to be left alone", SOON, async || {
        let sample = cast.sample(20).await?;
        ensure!(sample.of(first) == 0 && sample.status(200) == 20, "{sample:?}");
        Ok(())
    })
    .await?;
    // It does not answer at all when asked how it is: the same.
    cast.stage.at(first, "/healthz", Act::status(200));
    cast.stage.at(second, "/healthz", Act::silence());
    wait_until("the silent pod to be left alone, the other to be back", SOON, async || {
        let sample = cast.sample(20).await?;
        ensure!(sample.of(second) == 0 && sample.of(first) > 0 && sample.status(200) == 20, "{sample:?}");
        Ok(())
    })
    .await?;
    // One of three is below half: then all are as good as any.
    cast.stage.at(third, "/healthz", Act::status(500));
    wait_until("panic", SOON, async || {
        let sample = cast.sample(30).await?;
        ensure!(sample.pods.len() == 3 && sample.status(200) == 30, "{sample:?}");
        Ok(())
    })
    .await
}

async fn no_panic(world: World) -> Result<()> {
    let cast = Cast::start(&world, &PODS, &health_policy(0)).await?;
    for pod in &cast.pods {
        cast.stage.at(pod, "/healthz", Act::status(503));
    }
    wait_until("all to be left alone", SOON, async || {
        let sample = cast.sample(10).await?;
        ensure!(sample.pods.is_empty() && sample.status(503) == 10, "{sample:?}");
        Ok(())
    })
    .await?;
    cast.get("/").await?.expect(503, "no_endpoint")
}

const OTHER_PROBES: &str = "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: api, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: api}]
  loadBalancer: {algorithm: RoundRobin}
  healthCheck: {interval: 200ms, timeout: 150ms, healthyThreshold: 1, unhealthyThreshold: 2, grpc: {service: shop}}
---
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: quiet, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: quiet}]
  loadBalancer: {panicPercent: 0}
  healthCheck: {interval: 200ms, timeout: 150ms, healthyThreshold: 1, unhealthyThreshold: 2, tcp: {}}
";

/// What `grpc.health.v1.Health/Check` answers: a message with this status.
fn health_answer(status: u8) -> Act {
    Act::grpc(0).body(vec![0, 0, 0, 0, 2, 0x08, status])
}

async fn other_probes(world: World) -> Result<()> {
    const CHECK: &str = "/grpc.health.v1.Health/Check";
    let quiet = world.pod("quiet").start().await?;
    let service = world.service("quiet").port(80, 8080, "http").backends([&quiet]).create()?;
    let cast = Cast::start(&world, &PODS, OTHER_PROBES).await?;
    let (serving, not_serving) = (health_answer(1), health_answer(2));
    for pod in &cast.pods {
        cast.stage.at(pod, CHECK, serving.clone());
    }
    cast.get("/").await?.expect(200, "")?;
    let sick = cast.pod(2)?;
    cast.stage.at(sick, CHECK, not_serving);
    wait_until("the pod that is not serving to be left alone", SOON, async || {
        let sample = cast.sample(20).await?;
        ensure!(sample.of(sick) == 0 && sample.status(200) == 20, "{sample:?}");
        Ok(())
    })
    .await?;
    cast.stage.at(sick, CHECK, serving);
    wait_until("the pod to be back", SOON, async || {
        let sample = cast.sample(20).await?;
        ensure!(sample.of(sick) > 0 && sample.status(200) == 20, "{sample:?}");
        Ok(())
    })
    .await?;
    // Nothing listens there: after two probes nobody tries any more; then somebody does.
    let ask = async || client::ask(&cast.web, service.address(80), get("/")?).await;
    wait_until("the pod where nothing listens to be left alone", SOON, async || {
        ask().await?.expect(503, "no_endpoint")
    })
    .await?;
    cast.stage.open(&quiet, 8080).await?;
    wait_until("the pod where something listens to be asked", SOON, async || ask().await?.expect(200, "")).await
}
