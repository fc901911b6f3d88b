//! What the real webhook makes of twenty-four kinds of pods, and of what is wrong with them.
#![expect(clippy::indexing_slicing, reason = "what a JSON value lacks is null: nothing panics")]

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weft_cli::world::wait_until;
use weft_tests::kube::{Cluster, Suite};

use crate::LIMIT;

pub(crate) fn add(suite: &mut Suite) {
    suite.trial("the webhook injects pods of every kind, and leaves alone those that it should", LIMIT, every_kind);
    suite.trial("the webhook refuses wrong annotations, with what is allowed", LIMIT, refusals);
    suite.trial("what the webhook has injected it leaves as it is", LIMIT, idempotent);
    suite.trial(
        "what controllers make of Deployments, StatefulSets, DaemonSets and Jobs is injected",
        LIMIT,
        controllers,
    );
    suite.trial("a pod that cannot have its sidecar says why in an event", LIMIT, event);
}

/// What is expected of the pod.
#[derive(Clone, Copy)]
enum Becomes {
    /// A native sidecar, after so many init containers.
    Injected,
    /// An ordinary container.
    Classic,
    Untouched,
}
use Becomes::{Classic, Injected, Untouched};

const MESHED: &str = "injection";
const PLAIN: &str = "injection-plain";
const APP: &str = "containers: [{name: app, image: 'weft.test/echo:test'}]";

/// Name, namespace, metadata, spec, and what becomes of it.
fn kinds() -> Vec<(&'static str, &'static str, &'static str, String, Becomes)> {
    let app = || APP.to_owned();
    let with = |more: &str| format!("{APP}\n{more}");
    let container = |more: &str| format!("containers: [{{name: app, image: 'weft.test/echo:test', {more}}}]");
    let http = "readinessProbe: {httpGet: {path: /ready, port: web}}, ports: [{name: web, containerPort: 8080}]";
    vec![
        ("bare", MESHED, "", app(), Injected),
        ("with-init", MESHED, "", with("initContainers: [{name: migrate, image: 'weft.test/echo:test'}]"), Injected),
        (
            "with-native-sidecar",
            MESHED,
            "",
            with("initContainers: [{name: log, image: 'weft.test/echo:test', restartPolicy: Always}]"),
            Injected,
        ),
        ("http-probe-by-name", MESHED, "", container(http), Injected),
        ("tcp-probe", MESHED, "", container("livenessProbe: {tcpSocket: {port: 5432}}"), Injected),
        ("grpc-probe", MESHED, "", container("startupProbe: {grpc: {port: 9090, service: shop.Api}}"), Injected),
        ("exec-probe", MESHED, "", container("livenessProbe: {exec: {command: [/alive]}}"), Injected),
        ("hooks", MESHED, "", container("lifecycle: {preStop: {httpGet: {path: /leave, port: 80}}}"), Injected),
        ("own-pre-stop", MESHED, "", container("lifecycle: {preStop: {exec: {command: [/leave]}}}"), Injected),
        ("never-restarts", MESHED, "", with("restartPolicy: Never"), Injected),
        ("no-token", MESHED, "", with("automountServiceAccountToken: false"), Injected),
        ("volumes", MESHED, "", with("volumes: [{name: data, emptyDir: {}}]"), Injected),
        ("user", MESHED, "", with("securityContext: {runAsUser: 1000, runAsNonRoot: true, fsGroup: 2000}"), Injected),
        ("grace", MESHED, "", with("terminationGracePeriodSeconds: 120"), Injected),
        ("two-containers", MESHED, "", two(), Injected),
        ("classic", MESHED, "annotations: {weft.dev/sidecar: classic}", app(), Classic),
        ("options", MESHED, OPTIONS, app(), Injected),
        ("asks-itself", PLAIN, "labels: {weft.dev/inject: enabled}", app(), Injected),
        ("opted-out-label", MESHED, "labels: {weft.dev/inject: disabled}", app(), Untouched),
        ("opted-out-annotation", MESHED, "annotations: {weft.dev/inject: disabled}", app(), Untouched),
        ("host-network", MESHED, "", with("hostNetwork: true"), Untouched),
        ("windows", MESHED, "", with("os: {name: windows}"), Untouched),
        ("not-asked", PLAIN, "", app(), Untouched),
        ("of-the-system", "kube-system", "labels: {weft.dev/inject: enabled}", app(), Untouched),
    ]
}

