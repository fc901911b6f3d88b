//! What routes make of requests, calls and connections: filters, consumers' own routes, grants, gRPC, TCP and TLS; and what
//! becomes of a bad policy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use weft_cli::world::{World, wait_until};
use weft_tests::apps::Act;
use weft_tests::cast::{Cast, HTTP, HTTP_TARGET, SOON, call, get, with};
use weft_tests::{apps, client, trial};

const LIMIT: Duration = Duration::from_secs(90);
const PODS: [&str; 2] = ["api-1", "api-2"];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("HTTPRoute: headers, redirects and rewrites, through the mesh", LIMIT, filters),
        trial("HTTPRoute: a consumer's route is for its own namespace", LIMIT, consumer),
        trial("HTTPRoute: a backend elsewhere needs a ReferenceGrant", LIMIT, grant),
        trial("GRPCRoute: service, method and header; it comes before an HTTPRoute", LIMIT, grpc),
        trial("TCPRoute: weights, and nowhere else", LIMIT, tcp),
        trial("TLSRoute: by server name, without opening it", LIMIT, tls),
        trial("a bad policy is refused, the last good one stays", LIMIT, bad_policy),
        trial("weft why: step by step, with the manifest", LIMIT, why),
    ]
}

const FILTERS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, namespace: default}
spec:
  parentRefs: [{group: '', kind: Service, name: api}]
  rules:
  - matches: [{path: {value: /headers}}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: x-set, value: new}], add: [{name: x-add, value: more}], remove: [x-gone]}
    - type: ResponseHeaderModifier
      responseHeaderModifier: {set: [{name: x-answer, value: new}], remove: [x-secret]}
    backendRefs: [{name: api-1, port: 80}]
  - matches: [{path: {value: /old}}]
    filters:
    - type: URLRewrite
      urlRewrite: {hostname: other.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}
    backendRefs: [{name: api-1, port: 80}]
  - matches: [{path: {value: /away}}]
    filters:
    - type: RequestRedirect
      requestRedirect: {scheme: https, hostname: other.example, statusCode: 301}
  - matches: [{path: {value: /backend}}]
    backendRefs:
    - name: api-2
      port: 80
      filters:
      - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-backend, value: two}]}}
";

async fn filters(world: World) -> Result<()> {
    let cast = Cast::start(&world, &PODS, FILTERS).await?;
    let request = with(with(with(get("/headers")?, "x-set", "old")?, "x-add", "one")?, "x-gone", "bye")?;
    let act = Act::default().header("x-answer", "old").header("x-secret", "s");
    let (answer, seen) = cast.play(request, [act]).await?;
    answer.expect(200, "")?;
    ensure!(answer.header("x-answer") == Some("new") && answer.header("x-secret").is_none(), "{answer:?}");
    let seen = seen.first().context("it did not arrive")?;
    let added: Vec<_> = seen.headers.get_all("x-add").iter().collect();
    ensure!(
        seen.header("x-set") == Some("new") && added == ["one", "more"] && seen.header("x-gone").is_none(),
        "{seen:?}"
    );

    let (answer, seen) = cast.play(get("/old/x?y=z")?, []).await?;
    answer.expect(200, "")?;
    let seen = seen.first().context("it did not arrive")?;
    ensure!(seen.path() == "/new/x?y=z" && seen.host() == "other.example", "{seen:?}");

    let (answer, seen) = cast.play(get("/away/x?y=z")?, []).await?;
    ensure!(answer.status == 301 && seen.is_empty(), "{answer:?}");
    ensure!(answer.header("location") == Some("https://other.example/away/x?y=z"), "{answer:?}");

    let (answer, seen) = cast.play(get("/backend")?, []).await?;
    let seen = seen.first().with_context(|| format!("it did not arrive: {answer:?}"))?;
    ensure!(seen.pod == "api-2" && seen.header("x-backend") == Some("two"), "{seen:?}");
    cast.get("/nowhere").await?.expect(404, "no_route")
}

