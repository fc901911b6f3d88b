//! Rate limits: by the sidecar of the pod that is called, by itself and by asking a service.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use weft_api::xds::pb::envoy::config::core::v3::HeaderValue;
use weft_api::xds::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use weft_api::xds::pb::envoy::service::ratelimit::v3::rate_limit_service_server::{
    RateLimitService, RateLimitServiceServer,
};
use weft_api::xds::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use weft_cli::world::{Pod, World, wait_until};
use weft_tests::cast::{Cast, SOON, call, get, with};
use weft_tests::trial;

const LIMIT: Duration = Duration::from_secs(90);
const SERVICE_PORT: u16 = 8081;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("rate limits: by user, by path, for all, and said in headers", LIMIT, local),
        trial("rate limits: a service is asked, and goes", LIMIT, global),
    ]
}

const LOCAL: &str = "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: api, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: api}]
  rateLimit:
    local:
    - {name: per-user, requests: 3, per: 1m, burst: 3, by: [{header: x-user}]}
    - {name: writes, requests: 2, per: 1m, burst: 2, match: {path: {type: PathPrefix, value: /writes}}}
    - {name: calls, requests: 1, per: 1m, burst: 1, match: {path: {type: PathPrefix, value: /shop.Orders}}}
    - {name: refilled, requests: 10, per: 1s, burst: 2, match: {path: {type: Exact, value: /refilled}}}
";

async fn local(world: World) -> Result<()> {
    let cast = Cast::start(&world, &["api-1"], LOCAL).await?;
    let of = |user: &str| with(get("/")?, "x-user", user);
    for left in [2, 1, 0] {
        let answer = cast.ask(of("anna")?).await?;
        answer.expect(200, "")?;
        let header = |name: &str| answer.header(&format!("x-ratelimit-{name}")).map(str::to_owned);
        let (limit, remaining) = (header("limit"), header("remaining"));
        ensure!(limit.as_deref().is_some_and(|limit| limit.starts_with('3')), "{answer:?}");
        ensure!(remaining.as_deref() == Some(&left.to_string()), "{left} are left: {answer:?}");
        ensure!(header("reset").is_some(), "{answer:?}");
    }
    cast.stage.take();
    let answer = cast.ask(of("anna")?).await?;
    answer.expect(429, "rate_limited")?;
    ensure!(cast.stage.take().is_empty(), "a request over the limit arrived");
    // Somebody else, and nobody in particular, have buckets of their own or none.
    cast.ask(of("bob")?).await?.expect(200, "")?;
    for _ in 0..5 {
        cast.get("/").await?.expect(200, "")?;
    }
    // One bucket for all who match.
    let mut statuses = Vec::new();
    for user in ["carl", "dora", "emil"] {
        statuses.push(cast.ask(with(get("/writes/x")?, "x-user", user)?).await?.status);
    }
    ensure!(statuses == [200, 200, 429], "{statuses:?}");
    // A call is told in its own words.
    cast.ask(call("/shop.Orders/Get")?).await?.expect(200, "")?;
    let answer = cast.ask(call("/shop.Orders/Get")?).await?;
    ensure!(answer.header("grpc-status") == Some("8"), "not RESOURCE_EXHAUSTED: {answer:?}");
    // What was used up comes back: 10 a second.
    wait_until("a bucket to be empty", SOON, async || {
        let answer = cast.get("/refilled").await?;
        ensure!(answer.status == 429, "{answer:?}");
        Ok(())
    })
    .await?;
    wait_until("a bucket to be filled again", SOON, async || cast.get("/refilled").await?.expect(200, "")).await?;

    let metrics = cast.pod(0)?.sidecar()?.metrics().await?;
    for rule in ["per-user", "writes", "calls", "refilled"] {
        let refused: f64 = metrics
            .matching("weft_rate_limit_total", &[])
            .filter(|sample| sample.labels.get("rule").is_some_and(|name| name.contains(rule)))
            .filter(|sample| sample.labels.get("result").is_some_and(|result| result != "ok" && result != "allowed"))
            .map(|sample| sample.value)
            .sum();
        ensure!(refused > 0.0, "no refusal is counted for {rule}: {metrics:?}");
    }
    Ok(())
}

/// A service that lets nobody in who is called `eve`, and remembers what it was asked.
#[derive(Clone, Default)]
struct Limiter(Arc<Mutex<Vec<RateLimitRequest>>>);

