//! Which endpoint has a request: by turns, by load, by key, by zone, by age.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use weft_cli::world::{Pod, World, wait_until};
use weft_tests::apps::Act;
use weft_tests::cast::{Cast, HTTP, HTTP_TARGET, SOON, get, with};
use weft_tests::{client, trial};

const LIMIT: Duration = Duration::from_secs(90);
const PODS: [&str; 3] = ["api-1", "api-2", "api-3"];
const KEYS: usize = 30;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("balance: round robin is even, random and least request reach all", LIMIT, spread),
        trial("balance: least request and peak EWMA avoid the slow", LIMIT, slow),
        trial("balance: a ring keeps a key's pod, for every client, as pods come", LIMIT, ring),
        trial("balance: Maglev keeps a key's pod, as pods go", LIMIT, maglev),
        trial("balance: a cookie that is made keeps its pod", LIMIT, cookie),
        trial("balance: the same zone first, another if there is none", LIMIT, zones),
        trial("balance: the same node first, then its zone, then any", LIMIT, nodes),
        trial("balance: the own node's endpoints and no others", LIMIT, local),
        trial("balance: a new endpoint starts slowly", LIMIT, slow_start),
        trial("balance: a session stays, in a cookie or in a header", LIMIT, sessions),
    ]
}

fn policy(of: &str, load_balancer: &str) -> String {
    format!(
        "
---
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: {of}, namespace: default}}
spec:
  targetRefs: [{{group: '', kind: Service, name: {of}}}]
  loadBalancer: {load_balancer}
"
    )
}

