//! Injected pods that really run: their traffic, their probes, their Jobs, their rollouts.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, ListParams};
use weft_cli::world::wait_until;
use weft_tests::client;
use weft_tests::kube::{Cluster, Suite};
use weft_tests::load::Load;

use crate::LIMIT;

pub(crate) fn add(suite: &mut Suite) {
    suite.trial("an injected web calls an injected api over mutual TLS", LIMIT, calls);
    suite.trial("strict mutual TLS lets probes through, and nobody else", LIMIT, strict);
    suite.trial("a Job with a sidecar finishes", LIMIT, job);
    suite.trial("an init container has the mesh already", LIMIT, init_container);
    suite.trial("a rollout under load drops nothing", 2 * LIMIT, rollout);
    suite.trial("a new EndpointSlice and a new route reach a proxy that runs", LIMIT, changes);
}

pub(crate) const NAMESPACE: &str = "pods";

/// A Deployment with a Service of the same name.
fn app(name: &str, replicas: u8, annotations: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  replicas: {replicas}
  strategy: {{rollingUpdate: {{maxUnavailable: 0, maxSurge: 1}}}}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}, annotations: {{{annotations}}}}}
    spec:
      serviceAccountName: {name}
      containers:
      - name: echo
        image: weft.test/echo:test
        args: [--port=8080, --grpc=7070]
        ports: [{{name: http, containerPort: 8080}}]
        readinessProbe: {{httpGet: {{port: http}}, periodSeconds: 1}}
        livenessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 2}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}, namespace: {NAMESPACE}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: 8080}}, {{name: grpc, port: 7070}}]}}
"
    )
}

/// Deploys it and waits until all replicas are ready; the name of one of its pods.
pub(crate) async fn deploy(cluster: &Cluster, name: &str, replicas: u8, annotations: &str) -> Result<String> {
    cluster.namespace(NAMESPACE, "weft.dev/inject: enabled").await?;
    cluster.apply(&app(name, replicas, annotations)).await?;
    rolled_out(cluster, name).await?;
    pod_of(cluster, name).await
}

pub(crate) async fn rolled_out(cluster: &Cluster, name: &str) -> Result<()> {
    let deployment = format!("deployment/{name}");
    let done = cluster.kubectl(["rollout", "status", "-n", NAMESPACE, "--timeout=60s", &deployment]).await;
    match done {
        Ok(_) => Ok(()),
        Err(error) => {
            let label = format!("app={name}");
            let said = cluster.kubectl(["describe", "pods", "-n", NAMESPACE, "-l", &label]).await.unwrap_or_default();
            let logs = ["logs", "-n", NAMESPACE, "-l", &label, "--all-containers", "--tail=20", "--prefix"];
            Err(error.context(format!("{said}\n{}", cluster.kubectl(logs).await.unwrap_or_default())))
        }
    }
}

/// One of the pods that are labelled so, and not on their way out.
pub(crate) async fn pod_of(cluster: &Cluster, name: &str) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(cluster.client(), NAMESPACE);
    let list = pods.list(&ListParams::default().labels(&format!("app={name}"))).await?;
    let living = list.items.into_iter().find(|pod| pod.metadata.deletion_timestamp.is_none());
    living.and_then(|pod| pod.metadata.name).with_context(|| format!("{name} has no pod"))
}

pub(crate) async fn service_address(cluster: &Cluster, name: &str, port: u16) -> Result<SocketAddr> {
    let service = Api::<Service>::namespaced(cluster.client(), NAMESPACE).get(name).await?;
    let address = service.spec.and_then(|spec| spec.cluster_ip).context("no cluster IP")?;
    Ok(SocketAddr::new(address.parse::<IpAddr>()?, port))
}

async fn calls(cluster: Arc<Cluster>) -> Result<()> {
    deploy(&cluster, "api", 1, "").await?;
    let web = deploy(&cluster, "web", 1, "").await?;
    for url in ["http://api/", "http://api.pods.svc.cluster.local/", "grpc://api:7070"] {
        let said = cluster.exec(NAMESPACE, &web, "echo", ["client", url]).await?;
        ensure!(said.contains("StatusCode=200") && said.contains("Hostname=api-"), "{url}: {said}");
    }
    let api = pod_of(&cluster, "api").await?;
    let metrics = proxy_metrics(&cluster, &api).await?;
    let expected = r#"peer="spiffe://cluster.local/ns/pods/sa/web""#;
    let seen = metrics.lines().any(|line| line.contains(expected) && line.contains(r#"tls="mtls""#));
    ensure!(seen, "api has not seen {expected}:\n{metrics}");
    Ok(())
}

pub(crate) async fn proxy_metrics(cluster: &Cluster, pod: &str) -> Result<String> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:15020/proxy/metrics");
    cluster.kubectl(["get", "--raw", &path]).await
}

async fn strict(cluster: Arc<Cluster>) -> Result<()> {
    let built = cluster.built()?;
    let pod = deploy(&cluster, "guarded", 1, "weft.dev/mtls: strict").await?;
    let web = deploy(&cluster, "web", 1, "").await?;
    let said = cluster.exec(NAMESPACE, &web, "echo", ["client", "http://guarded/"]).await?;
    ensure!(said.contains("StatusCode=200"), "{said}");

    // Who has no certificate: a pod of the world, outside of the cluster.
    let address: IpAddr = built.enter(NAMESPACE, &pod).await?.address(8080).ip();
    let outsider = built.world().pod("outsider").start().await?;
    let refused = client::get(&outsider, SocketAddr::new(address, 8080), "/").await;
    ensure!(refused.is_err(), "an outsider is answered: {refused:?}");
    let probe = client::get(&outsider, SocketAddr::new(address, 15020), "/probe/echo/readiness").await?;
    ensure!(!probe.0.is_success(), "an outsider has a probe made: {probe:?}");
    let ready = cluster.pod_ready(NAMESPACE, &pod).await?;
    let restarts = ready.status.and_then(|status| status.container_statuses).unwrap_or_default();
    ensure!(restarts.iter().all(|container| container.restart_count == 0), "its probes fail: {restarts:?}");
    Ok(())
}

const JOB: &str = "
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: pods}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: app, image: 'weft.test/echo:test', command: [client, 'http://api/']}
";