const CONSUMER: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ours, namespace: buyers}
spec:
  parentRefs: [{group: '', kind: Service, name: api, namespace: default}]
  rules:
  - filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-route, value: consumer}]}}
    backendRefs: [{name: api, namespace: default, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: theirs, namespace: default}
spec:
  parentRefs: [{group: '', kind: Service, name: api}]
  rules:
  - filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-route, value: producer}]}}
    backendRefs: [{name: api, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: buyers, namespace: default}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: buyers}]
  to: [{group: '', kind: Service}]
";

async fn consumer(world: World) -> Result<()> {
    let cast = Cast::start(&world, &PODS, CONSUMER).await?;
    let buyer = world.pod("buyer").namespace("buyers").sidecar().start().await?;
    for (pod, route) in [(&cast.web, "producer"), (&buyer, "consumer")] {
        cast.stage.take();
        client::ask(pod, cast.at(), get("/")?).await?.expect(200, "")?;
        let seen = cast.stage.take();
        let by = seen.first().and_then(|seen| seen.header("x-route"));
        ensure!(by == Some(route), "{} was routed by the {by:?}'s route", pod.name());
    }
    Ok(())
}

const ELSEWHERE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, namespace: default}
spec:
  parentRefs: [{group: '', kind: Service, name: api}]
  rules:
  - matches: [{path: {value: /elsewhere}}]
    backendRefs: [{name: stock, namespace: store, port: 80}]
  - backendRefs: [{name: api, port: 80}]
";

const GRANT: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: shops, namespace: store}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: '', kind: Service, name: stock}]
";

async fn grant(world: World) -> Result<()> {
    let cast = Cast::start(&world, &PODS, "").await?;
    let stock = world.pod("stock").namespace("store").sidecar().start().await?;
    cast.stage.open(&stock, HTTP_TARGET).await?;
    world.service("stock").namespace("store").port(HTTP, HTTP_TARGET, "http").backends([&stock]).create()?;
    world.apply("elsewhere.yaml", ELSEWHERE)?;
    let answers = async |status: u16| {
        wait_until("the grant, or its end", SOON, async || {
            let (answer, seen) = cast.play(get("/elsewhere")?, []).await?;
            let there = seen.first().is_some_and(|seen| seen.pod == "stock");
            ensure!(answer.status == status && there == (status == 200), "{answer:?} {seen:?}");
            // The other rules are not touched.
            cast.get("/").await?.expect(200, "")
        })
        .await
    };
    answers(500).await.context("without a grant")?;
    world.apply("grant.yaml", GRANT)?;
    answers(200).await.context("with a grant")?;
    world.unapply("grant.yaml")?;
    answers(500).await.context("when the grant is gone")
}

const GRPC: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: api, namespace: default}
spec:
  parentRefs: [{group: '', kind: Service, name: api}]
  rules:
  - matches: [{method: {service: shop.Orders, method: Get}}]
    backendRefs: [{name: api-1, port: 80}]
  - matches: [{method: {service: shop.Orders}, headers: [{name: x-version, value: '2'}]}]
    backendRefs: [{name: api-2, port: 80}]
";

const IGNORED: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, namespace: default}
spec:
  parentRefs: [{group: '', kind: Service, name: api}]
  rules: [{backendRefs: [{name: api-2, port: 80}]}]
";

async fn grpc(world: World) -> Result<()> {
    let cast = Cast::start(&world, &PODS, GRPC).await?;
    let go = async |path: &str, version: &str, expected: Option<&str>| {
        let (answer, seen) = cast.play(with(call(path)?, "x-version", version)?, [Act::grpc(0)]).await?;
        let pod = seen.first().map(|seen| seen.pod.as_str());
        ensure!(pod == expected, "{path} (version {version}) went to {pod:?}: {answer:?}");
        let status = if expected.is_some() { "0" } else { "12" };
        ensure!(answer.header("grpc-status") == Some(status), "{answer:?}");
        Ok(())
    };
    go("/shop.Orders/Get", "1", Some("api-1")).await?;
    go("/shop.Orders/Put", "2", Some("api-2")).await?;
    go("/shop.Orders/Put", "1", None).await?;
    go("/shop.Carts/Get", "2", None).await?;
    // Plain HTTP is not for a GRPCRoute.
    let (answer, seen) = cast.play(get("/shop.Orders/Get")?, []).await?;
    ensure!(answer.status == 404 && seen.is_empty(), "{answer:?}");
    // Once there is a GRPCRoute for the Service, an HTTPRoute for the same port no longer counts, and that is a fault.
    let before = cast.control.metrics().await?.sum("weft_control_registry_faults", &[]);
    world.apply("both.yaml", IGNORED)?;
    wait_until("the ignored HTTPRoute to be a fault", SOON, async || {
        let faults = cast.control.metrics().await?.sum("weft_control_registry_faults", &[]);
        ensure!(faults > before, "{faults} faults");
        Ok(())
    })
    .await?;
    go("/shop.Orders/Get", "1", Some("api-1")).await
}