const OPTIONS: &str = "annotations: {weft.dev/mtls: strict, weft.dev/proxy-cpu: 25m, weft.dev/proxy-memory: 48Mi, \
                       weft.dev/log-level: debug, weft.dev/access-log: all, weft.dev/opaque-ports: '3306', \
                       weft.dev/skip-outbound-ports: '25,587', weft.dev/pre-stop-sleep: 2s}";

fn two() -> String {
    "containers: [{name: app, image: 'weft.test/echo:test'}, {name: helper, image: 'weft.test/echo:test'}]".to_owned()
}

fn manifest(name: &str, namespace: &str, metadata: &str, spec: &str) -> String {
    let (metadata, spec) = (metadata.replace('\n', "\n  "), spec.replace('\n', "\n  "));
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  {metadata}\nspec:\n  {spec}\n"
    )
}

async fn namespaces(cluster: &Cluster) -> Result<()> {
    cluster.namespace(MESHED, "weft.dev/inject: enabled").await?;
    cluster.namespace(PLAIN, "").await
}

async fn every_kind(cluster: Arc<Cluster>) -> Result<()> {
    namespaces(&cluster).await?;
    let mut wrong = Vec::new();
    for (name, namespace, metadata, spec, becomes) in kinds() {
        let created = create(&cluster, &manifest(name, namespace, metadata, &spec)).await;
        match created.and_then(|pod| check(&pod, becomes)) {
            Ok(()) => eprintln!("    ok   {name}"),
            Err(error) => wrong.push(format!("{name}: {error:#}")),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn check(pod: &Value, becomes: Becomes) -> Result<()> {
    let names = |field: &str| -> Vec<&str> {
        let containers = pod["spec"][field].as_array().map(Vec::as_slice).unwrap_or_default();
        containers.iter().filter_map(|container| container["name"].as_str()).collect()
    };
    let (init, usual) = (names("initContainers"), names("containers"));
    let status = &pod["metadata"]["annotations"]["weft.dev/status"];
    match becomes {
        Untouched => {
            ensure!(!init.contains(&"weft-proxy") && !usual.contains(&"weft-proxy"), "it has a sidecar");
            ensure!(*status == Value::Null, "its status is {status}");
            return Ok(());
        }
        Injected => ensure!(init.starts_with(&["weft-init", "weft-proxy"]), "its init containers are {init:?}"),
        Classic => {
            ensure!(init.starts_with(&["weft-init"]) && usual.starts_with(&["weft-proxy"]), "{init:?} {usual:?}")
        }
    }
    ensure!(*status == json!("injected"), "its status is {status}");
    let field = if matches!(becomes, Classic) { "containers" } else { "initContainers" };
    let containers = pod["spec"][field].as_array().context("no containers")?;
    let proxy = containers.iter().find(|container| container["name"] == "weft-proxy").context("no proxy")?;
    let rights = &proxy["securityContext"];
    ensure!(
        rights["runAsUser"] == 1337
            && rights["allowPrivilegeEscalation"] == false
            && rights["capabilities"] == json!({"drop": ["ALL"]})
            && rights["runAsNonRoot"] == true,
        "the proxy may do too much: {rights}"
    );
    let volumes = pod["spec"]["volumes"].to_string();
    ensure!(volumes.contains(r#""audience":"weft""#), "there is no token for the proxy: {volumes}");
    ensure!(volumes.contains("weft-trust-bundle"), "there is no trust bundle: {volumes}");
    Ok(())
}

async fn refusals(cluster: Arc<Cluster>) -> Result<()> {
    namespaces(&cluster).await?;
    let cases = [
        ("weft.dev/mtls: sometimes", "weft.dev/mtls", "permissive"),
        ("weft.dev/sidecar: modern", "weft.dev/sidecar", "native"),
        ("weft.dev/proxy-cpu: lots", "weft.dev/proxy-cpu", "lots"),
        ("weft.dev/skip-outbound-ports: '70000'", "weft.dev/skip-outbound-ports", "70000"),
        ("weft.dev/access-log: 'yes'", "weft.dev/access-log", "errors"),
        ("weft.dev/pre-stop-sleep: soon", "weft.dev/pre-stop-sleep", "soon"),
        ("weft.dev/inject: maybe", "weft.dev/inject", "enabled"),
    ];
    for (annotation, names, allows) in cases {
        let pod = manifest("wrong", MESHED, &format!("annotations: {{{annotation}}}"), APP);
        let said = create(&cluster, &pod).await.err().with_context(|| format!("{annotation} is taken"))?.to_string();
        ensure!(said.contains(names) && said.contains(allows), "{annotation}: {said}");
    }
    Ok(())
}

async fn idempotent(cluster: Arc<Cluster>) -> Result<()> {
    namespaces(&cluster).await?;
    let once = create(&cluster, &manifest("once", MESHED, "", APP)).await?;
    let again = create(
        &cluster,
        &json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "once", "namespace": MESHED, "labels": once["metadata"]["labels"],
                         "annotations": once["metadata"]["annotations"]},
            "spec": once["spec"],
        })
        .to_string(),
    )
    .await?;
    ensure!(once["spec"] == again["spec"], "it differs:\n{}\n{}", once["spec"], again["spec"]);
    Ok(())
}

/// A controller of `apps/v1`, whose pods have its name as their label, with more in its spec.
fn controller(kind: &str, name: &str, more: &str, pod: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: {kind}
metadata: {{name: {name}, namespace: {MESHED}}}
spec:
  {more}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{{pod}}}
---
"
    )
}

