//! Where requests go: weights by the API and by HTTPRoute, and what they match.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::{Request, StatusCode};
use libtest_mimic::Trial;
use weft_cli::world::{ControlPlane, Pod, Service, World, wait_until};
use weft_tests::load::Load;
use weft_tests::{apps, client, trial};

const LIMIT: Duration = Duration::from_secs(120);
const ROLLOUT: Duration = Duration::from_secs(15);
/// Requests for each set of weights.
const SAMPLE: u64 = 1000;
const WORKERS: usize = 4;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("weights hold, and change while traffic flows", LIMIT, weights),
        trial("weights of opaque connections", LIMIT, opaque_weights),
        trial("opaque connections of one client stay with one pod, where that is asked for", LIMIT, opaque_hashing),
        trial("deleting a split gives the Service its own endpoints back", LIMIT, deletion),
        trial("HTTPRoute: path, method, header and query", LIMIT, matches),
        trial("HTTPRoute: a route without a backend answers 500", LIMIT, no_backend),
        trial("HTTPRoute: a backend that does not exist fails its share, which goes nowhere else", LIMIT, half_gone),
        trial("HTTPRoute: a time-out ends a request that nobody answers", LIMIT, time_out),
        trial("an endpoint that comes and goes", LIMIT, endpoints),
    ]
}

/// `web`, and the Service `api` with its versions `api-v1` and `api-v2`, each a Service and a pod.
struct Versions {
    control: ControlPlane,
    web: Pod,
    v1: Pod,
    v2: Pod,
    service: Service,
}

impl Versions {
    async fn start(world: &World) -> Result<Self> {
        let control = world.control_plane().start().await?;
        let v1 = world.pod("api-v1").service_account("api").sidecar().start().await?;
        let v2 = world.pod("api-v2").service_account("api").sidecar().start().await?;
        for pod in [&v1, &v2] {
            let service = world.service(pod.name()).port(80, 8080, "http").port(9000, 9001, "tcp");
            service.backends([pod]).create()?;
            let name = pod.name().to_owned();
            apps::h1(pod, 8080).await?;
            apps::serve(pod, 9001, move |stream| say(stream, name.clone())).await?;
        }
        let service = world.service("api").port(80, 8080, "http").port(9000, 9001, "tcp");
        let service = service.backends([&v1, &v2]).create()?;
        let web = world.pod("web").sidecar().start().await?;
        Ok(Self { control, web, v1, v2, service })
    }

    fn http(&self) -> SocketAddr {
        self.service.address(80)
    }

    /// Sets the weights, once `web` has routes to `api`, and waits until its proxy has them.
    async fn set(&self, v1: i64, v2: i64) -> Result<()> {
        let split = self.control.set_weights("api", &[("api-v1", v1), ("api-v2", v2)]).await?;
        self.control.rolled_out(&split, ROLLOUT).await
    }
}

async fn say(mut stream: tokio::net::TcpStream, name: String) -> Result<()> {
    tokio::io::AsyncWriteExt::write_all(&mut stream, name.as_bytes()).await?;
    Ok(())
}

async fn weights(world: World) -> Result<()> {
    let versions = Versions::start(&world).await?;
    let mut load = Load::start(&versions.web, versions.http(), WORKERS);
    load.more(100).await?;
    for (v1, v2) in [(90, 10), (50, 50), (0, 100), (1, 3)] {
        versions.set(v1, v2).await?;
        let seen = load.more(SAMPLE).await?;
        within_bounds(&seen.answers, v1, v2).with_context(|| format!("weights {v1}/{v2}"))?;
    }
    load.stop().await?.nothing_lost()
}

/// Within 4.5 standard deviations of the binomial distribution: wrong once in 150,000 times.
fn within_bounds(answers: &BTreeMap<String, u64>, v1: i64, v2: i64) -> Result<()> {
    let total = answers.values().sum::<u64>() as f64;
    let share = v1 as f64 / (v1 + v2) as f64;
    let (expected, deviation) = (total * share, (total * share * (1.0 - share)).sqrt());
    let seen = answers.get("api-v1").copied().unwrap_or_default() as f64;
    let bound = 4.5 * deviation;
    ensure!((seen - expected).abs() <= bound, "{answers:?}: v1 is not within {bound:.0} of {expected:.0}");
    Ok(())
}

