//! Connections that are not HTTP, and where they go: by TCPRoute and TLSRoute, by a Service that keeps to its clients' node.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_cli::world::wait_until;
use weft_tests::kube::{Cluster, SYSTEM_NAMESPACE, Suite};

use crate::LIMIT;
use crate::pods::{NAMESPACE, deploy, pod_of, rolled_out};
use crate::traffic::told;

pub(crate) fn add(suite: &mut Suite) {
    suite.trial("a TCPRoute steers connections, and says when it does", LIMIT, tcp);
    suite.trial("TLSRoutes steer connections by the name that they ask for", LIMIT, tls);
    suite.trial("internalTrafficPolicy Local keeps to the client's node", LIMIT, local);
    suite.trial("a kind of routes may go away and come back: all else goes on", 2 * LIMIT, definition);
}

const SOON: Duration = Duration::from_secs(20);
/// How many connections are asked where they went.
const MANY: usize = 12;

/// Deployments and Services `db-v1` and `db-v2`, and the Service `db` of both: a port of bytes, one of TLS, one of HTTP.
fn db(node: &str) -> String {
    let version = |name: &str| {
        format!(
            "apiVersion: apps/v1
kind: Deployment
metadata: {{name: db-{name}, namespace: {NAMESPACE}}}
spec:
  selector: {{matchLabels: {{app: db-{name}}}}}
  template:
    metadata: {{labels: {{app: db-{name}, of: db}}}}
    spec:
      nodeName: {node}
      containers:
      - name: echo
        image: weft.test/echo:test
        args: [--port=8080, --tcp=9090, --port=8443, --tls=8443, --crt=/cert.crt, --key=/cert.key]
        readinessProbe: {{httpGet: {{port: 8080}}, periodSeconds: 1}}
---
"
        )
    };
    let service = |name: &str, selector: &str| {
        format!(
            "apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  selector: {{{selector}}}
  ports: [{{name: tcp, port: 9090}}, {{name: tls, port: 8443}}, {{name: http, port: 80, targetPort: 8080}}]
---
"
        )
    };
    let services = service("db", "of: db") + &service("db-v1", "app: db-v1") + &service("db-v2", "app: db-v2");
    version("v1") + &version("v2") + &services
}

/// Deploys both versions on the node of a client, and waits until they are ready; the client.
pub(crate) async fn versions(cluster: &Cluster) -> Result<String> {
    let web = deploy(cluster, "web", 1, "").await?;
    let node = ["get", "pod", "-n", NAMESPACE, &web, "-o", "jsonpath={.spec.nodeName}"];
    cluster.apply(&db(&cluster.kubectl(node).await?)).await?;
    rolled_out(cluster, "db-v1").await?;
    rolled_out(cluster, "db-v2").await?;
    Ok(web)
}

/// Which versions answer to so many connections; each has to be answered.
pub(crate) async fn answering<const N: usize>(
    cluster: &Cluster,
    web: &str,
    client: [&str; N],
) -> Result<BTreeSet<String>> {
    let mut kubectl = cluster.command("kubectl");
    kubectl.args(["exec", "-n", NAMESPACE, web, "-c", "echo", "--", "client", "-k"]);
    let output = kubectl.arg(format!("--count={MANY}")).args(client).output().await?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{client:?}: {}{said}", String::from_utf8_lossy(&output.stderr));
    let hosts: Vec<&str> = said.lines().filter_map(|line| line.split_once("Hostname=")).map(|(_, host)| host).collect();
    ensure!(hosts.len() == MANY, "{} answers to {client:?}:\n{said}", hosts.len());
    Ok(hosts.iter().map(|host| host.chars().take("db-v1".len()).collect()).collect())
}

async fn both_answer<const N: usize>(cluster: &Cluster, web: &str, client: [&str; N]) -> Result<()> {
    wait_until("both versions to answer", SOON, async || {
        let versions = answering(cluster, web, client).await?;
        ensure!(versions.len() == 2, "{versions:?} answer to {client:?}");
        Ok(())
    })
    .await
}

async fn answers_alone<const N: usize>(cluster: &Cluster, web: &str, client: [&str; N], version: &str) -> Result<()> {
    wait_until("one version alone to answer", SOON, async || {
        let versions = answering(cluster, web, client).await?;
        ensure!(versions == only(version), "{versions:?} answer to {client:?}, not {version} alone");
        Ok(())
    })
    .await
}