const NIGHTLY: &str = "
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: injection}
spec:
  schedule: '0 0 1 1 *'
  jobTemplate:
    spec:
      template:
        metadata: {labels: {app: nightly}}
        spec:
          restartPolicy: Never
          containers: [{name: app, image: 'weft.test/echo:test', command: [client, --help]}]
";

async fn controllers(cluster: Arc<Cluster>) -> Result<()> {
    namespaces(&cluster).await?;
    for (kind, name, more) in [
        ("Deployment", "deployed", ""),
        ("StatefulSet", "stateful", "serviceName: stateful"),
        ("DaemonSet", "daemon", ""),
    ] {
        cluster.apply(&controller(kind, name, more, APP)).await?;
    }
    cluster.apply(NIGHTLY).await?;
    cluster.kubectl(["create", "job", "-n", MESHED, "tonight", "--from=cronjob/nightly"]).await?;
    for app in ["deployed", "stateful", "daemon", "nightly"] {
        let label = format!("app={app}");
        let pods = wait_until("its pod", LIMIT / 4, async || {
            let list = cluster.kubectl(["get", "pods", "-n", MESHED, "-l", &label, "-o", "json"]).await?;
            let list: Value = serde_json::from_str(&list)?;
            ensure!(!list["items"][0].is_null(), "there is none of {app}");
            Ok(list)
        })
        .await?;
        check(&pods["items"][0], Injected).with_context(|| format!("the pod of {app}"))?;
    }
    cluster
        .kubectl(["delete", "-n", MESHED, "deployment,statefulset,daemonset,cronjob,job", "--all", "--wait=false"])
        .await?;
    Ok(())
}

async fn event(cluster: Arc<Cluster>) -> Result<()> {
    namespaces(&cluster).await?;
    let said = cluster.apply(&manifest("bare-on-the-host", MESHED, "", &format!("{APP}\nhostNetwork: true"))).await?;
    ensure!(said.contains("host network"), "there is no warning: {said}");
    cluster.kubectl(["delete", "pod", "-n", MESHED, "bare-on-the-host", "--wait=false"]).await?;
    // Nowhere: it is not to run.
    let pod = format!("hostNetwork: true, nodeSelector: {{nowhere: 'true'}}, {APP}");
    cluster.apply(&controller("Deployment", "on-the-host", "", &pod)).await?;
    wait_until("the event", LIMIT / 4, async || {
        let events = cluster.kubectl(["get", "events", "-n", MESHED, "--field-selector=reason=HostNetwork"]).await?;
        ensure!(events.contains("on-the-host"), "the events are:\n{events}");
        Ok(())
    })
    .await?;
    cluster.kubectl(["delete", "deployment", "-n", MESHED, "on-the-host", "--wait=false"]).await.map(drop)
}

/// What would be created: the API server calls the webhooks, and keeps nothing.
async fn create(cluster: &Cluster, manifest: &str) -> Result<Value> {
    let (pod, _) = cluster.feed(["create", "--dry-run=server", "-o", "json"], manifest).await?;
    Ok(serde_json::from_str(&pod)?)
}