#[tonic::async_trait]
impl RateLimitService for Limiter {
    async fn should_rate_limit(
        &self,
        request: tonic::Request<RateLimitRequest>,
    ) -> Result<tonic::Response<RateLimitResponse>, tonic::Status> {
        let request = request.into_inner();
        let entries = request.descriptors.iter().flat_map(|descriptor| &descriptor.entries);
        let over = entries.into_iter().any(|entry| entry.key == "user" && entry.value == "eve");
        self.0.lock().push(request);
        let code = if over { Code::OverLimit } else { Code::Ok };
        let header =
            HeaderValue { key: "x-limited-by".to_owned(), value: "limiter".to_owned(), ..HeaderValue::default() };
        Ok(tonic::Response::new(RateLimitResponse {
            overall_code: code.into(),
            response_headers_to_add: vec![header],
            ..RateLimitResponse::default()
        }))
    }
}

impl Limiter {
    async fn open(&self, pod: &Pod) -> Result<()> {
        let listener = pod.run(async { Ok(TcpListener::bind(("::", SERVICE_PORT)).await?) }).await?;
        let server = Server::builder().add_service(RateLimitServiceServer::new(self.clone()));
        drop(pod.spawn(server.serve_with_incoming(TcpListenerStream::new(listener))));
        Ok(())
    }

    /// The descriptors of the last question, `key=value` each.
    fn last(&self) -> Result<(String, Vec<Vec<String>>)> {
        let asked = self.0.lock();
        let last = asked.last().context("the service was not asked")?;
        let texts = last.descriptors.iter().map(|descriptor| {
            descriptor.entries.iter().map(|entry| format!("{}={}", entry.key, entry.value)).collect()
        });
        Ok((last.domain.clone(), texts.collect()))
    }
}

const GLOBAL: &str = "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: api, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: api}]
  rateLimit:
    global:
      service: {name: limiter, namespace: default, port: 8081}
      domain: shop
      timeout: 500ms
      failOpen: true
      descriptors: [[{key: user, header: x-user}, {key: path, path: true}, {key: k, value: v}], [{key: peer, peer: true}]]
";

async fn global(world: World) -> Result<()> {
    let limiter = Limiter::default();
    let unserved = world.service("limiter").port(SERVICE_PORT, SERVICE_PORT, "grpc").create()?;
    let cast = Cast::start(&world, &["api-1"], GLOBAL).await?;
    let pod = world.pod("limiter").sidecar().start().await?;
    limiter.open(&pod).await?;
    // Open while there is no service.
    cast.ask(with(get("/")?, "x-user", "eve")?).await?.expect(200, "")?;
    world.service("limiter").port(SERVICE_PORT, SERVICE_PORT, "grpc").backends([&pod]).create_as(&unserved)?;
    wait_until("the service to be asked", SOON, async || {
        let answer = cast.ask(with(get("/a?b=c")?, "x-user", "eve")?).await?;
        answer.expect(429, "rate_limited")
    })
    .await?;
    let (domain, descriptors) = limiter.last()?;
    let first = ["user=eve", "path=/a", "k=v"].map(str::to_owned).to_vec();
    let second = vec![format!("peer={}", cast.web.identity())];
    let with_query = ["user=eve", "path=/a?b=c", "k=v"].map(str::to_owned).to_vec();
    ensure!(domain == "shop", "{domain}");
    let as_wanted =
        descriptors.contains(&second) && (descriptors.contains(&first) || descriptors.contains(&with_query));
    ensure!(as_wanted, "{descriptors:?}");
    let answer = cast.ask(with(get("/")?, "x-user", "anna")?).await?;
    answer.expect(200, "")?;
    // A descriptor that lacks its header is not sent, as Envoy has it.
    cast.get("/").await?.expect(200, "")?;
    let (_, descriptors) = limiter.last()?;
    ensure!(descriptors == [second], "{descriptors:?}");
    // The service is gone: requests go on.
    drop(pod);
    for _ in 0..5 {
        let answer = cast.ask(with(get("/")?, "x-user", "eve")?).await?;
        answer.expect(200, "")?;
        ensure!(answer.elapsed < Duration::from_secs(3), "a service that is gone costs {:?}", answer.elapsed);
    }
    // Unless nobody is to get by it.
    world.apply("cast.yaml", &GLOBAL.replace("failOpen: true", "failOpen: false"))?;
    wait_until("the door to be closed", SOON, async || cast.get("/").await?.expect(503, "rate_limit_service")).await
}