/// Waits until an object says that all proxies have this generation of it.
async fn programmed(cluster: &Cluster, object: &str, generation: u8) -> Result<()> {
    let of = |field| format!("{{.status.parents[0].conditions[?(@.type=='Programmed')].{field}}}");
    let path = format!("{}, {}", of("observedGeneration"), of("status"));
    told(cluster, (NAMESPACE, object), &path, &format!("{generation}, True")).await
}

const TO_V2: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: db, namespace: pods}
spec:
  parentRefs: [{group: '', kind: Service, name: db, port: 9090}]
  rules: [{backendRefs: [{name: db-v2, port: 9090}]}]
";
const TO_V1: &str = r#"[{"op": "replace", "path": "/spec/rules/0/backendRefs/0/name", "value": "db-v1"}]"#;

async fn tcp(cluster: Arc<Cluster>) -> Result<()> {
    let (web, client) = (versions(&cluster).await?, ["tcp://db:9090"]);
    both_answer(&cluster, &web, client).await?;
    cluster.apply(TO_V2).await?;
    programmed(&cluster, "tcproute/db", 1).await?;
    ensure!(answering(&cluster, &web, client).await? == only("db-v2"), "it is said to steer, and does not");
    cluster.kubectl(["patch", "-n", NAMESPACE, "tcproute/db", "--type=json", "-p", TO_V1]).await?;
    programmed(&cluster, "tcproute/db", 2).await?;
    ensure!(answering(&cluster, &web, client).await? == only("db-v1"), "its change is said to steer, and does not");
    for condition in ["Accepted", "ResolvedRefs"] {
        let path = format!("{{.status.parents[0].conditions[?(@.type=='{condition}')].status}}");
        told(&cluster, (NAMESPACE, "tcproute/db"), &path, "True").await?;
    }
    cluster.kubectl(["delete", "-n", NAMESPACE, "tcproute/db"]).await?;
    both_answer(&cluster, &web, client).await
}

/// Of all versions this one alone.
pub(crate) fn only(version: &str) -> BTreeSet<String> {
    [version.to_owned()].into()
}

fn by_name(version: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {{name: {version}, namespace: {NAMESPACE}}}
spec:
  parentRefs: [{{group: '', kind: Service, name: db, port: 8443}}]
  hostnames: [{version}.example]
  rules: [{{backendRefs: [{{name: db-{version}, port: 8443}}]}}]
---
"
    )
}

async fn tls(cluster: Arc<Cluster>) -> Result<()> {
    let web = versions(&cluster).await?;
    let [v1, v2, other] = ["v1", "v2", "v3"]
        .map(|name| ["--server-name".to_owned(), format!("{name}.example"), "https://db:8443".into()]);
    let [v1, v2, other] = [&v1, &v2, &other].map(|client| client.each_ref().map(String::as_str));
    both_answer(&cluster, &web, v1).await?;
    cluster.apply(&(by_name("v1") + &by_name("v2"))).await?;
    programmed(&cluster, "tlsroute/v1", 1).await?;
    programmed(&cluster, "tlsroute/v2", 1).await?;
    ensure!(answering(&cluster, &web, v1).await? == only("db-v1"), "v1.example does not go to db-v1 alone");
    ensure!(answering(&cluster, &web, v2).await? == only("db-v2"), "v2.example does not go to db-v2 alone");
    both_answer(&cluster, &web, other).await?;
    cluster.kubectl(["delete", "-n", NAMESPACE, "tlsroute", "v1", "v2"]).await?;
    both_answer(&cluster, &web, v1).await
}