async fn opaque_weights(world: World) -> Result<()> {
    let versions = Versions::start(&world).await?;
    let dial = || client::send_and_end(&versions.web, versions.service.address(9000), "");
    dial().await?;
    for (v1, v2, first) in [(0, 100, "api-v2"), (80, 20, "api-v1")] {
        versions.control.set_weights("api", &[("api-v1", v1), ("api-v2", v2)]).await?;
        // The weights are in force once ten connections in a row fit, or one goes where none could go before.
        wait_until("the weights", ROLLOUT, async || {
            for _ in 0..if v1 == 0 { 10 } else { 1 } {
                let name = String::from_utf8(dial().await?)?;
                ensure!(name == first, "{name}");
            }
            Ok(())
        })
        .await?;
    }
    let mut answers = BTreeMap::new();
    for _ in 0..300 {
        *answers.entry(String::from_utf8(dial().await?)?).or_default() += 1;
    }
    ensure!(answers.len() == 2, "{answers:?}");
    within_bounds(&answers, 80, 20)
}

const BY_SOURCE: &str = "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: api, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: api}]
  loadBalancer: {algorithm: Maglev, hashOn: [{source: true}]}
";

async fn opaque_hashing(world: World) -> Result<()> {
    let versions = Versions::start(&world).await?;
    let names = async || {
        let mut names = BTreeMap::<String, u64>::new();
        for _ in 0..20 {
            let name = client::send_and_end(&versions.web, versions.service.address(9000), "").await?;
            *names.entry(String::from_utf8(name)?).or_default() += 1;
        }
        anyhow::Ok(names)
    };
    let before = names().await?;
    ensure!(before.len() == 2, "{before:?}");
    world.apply("policy.yaml", BY_SOURCE)?;
    wait_until("all connections to be with one pod", ROLLOUT, async || {
        let names = names().await?;
        ensure!(names.len() == 1, "{names:?}");
        Ok(())
    })
    .await?;
    let after = names().await?;
    ensure!(after.len() == 1, "{after:?}");
    Ok(())
}

async fn deletion(world: World) -> Result<()> {
    let versions = Versions::start(&world).await?;
    let mut load = Load::start(&versions.web, versions.http(), WORKERS);
    load.more(50).await?;
    versions.set(0, 100).await?;
    versions.control.delete_split("api").await?;
    wait_until("v1 to be back", ROLLOUT, async || {
        let (_, body) = client::get(&versions.web, versions.http(), "/").await?;
        ensure!(body.starts_with("api-v1"), "{body}");
        Ok(())
    })
    .await?;
    load.stop().await?.nothing_lost()
}

const ROUTES: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, namespace: default}
spec:
  parentRefs: [{group: '', kind: Service, name: api, port: 80}]
  rules:
  - matches:
    - path: {type: PathPrefix, value: /v2}
    - headers: [{name: X-Version, value: '2'}]
    - method: DELETE
    - queryParams: [{name: version, value: '2'}]
    backendRefs: [{name: api-v2, port: 80}]
  - matches: [{path: {type: Exact, value: /gone}}]
    backendRefs: []
  - matches: [{path: {type: Exact, value: /half}}]
    backendRefs: [{name: api-v1, port: 80}, {name: api-v3, port: 80}]
  - backendRefs: [{name: api-v1, port: 80}]
";

async fn matches(world: World) -> Result<()> {
    let versions = Versions::start(&world).await?;
    world.apply("route.yaml", ROUTES)?;
    let cases = [
        ("GET", "/", None, "api-v1"),
        ("GET", "/v2", None, "api-v2"),
        ("GET", "/v2/items?a=b", None, "api-v2"),
        ("GET", "/v22", None, "api-v1"),
        ("GET", "/", Some("2"), "api-v2"),
        ("GET", "/", Some("22"), "api-v1"),
        ("DELETE", "/", None, "api-v2"),
        ("GET", "/?version=2", None, "api-v2"),
        ("GET", "/?version=21", None, "api-v1"),
    ];
    let mut sender = client::http1(&versions.web, versions.http()).await?;
    in_force(&versions).await?;
    for (method, path, version, expected) in cases.into_iter().cycle().take(3 * cases.len()) {
        let request = Request::builder().method(method).uri(path).header("host", "api");
        let request = version.into_iter().fold(request, |request, version| request.header("x-version", version));
        let response = client::whole(sender.send_request(request.body(client::empty())?)).await?;
        let body = String::from_utf8_lossy(response.body()).into_owned();
        ensure!(body.starts_with(expected), "{method} {path} {version:?} went to {body}, not to {expected}");
        sender.ready().await?;
    }
    Ok(())
}