async fn spread(world: World) -> Result<()> {
    let policies = policy("api", "{algorithm: RoundRobin}")
        + &policy("random", "{algorithm: Random}")
        + &policy("least", "{algorithm: LeastRequest}");
    let cast = Cast::start(&world, &PODS, &policies).await?;
    // One connection, so one worker: exactly in turns.
    let mut sender = client::http1(&cast.web, cast.at()).await?;
    cast.stage.take();
    for _ in 0..30 {
        sender.ready().await?;
        client::whole(sender.send_request(client::get_request("/")?)).await?;
    }
    let counts = cast.stage.take_counts();
    ensure!(counts.len() == 3 && counts.values().all(|count| *count == 10), "not in turns: {counts:?}");
    for name in ["random", "least"] {
        let service = world.service(name).port(HTTP, HTTP_TARGET, "http").backends(&cast.pods).create()?;
        wait_until("all to be asked", SOON, async || {
            cast.stage.take();
            for _ in 0..40 {
                client::ask(&cast.web, service.address(HTTP), get("/")?).await?.expect(200, "")?;
            }
            let counts = cast.stage.take_counts();
            ensure!(counts.len() == 3, "{name}: {counts:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn slow(world: World) -> Result<()> {
    let policies = policy("api", "{algorithm: PeakEwma}");
    let cast = Cast::start(&world, &PODS, &policies).await?;
    let slow = cast.pod(0)?;
    cast.stage.always(slow, Act::default().after(Duration::from_millis(300)));
    cast.sample(20).await?;
    let sample = cast.sample(60).await?;
    ensure!(sample.of(slow) <= 10, "a third would be 20: {sample:?}");
    Ok(())
}

/// Which pod has each key's requests; an error if a key has several.
async fn homes(cast: &Cast, from: &Pod) -> Result<BTreeMap<usize, String>> {
    let mut homes = BTreeMap::new();
    for key in 0..KEYS {
        cast.stage.take();
        for _ in 0..3 {
            let request = with(get("/")?, "x-user", &format!("user-{key}"))?;
            client::ask(from, cast.at(), request).await?.expect(200, "")?;
        }
        let pods: BTreeSet<String> = cast.stage.take_counts().into_keys().collect();
        ensure!(pods.len() == 1, "key {key} went to {pods:?}");
        homes.extend(pods.into_iter().map(|pod| (key, pod)));
    }
    Ok(homes)
}

async fn ring(world: World) -> Result<()> {
    let policies = policy("api", "{algorithm: RingHash, hashOn: [{header: x-user}]}");
    let cast = Cast::start(&world, &PODS, &policies).await?;
    let before = homes(&cast, &cast.web).await?;
    let used: BTreeSet<&String> = before.values().collect();
    ensure!(used.len() == 3, "all keys are with {used:?}");
    let other = world.pod("web-2").sidecar().start().await?;
    let of_other = homes(&cast, &other).await?;
    ensure!(before == of_other, "two clients disagree: {before:?} and {of_other:?}");
    // A fourth takes its share, and no key moves between the others.
    let fourth = world.pod("api-4").service_account("api").sidecar().start().await?;
    cast.stage.open(&fourth, HTTP_TARGET).await?;
    let all: Vec<&Pod> = cast.pods.iter().chain([&fourth]).collect();
    world.service("api").port(HTTP, HTTP_TARGET, "http").backends(all).create_as(&cast.service)?;
    wait_until("keys to move to the new pod, and no others", SOON, async || {
        let after = homes(&cast, &cast.web).await?;
        let moved: Vec<_> = after.iter().filter(|(key, pod)| before.get(key) != Some(pod)).collect();
        ensure!(!moved.is_empty() && moved.iter().all(|(_, pod)| pod.as_str() == "api-4"), "{moved:?}");
        Ok(())
    })
    .await
}

async fn maglev(world: World) -> Result<()> {
    let policies = policy("api", "{algorithm: Maglev, hashOn: [{header: x-user}]}");
    let cast = Cast::start(&world, &PODS, &policies).await?;
    let before = homes(&cast, &cast.web).await?;
    let used: BTreeSet<&String> = before.values().collect();
    ensure!(used.len() == 3, "all keys are with {used:?}");
    cast.pod(2)?.remove_endpoint()?;
    wait_until("the keys of the pod that left to move", SOON, async || {
        let after = homes(&cast, &cast.web).await?;
        ensure!(!after.values().any(|pod| pod == "api-3"), "api-3 is still asked");
        let stayed = |(key, pod): &(&usize, &String)| pod.as_str() == "api-3" || after.get(key) == Some(pod);
        let moved = before.iter().filter(|home| !stayed(home)).count();
        ensure!(moved <= KEYS / 5, "{moved} of {KEYS} keys moved between pods that stay");
        Ok(())
    })
    .await
}

async fn cookie(world: World) -> Result<()> {
    let policies =
        policy("api", "{algorithm: RingHash, hashOn: [{cookie: {name: who, ttl: 1h, path: /}}, {source: true}]}");
    let cast = Cast::start(&world, &PODS, &policies).await?;
    let mut used = BTreeSet::new();
    for _ in 0..12 {
        cast.stage.take();
        let answer = cast.get("/").await?;
        let made = answer.header("set-cookie").context("no cookie was made")?.to_owned();
        ensure!(made.starts_with("who=") && made.contains("Max-Age=3600") && made.contains("Path=/"), "{made}");
        let cookie = made.split(';').next().unwrap_or_default();
        for _ in 0..4 {
            let answer = cast.ask(with(get("/")?, "cookie", &format!("other=1; {cookie}"))?).await?;
            ensure!(answer.header("set-cookie").is_none(), "a cookie is made again: {answer:?}");
        }
        let counts = cast.stage.take_counts();
        ensure!(counts.len() == 1, "{cookie} went to {counts:?}");
        used.extend(counts.into_keys());
    }
    ensure!(used.len() >= 2, "every cookie leads to {used:?}");
    Ok(())
}

/// A pod, its zone and its node.
type Placed<'a> = (&'a Pod, &'a str, &'a str);

/// The Service `near`, by hand: it has this in its specification, and its endpoints have zones and nodes.
fn placed(world: &World, said: &str, pods: &[Placed<'_>]) -> Result<std::net::SocketAddr> {
    let endpoints: Vec<String> = pods.iter().map(endpoint).collect();
    world.apply(
        "near.yaml",
        &format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: near, namespace: default}}
spec:
  clusterIP: 10.96.9.1
  clusterIPs: [10.96.9.1]
  {said}
  ports: [{{name: http, port: 80, targetPort: {HTTP_TARGET}}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: near-1, namespace: default, labels: {{kubernetes.io/service-name: near}}}}
addressType: IPv4
ports: [{{name: http, port: {HTTP_TARGET}}}]
endpoints: [{}]
",
            endpoints.join(", ")
        ),
    )?;
    Ok("10.96.9.1:80".parse()?)
}

fn endpoint((pod, zone, node): &Placed<'_>) -> String {
    let (name, ip) = (pod.name(), pod.address(HTTP_TARGET).ip());
    let target = format!("targetRef: {{kind: Pod, name: {name}, namespace: default}}");
    format!("{{addresses: [\"{ip}\"], zone: {zone}, nodeName: {node}, {target}}}")
}

/// `web` asks the Service `near` until the pods that answer are these.
async fn answers_of(cast: &Cast, what: &str, near: std::net::SocketAddr, expected: &[&Pod]) -> Result<()> {
    let expected: BTreeSet<&str> = expected.iter().map(|pod| pod.name()).collect();
    wait_until(what, SOON, async || {
        cast.stage.take();
        for _ in 0..30 {
            client::ask(&cast.web, near, get("/")?).await?.expect(200, "")?;
        }
        let counts = cast.stage.take_counts();
        ensure!(counts.keys().map(String::as_str).eq(expected.iter().copied()), "{counts:?}");
        Ok(())
    })
    .await
}

async fn zones(world: World) -> Result<()> {
    let cast = Cast::start(&world, &PODS, "").await?;
    let (first, second, third) = (cast.pod(0)?, cast.pod(1)?, cast.pod(2)?);
    world.apply("web-place.yaml", &place_of(&(&cast.web, "a", "n9")))?;
    let said = "trafficDistribution: PreferSameZone";
    let near = placed(&world, said, &[(first, "a", "n1"), (second, "a", "n9"), (third, "b", "n3")])?;
    answers_of(&cast, "the other zone to be left alone", near, &[first, second]).await?;
    placed(&world, said, &[(third, "b", "n3")])?;
    answers_of(&cast, "the other zone to do, where there is no other", near, &[third]).await
}

async fn nodes(world: World) -> Result<()> {
    let cast = Cast::start(&world, &PODS, "").await?;
    let (first, second, third) = (cast.pod(0)?, cast.pod(1)?, cast.pod(2)?);
    world.apply("web-place.yaml", &place_of(&(&cast.web, "a", "n1")))?;
    let said = "trafficDistribution: PreferSameNode";
    let near = placed(&world, said, &[(first, "a", "n1"), (second, "a", "n2"), (third, "b", "n3")])?;
    answers_of(&cast, "the other nodes to be left alone", near, &[first]).await?;
    let why = cast.weft(&["why", "web", "near:80"]).await?;
    ensure!(why.contains("PreferSameNode") && why.contains("ZONE/NODE") && why.contains("a/n1"), "{why}");
    placed(&world, said, &[(second, "a", "n2"), (third, "b", "n3")])?;
    answers_of(&cast, "the own zone to come next", near, &[second]).await?;
    placed(&world, said, &[(third, "b", "n3")])?;
    answers_of(&cast, "any other to do, where there is none", near, &[third]).await
}

async fn local(world: World) -> Result<()> {
    let cast = Cast::start(&world, &PODS, "").await?;
    let (first, second, third) = (cast.pod(0)?, cast.pod(1)?, cast.pod(2)?);
    world.apply("web-place.yaml", &place_of(&(&cast.web, "a", "n1")))?;
    let said = "internalTrafficPolicy: Local";
    let near = placed(&world, said, &[(first, "a", "n1"), (second, "a", "n2"), (third, "a", "n1")])?;
    answers_of(&cast, "the other node to be left alone", near, &[first, third]).await?;
    placed(&world, said, &[(second, "a", "n2")])?;
    wait_until("nobody to be asked, where none is on the node", SOON, async || {
        client::ask(&cast.web, near, get("/")?).await?.expect(503, "no_endpoint").map(drop)
    })
    .await?;
    cast.stage.take();
    for _ in 0..20 {
        client::ask(&cast.web, near, get("/")?).await?.expect(503, "no_endpoint")?;
    }
    ensure!(cast.stage.take_counts().is_empty(), "another node was asked");
    let why = cast.weft(&["why", "web", "near:80"]).await?;
    ensure!(why.contains("internalTrafficPolicy") && why.contains("no endpoint on the pod's node"), "{why}");
    placed(&world, "internalTrafficPolicy: Cluster", &[(second, "a", "n2")])?;
    answers_of(&cast, "the other node to do, where that is allowed", near, &[second]).await
}

/// A slice that says where a pod is.
fn place_of(placed: &Placed<'_>) -> String {
    let name = placed.0.name();
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{clusterIP: 10.96.9.2, clusterIPs: [10.96.9.2], ports: [{{name: http, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints: [{}]
",
        endpoint(placed)
    )
}

async fn slow_start(world: World) -> Result<()> {
    let policies = policy("api", "{algorithm: RoundRobin, slowStart: {window: 6s, minPercent: 5}}");
    let cast = Cast::start(&world, &["api-1", "api-2"], &policies).await?;
    cast.sample(10).await?;
    let late = world.pod("api-9").service_account("api").sidecar().start().await?;
    cast.stage.open(&late, HTTP_TARGET).await?;
    let all: Vec<&Pod> = cast.pods.iter().chain([&late]).collect();
    world.service("api").port(HTTP, HTTP_TARGET, "http").backends(all).create_as(&cast.service)?;
    let share = async || {
        let sample = cast.sample(60).await?;
        anyhow::Ok(sample.of(&late))
    };
    wait_until("the new pod's first request", SOON, async || {
        ensure!(share().await? > 0, "not yet");
        Ok(())
    })
    .await?;
    let early = share().await?;
    ensure!(early <= 10, "{early} of 60 are more than a beginner's share");
    wait_until("the new pod to have its whole share", SOON, async || {
        let share = share().await?;
        ensure!((17..=23).contains(&share), "{share} of 60");
        Ok(())
    })
    .await
}

const SESSIONS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, namespace: default}
spec:
  parentRefs: [{group: '', kind: Service, name: api}]
  rules:
  - matches: [{path: {value: /cookie}}]
    sessionPersistence: {sessionName: place, type: Cookie}
    backendRefs: [{name: api, port: 80}]
  - matches: [{path: {value: /header}}]
    sessionPersistence: {sessionName: x-place, type: Header}
    backendRefs: [{name: api, port: 80}]
  - matches: [{path: {value: /weights}}]
    sessionPersistence: {sessionName: half, type: Cookie}
    backendRefs: [{name: api-1, port: 80}, {name: api-2, port: 80}]
";

async fn sessions(world: World) -> Result<()> {
    let cast = Cast::start(&world, &PODS, SESSIONS).await?;
    for (path, given, back) in
        [("/cookie", "set-cookie", "cookie"), ("/header", "x-place", "x-place"), ("/weights", "set-cookie", "cookie")]
    {
        cast.stage.take();
        let answer = cast.get(path).await?;
        let session = answer.header(given).with_context(|| format!("{path}: no session in {answer:?}"))?;
        let session = session.split(';').next().unwrap_or_default().to_owned();
        for _ in 0..15 {
            cast.ask(with(get(path)?, back, &session)?).await?.expect(200, "")?;
        }
        let counts = cast.stage.take_counts();
        ensure!(counts.len() == 1, "{path}: the session {session} went to {counts:?}");
        // Its pod goes: the session goes on elsewhere, and says so.
        let gone = cast.pods.iter().find(|pod| counts.contains_key(pod.name())).context("an unknown pod")?;
        gone.remove_endpoint()?;
        wait_until("the session to move", SOON, async || {
            cast.stage.take();
            let answer = cast.ask(with(get(path)?, back, &session)?).await?;
            answer.expect(200, "")?;
            let counts = cast.stage.take_counts();
            ensure!(!counts.contains_key(gone.name()), "{counts:?}");
            ensure!(answer.header(given).is_some(), "no new session is given");
            Ok(())
        })
        .await?;
        gone.ready(true)?;
        let own = cast.own.iter().find(|service| service.name() == gone.name()).context("an unknown Service")?;
        wait_until("the pod to be back", SOON, async || cast.play_at(own, get("/")?, []).await?.0.expect(200, ""))
            .await?;
    }
    Ok(())
}