/// A Service of `db-v1`, which has another endpoint, at an address, on a node that is not there.
fn near(address: &str) -> String {
    let family = if address.contains(':') { "IPv6" } else { "IPv4" };
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: near, namespace: {NAMESPACE}}}
spec: {{selector: {{app: db-v1}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: near-elsewhere
  namespace: {NAMESPACE}
  labels: {{kubernetes.io/service-name: near, endpointslice.kubernetes.io/managed-by: weft.test}}
addressType: {family}
ports: [{{name: http, port: 8080, protocol: TCP}}]
endpoints: [{{addresses: ['{address}'], nodeName: elsewhere, conditions: {{ready: true}}}}]
"
    )
}

async fn local(cluster: Arc<Cluster>) -> Result<()> {
    let (web, client) = (versions(&cluster).await?, ["--new-connection-per-request", "http://near/"]);
    let v2 = pod_of(&cluster, "db-v2").await?;
    let address = ["get", "pod", "-n", NAMESPACE, &v2, "-o", "jsonpath={.status.podIP}"];
    cluster.apply(&near(&cluster.kubectl(address).await?)).await?;
    both_answer(&cluster, &web, client).await?;
    let change = async |patch| cluster.kubectl(["patch", "-n", NAMESPACE, "service/near", "-p", patch]).await;
    change(r#"{"spec": {"internalTrafficPolicy": "Local"}}"#).await?;
    answers_alone(&cluster, &web, client, "db-v1").await.context("with another endpoint elsewhere")?;
    ensure!(answering(&cluster, &web, client).await? == only("db-v1"), "the endpoint elsewhere is used again");
    change(r#"{"spec": {"selector": {"app": "nobody"}}}"#).await?;
    wait_until("nobody to answer, where none is on the node", SOON, async || {
        let said = cluster.exec(NAMESPACE, &web, "echo", ["client", "http://near/"]).await?;
        ensure!(said.contains("StatusCode=503"), "{said}");
        Ok(())
    })
    .await?;
    change(r#"{"spec": {"internalTrafficPolicy": "Cluster"}}"#).await?;
    answers_alone(&cluster, &web, client, "db-v2").await.context("with no other endpoint than that elsewhere")?;
    cluster.kubectl(["delete", "-n", NAMESPACE, "service/near", "endpointslice/near-elsewhere"]).await.map(drop)
}

const DEFINITION: &str = "crd/tcproutes.gateway.networking.k8s.io";
const REDIRECT: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: db, namespace: pods}
spec:
  parentRefs: [{group: '', kind: Service, name: db, port: 80}]
  rules: [{filters: [{type: RequestRedirect, requestRedirect: {hostname: elsewhere.example, statusCode: 301}}]}]
";

async fn definition(cluster: Arc<Cluster>) -> Result<()> {
    cluster.may_take_definitions_away()?;
    let (web, client) = (versions(&cluster).await?, ["tcp://db:9090"]);
    cluster.apply(TO_V2).await?;
    programmed(&cluster, "tcproute/db", 1).await?;
    let (replicas, said_before) = (control_plane(&cluster).await?, said_missing(&cluster).await?);

    cluster.kubectl(["delete", DEFINITION, "--timeout=60s"]).await?;
    wait_until("every replica to say that the kind is missing", Duration::from_secs(60), async || {
        let said = said_missing(&cluster).await?;
        ensure!(said >= said_before + replicas.lines().count(), "{said} times, {said_before} of them before");
        Ok(())
    })
    .await?;
    both_answer(&cluster, &web, client).await?;
    cluster.apply(REDIRECT).await?;
    wait_until("a route of another kind to be in force", SOON, async || {
        let said = cluster.exec(NAMESPACE, &web, "echo", ["client", "http://db/"]).await?;
        ensure!(said.contains("StatusCode=301"), "{said}");
        Ok(())
    })
    .await?;
    cluster.kubectl(["delete", "-n", NAMESPACE, "httproute/db"]).await?;

    cluster.gateway_api().await?;
    cluster.kubectl(["wait", "--for=condition=Established", "--timeout=30s", DEFINITION]).await?;
    wait_until("a route of the kind to be taken", SOON, async || cluster.apply(TO_V2).await).await?;
    programmed(&cluster, "tcproute/db", 1).await?;
    ensure!(answering(&cluster, &web, client).await? == only("db-v2"), "it is said to steer, and does not");
    let now = control_plane(&cluster).await?;
    ensure!(now == replicas, "the control plane did not run on: before\n{replicas}\nnow\n{now}");
    cluster.kubectl(["delete", "-n", NAMESPACE, "tcproute/db"]).await.map(drop)
}

const CONTROL: &str = "app.kubernetes.io/name=weft-control";

/// The pods of the control plane and how often they were restarted, a line for each.
async fn control_plane(cluster: &Cluster) -> Result<String> {
    let path = r#"jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[*].restartCount}{"\n"}{end}"#;
    cluster.kubectl(["get", "pods", "-n", SYSTEM_NAMESPACE, "-l", CONTROL, "-o", path]).await
}

/// How often the control plane's logs say that the API server doesn't have TCPRoutes.
async fn said_missing(cluster: &Cluster) -> Result<usize> {
    let logs = cluster.kubectl(["logs", "-n", SYSTEM_NAMESPACE, "-l", CONTROL, "--tail=-1"]).await?;
    Ok(logs.lines().filter(|line| line.contains("TCPRoute") && line.contains("doesn't have this kind")).count())
}