async fn job(cluster: Arc<Cluster>) -> Result<()> {
    deploy(&cluster, "api", 1, "").await?;
    cluster.kubectl(["delete", "job", "-n", NAMESPACE, "once", "--ignore-not-found"]).await?;
    cluster.apply(JOB).await?;
    cluster.kubectl(["wait", "-n", NAMESPACE, "--for=condition=Complete", "--timeout=60s", "job/once"]).await?;
    let said = cluster.kubectl(["logs", "-n", NAMESPACE, "job/once", "-c", "app"]).await?;
    ensure!(said.contains("StatusCode=200"), "{said}");
    Ok(())
}

const WITH_INIT: &str = "
apiVersion: v1
kind: Pod
metadata: {name: prepared, namespace: pods}
spec:
  initContainers:
  - {name: prepare, image: 'weft.test/echo:test', command: [client, 'http://guarded/']}
  containers: [{name: app, image: 'weft.test/echo:test'}]
";

async fn init_container(cluster: Arc<Cluster>) -> Result<()> {
    deploy(&cluster, "guarded", 1, "weft.dev/mtls: strict").await?;
    cluster.apply(WITH_INIT).await?;
    cluster.pod_ready(NAMESPACE, "prepared").await?;
    let said = cluster.kubectl(["logs", "-n", NAMESPACE, "prepared", "-c", "prepare"]).await?;
    ensure!(said.contains("StatusCode=200"), "{said}");
    Ok(())
}

async fn rollout(cluster: Arc<Cluster>) -> Result<()> {
    let built = cluster.built()?;
    deploy(&cluster, "api", 2, "").await?;
    let web = deploy(&cluster, "web", 1, "").await?;
    let web = built.enter(NAMESPACE, &web).await?;
    let mut load = Load::start(&web, service_address(&cluster, "api", 80).await?, 4);
    load.more(200).await?.nothing_lost()?;
    cluster.kubectl(["rollout", "restart", "-n", NAMESPACE, "deployment/api"]).await?;
    rolled_out(&cluster, "api").await?;
    wait_until("the old pods to be gone", LIMIT / 2, async || {
        let pods = cluster.kubectl(["get", "pods", "-n", NAMESPACE, "-l", "app=api", "-o", "name"]).await?;
        ensure!(pods.lines().count() == 2, "{pods}");
        Ok(())
    })
    .await?;
    load.more(200).await?;
    let tally = load.stop().await?;
    eprintln!("    {} requests were answered during the rollout, {} failed", tally.answered(), tally.failures.len());
    tally.nothing_lost()
}

const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: teapot, namespace: pods}
spec:
  parentRefs: [{group: '', kind: Service, name: api}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /moved}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: elsewhere.example, statusCode: 301}}]
  - backendRefs: [{name: api, port: 80}]
";

async fn changes(cluster: Arc<Cluster>) -> Result<()> {
    let built = cluster.built()?;
    deploy(&cluster, "api", 1, "").await?;
    let web = deploy(&cluster, "web", 1, "").await?;
    let web = built.enter(NAMESPACE, &web).await?;
    let api = service_address(&cluster, "api", 80).await?;
    ensure!(client::get(&web, api, "/moved").await?.0 == 200, "it was moved before there was a route");

    cluster.apply(ROUTE).await?;
    let begin = std::time::Instant::now();
    wait_until("the route to be in force", Duration::from_secs(20), async || {
        let (status, _) = client::get(&web, api, "/moved").await?;
        ensure!(status == 301, "{status}");
        Ok(())
    })
    .await?;
    eprintln!("    the route was in force after {:?}", begin.elapsed());
    cluster.kubectl(["delete", "httproute", "-n", NAMESPACE, "teapot"]).await?;

    cluster.kubectl(["scale", "-n", NAMESPACE, "deployment/api", "--replicas=3"]).await?;
    rolled_out(&cluster, "api").await?;
    wait_until("three pods to answer", Duration::from_secs(20), async || {
        let mut names = std::collections::BTreeSet::new();
        for _ in 0..30 {
            let (_, body) = client::get(&web, api, "/").await?;
            names.extend(body.lines().find_map(|line| line.strip_prefix("Hostname=").map(str::to_owned)));
        }
        ensure!(names.len() == 3, "{names:?} answer");
        Ok(())
    })
    .await?;
    cluster.kubectl(["scale", "-n", NAMESPACE, "deployment/api", "--replicas=1"]).await.map(drop)
}