const TCP: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: db, namespace: default}
spec:
  parentRefs: [{group: '', kind: Service, name: db}]
  rules: [{backendRefs: [{name: db-1, port: 5000, weight: 1}, {name: db-2, port: 5000, weight: 3}]}]
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: lost, namespace: default}
spec:
  parentRefs: [{group: '', kind: Service, name: lost}]
  rules: [{backendRefs: [{name: not-there, port: 5000}]}]
";

async fn tcp(world: World) -> Result<()> {
    let (cast, at) = opaque(&world, TCP).await?;
    let web = &cast.web;
    let mut counts = BTreeMap::<String, usize>::new();
    for _ in 0..120 {
        let said = client::send_and_end(web, at("db")?, "").await?;
        *counts.entry(String::from_utf8(said)?).or_default() += 1;
    }
    let first = counts.get("db-1").copied().unwrap_or_default();
    // 4.5 standard deviations.
    ensure!((9..=51).contains(&first) && counts.len() == 2, "1:3 became {counts:?}");
    let lost = client::send_and_end(web, at("lost")?, "").await;
    ensure!(lost.as_ref().map_or(true, Vec::is_empty), "a backend that does not exist says {lost:?}");
    Ok(())
}

/// Services `db-1` and `db-2`, whose pods say their name, and `db` and `lost`, that lead nowhere by themselves.
async fn opaque(world: &World, routes: &str) -> Result<(Cast, impl Fn(&str) -> Result<SocketAddr>)> {
    let mut at = BTreeMap::new();
    for name in ["db", "lost"] {
        at.insert(name.to_owned(), world.service(name).port(5000, 5000, "tcp").create()?.address(5000));
    }
    let cast = Cast::start(world, &["db-1", "db-2"], routes).await?;
    for pod in &cast.pods {
        let name = pod.name().to_owned();
        apps::serve(pod, 5000, move |mut stream| {
            let name = name.clone();
            async move { Ok(stream.write_all(name.as_bytes()).await?) }
        })
        .await?;
    }
    for (pod, service) in cast.pods.iter().zip(&cast.own) {
        world.service(pod.name()).port(5000, 5000, "tcp").backends([pod]).create_as(service)?;
    }
    let dial = async || client::send_and_end(&cast.web, at.get("db").copied().context("db")?, "").await;
    wait_until("the route", SOON, async || {
        let said = dial().await?;
        ensure!(said.starts_with(b"db-"), "{said:?}");
        Ok(())
    })
    .await?;
    Ok((cast, move |name: &str| at.get(name).copied().with_context(|| format!("no Service {name}"))))
}

const TLS: &str = "
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TLSRoute
metadata: {name: one, namespace: default}
spec:
  parentRefs: [{group: '', kind: Service, name: door}]
  hostnames: [one.example]
  rules: [{backendRefs: [{name: one, port: 443}]}]
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TLSRoute
metadata: {name: two, namespace: default}
spec:
  parentRefs: [{group: '', kind: Service, name: door}]
  hostnames: ['*.two.example']
  rules: [{backendRefs: [{name: two, port: 443}]}]
";