async fn no_backend(world: World) -> Result<()> {
    let versions = Versions::start(&world).await?;
    world.apply("route.yaml", ROUTES)?;
    in_force(&versions).await
}

async fn half_gone(world: World) -> Result<()> {
    let versions = Versions::start(&world).await?;
    world.apply("route.yaml", ROUTES)?;
    in_force(&versions).await?;
    let mut answers = BTreeMap::new();
    for _ in 0..200 {
        let (status, body) = client::get(&versions.web, versions.http(), "/half").await?;
        let expected = if status == StatusCode::OK { "api-v1" } else { "weft: route_unresolved" };
        ensure!(body.starts_with(expected), "{status}: {body}");
        *answers.entry(if status == StatusCode::OK { "api-v1" } else { "none" }.to_owned()).or_default() += 1;
        ensure!(status == StatusCode::OK || status == StatusCode::INTERNAL_SERVER_ERROR, "{status}");
    }
    within_bounds(&answers, 50, 50)
}

const TIME_OUT: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, namespace: default}
spec:
  parentRefs: [{group: '', kind: Service, name: api, port: 80}]
  rules:
  - matches: [{path: {type: Exact, value: /stuck}}]
    backendRefs: [{name: stuck, port: 80}]
    timeouts: {request: 300ms}
  - backendRefs: [{name: api-v1, port: 80}]
";

async fn time_out(world: World) -> Result<()> {
    let versions = Versions::start(&world).await?;
    apps::serve(&versions.v2, 9002, apps::sink).await?;
    world.service("stuck").port(80, 9002, "http").backends([&versions.v2]).create()?;
    world.apply("route.yaml", TIME_OUT)?;
    wait_until("the time-out", ROLLOUT, async || {
        let (status, body) = client::get(&versions.web, versions.http(), "/stuck").await?;
        ensure!(status == StatusCode::GATEWAY_TIMEOUT && body.starts_with("weft: timeout"), "{status}: {body}");
        Ok(())
    })
    .await?;
    let (status, body) = client::get(&versions.web, versions.http(), "/").await?;
    ensure!(status == StatusCode::OK && body.starts_with("api-v1"), "{status}: {body}");
    Ok(())
}

/// Waits until the route is in force: nothing but its rule without a backend answers 500.
async fn in_force(versions: &Versions) -> Result<()> {
    wait_until("the route", ROLLOUT, async || {
        let (status, _) = client::get(&versions.web, versions.http(), "/gone").await?;
        ensure!(status == StatusCode::INTERNAL_SERVER_ERROR, "{status}");
        Ok(())
    })
    .await
}

async fn endpoints(world: World) -> Result<()> {
    let versions = Versions::start(&world).await?;
    let mut load = Load::start(&versions.web, versions.http(), WORKERS);
    load.more(50).await?;
    for (gone, stays) in [(&versions.v1, &versions.v2), (&versions.v2, &versions.v1)] {
        gone.remove_endpoint()?;
        wait_until("the endpoint to go", ROLLOUT, async || {
            let (_, body) = client::get(&versions.web, versions.http(), "/").await?;
            ensure!(body.starts_with(stays.name()), "{body}");
            let seen = load_answers(&versions).await?;
            ensure!(!seen.contains_key(gone.name()), "{seen:?}");
            Ok(())
        })
        .await?;
        gone.ready(true)?;
        wait_until("the endpoint to be back", ROLLOUT, async || {
            let seen = load_answers(&versions).await?;
            ensure!(seen.contains_key(gone.name()), "{seen:?}");
            Ok(())
        })
        .await?;
    }
    load.stop().await?.nothing_lost()
}

/// Who answers twenty requests.
async fn load_answers(versions: &Versions) -> Result<BTreeMap<String, u64>> {
    let mut answers = BTreeMap::new();
    for _ in 0..20 {
        let (_, body) = client::get(&versions.web, versions.http(), "/").await?;
        *answers.entry(body.lines().next().unwrap_or_default().to_owned()).or_default() += 1;
    }
    Ok(answers)
}