async fn tls(world: World) -> Result<()> {
    let door = world.service("door").port(443, 8443, "tls").create()?;
    let (mut pods, mut roots) = (Vec::new(), rustls::RootCertStore::empty());
    let cast = Cast::start(&world, &["api-1"], TLS).await?;
    for (name, domain) in [("one", "one.example"), ("two", "a.two.example")] {
        let pod = world.pod(name).sidecar().start().await?;
        let identity = rcgen::generate_simple_self_signed([domain.to_owned()])?;
        roots.add(identity.cert.der().clone())?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der()));
        let config = rustls::ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![identity.cert.der().clone()], key)?;
        apps::tls_echo(&pod, 8443, Arc::new(config)).await?;
        world.service(name).port(443, 8443, "tls").backends([&pod]).create()?;
        pods.push(pod);
    }
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    // The certificates are the applications' own: only the right one is trusted for the name.
    let greet = async |name: &'static str| {
        let stream = client::connect(&cast.web, door.address(443)).await?;
        let session = connector.connect(ServerName::try_from(name)?, stream);
        let mut session = tokio::time::timeout(Duration::from_secs(5), session).await??;
        session.write_all(b"hello").await?;
        let mut echoed = [0; 5];
        session.read_exact(&mut echoed).await?;
        ensure!(&echoed == b"hello", "{name} echoes {echoed:?}");
        anyhow::Ok(())
    };
    for name in ["one.example", "a.two.example"] {
        wait_until(name, SOON, async || greet(name).await).await?;
    }
    for name in ["three.example", "two.example"] {
        ensure!(greet(name).await.is_err(), "{name} leads somewhere");
    }
    Ok(())
}

const GOOD_POLICY: &str = "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: api, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: api}]
  retry: {attempts: 2, retryOn: [5xx], backoff: {base: 5ms, max: 10ms}}
";

async fn bad_policy(world: World) -> Result<()> {
    let cast = Cast::start(&world, &PODS, GOOD_POLICY).await?;
    let still_good = async || {
        let (answer, seen) = cast.play(get("/")?, [Act::status(503), Act::default()]).await?;
        ensure!(answer.status == 200 && seen.len() == 2, "the last good policy is not in force: {answer:?}");
        anyhow::Ok(())
    };
    still_good().await?;
    let bad = [
        ("attempts: 2", "attempts: 11", "spec.retry.attempts"),
        ("retryOn: [5xx]", "retryOn: [6xx]", "spec.retry.retryOn[0]"),
        ("base: 5ms", "base: soon", "spec.retry.backoff.base"),
        ("retry:", "retires:", "retires"),
    ];
    for (good, bad, field) in bad {
        world.apply("cast.yaml", &GOOD_POLICY.replace(good, bad))?;
        wait_until("the fault", SOON, async || {
            let text = cast.weft(&["status"]).await?;
            ensure!(
                text.contains(field) && text.contains("cast.yaml"),
                "`weft status` does not tell of {field}:\n{text}"
            );
            Ok(())
        })
        .await?;
        still_good().await.with_context(|| format!("with {bad}"))?;
    }
    world.apply("cast.yaml", &GOOD_POLICY.replace("attempts: 2", "attempts: 0"))?;
    wait_until("the good policy that came after", SOON, async || {
        let (answer, seen) = cast.play(get("/")?, [Act::status(503), Act::default()]).await?;
        ensure!(answer.status == 503 && seen.len() == 1, "{answer:?} after {} attempts", seen.len());
        Ok(())
    })
    .await
}

async fn why(world: World) -> Result<()> {
    let manifests = FILTERS.to_owned() + "---" + GOOD_POLICY;
    let cast = Cast::start(&world, &PODS, &manifests).await?;
    let ask = async |path: &str, words: &[&str]| {
        let text = cast.weft(&["why", "web", "api:80", "--path", path]).await?;
        for word in words {
            ensure!(text.contains(word), "`weft why` for {path} does not say {word:?}:\n{text}");
        }
        anyhow::Ok(())
    };
    ask("/old/x", &["HTTPRoute default/api", "rules[1]", "/new/x", "other.example", "default/api-1:80"]).await?;
    ask("/away", &["HTTPRoute default/api", "rules[2]", "301", "https://other.example/away"]).await?;
    ask("/nowhere", &["404"]).await?;
    ask("/backend", &["rules[3]", "default/api-2:80", &cast.pod(1)?.address(HTTP_TARGET).to_string()]).await?;
    Ok(())
}
