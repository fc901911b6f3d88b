//! Traffic on a cluster, as people shift it: by `weft`, which finds the control plane by itself, and by `kubectl`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_cli::world::wait_until;
use weft_tests::kube::{Cluster, SYSTEM_NAMESPACE, Suite};
use weft_tests::load::Load;

use crate::pods::service_address;
use crate::streams::{answering, only, versions};
use crate::{LIMIT, pods};

pub(crate) fn add(suite: &mut Suite) {
    suite.trial("routes, policies and splits tell on themselves what became of them", LIMIT, statuses);
    suite.trial("weft finds the control plane; a split is an HTTPRoute that people may edit", LIMIT, splits);
    suite.trial("a route by hand is left alone, and versions rise across deletions", LIMIT, by_hand);
    suite.trial("a leader that is killed is replaced, and a shift is where it was", LIMIT, leader);
    suite.trial(
        "a leader dies in the middle of a shift, under load, and the next one finishes it",
        2 * LIMIT,
        finished,
    );
    suite.trial("weft check finds nothing bad", LIMIT, checked);
}

pub(crate) const NAMESPACE: &str = "split";
const SOON: Duration = Duration::from_secs(20);

const SHOP: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: api, namespace: split}
spec: {selector: {app: api}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: api-v1, namespace: split}
spec: {selector: {app: api, version: v1}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: api-v2, namespace: split}
spec: {selector: {app: api, version: v2}, ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: dangling, namespace: split}
spec:
  parentRefs: [{group: "", kind: Service, name: api-v1, port: 80}]
  rules: [{backendRefs: [{name: gone, port: 80}]}]
---
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: aimless, namespace: split}
spec:
  targetRefs: [{group: "", kind: Service, name: gone}]
  loadBalancer: {algorithm: RoundRobin}
"#;

pub(crate) async fn shop(cluster: &Cluster) -> Result<()> {
    cluster.namespace(NAMESPACE, "").await?;
    cluster.apply(SHOP).await.map(drop)
}

async fn statuses(cluster: Arc<Cluster>) -> Result<()> {
    shop(&cluster).await?;
    let cases = [
        ("httproute/dangling", "{.status.parents[0].conditions[?(@.type=='ResolvedRefs')].reason}", "BackendNotFound"),
        ("httproute/dangling", "{.status.parents[0].conditions[?(@.type=='Accepted')].status}", "True"),
        ("httproute/dangling", "{.status.parents[0].controllerName}", "weft.dev/mesh-controller"),
        ("trafficpolicy/aimless", "{.status.ancestors[0].conditions[?(@.type=='Accepted')].reason}", "TargetNotFound"),
    ];
    for (object, path, expected) in cases {
        told(&cluster, (NAMESPACE, object), path, expected).await?;
    }
    cluster
        .kubectl(["patch", "-n", NAMESPACE, "httproute/dangling", "--type=json", "-p", POINT_AT_V2])
        .await
        .context("correct the route")?;
    told(
        &cluster,
        (NAMESPACE, "httproute/dangling"),
        "{.status.parents[0].conditions[?(@.type=='ResolvedRefs')].status}",
        "True",
    )
    .await?;
    let path = "{.status.parents[0].conditions[?(@.type=='ResolvedRefs')].observedGeneration}";
    told(&cluster, (NAMESPACE, "httproute/dangling"), path, "2").await
}

const POINT_AT_V2: &str = r#"[{"op": "replace", "path": "/spec/rules/0/backendRefs/0/name", "value": "api-v2"}]"#;

async fn splits(cluster: Arc<Cluster>) -> Result<()> {
    shop(&cluster).await?;
    cluster.weft(["traffic", "set", "api", "v1=90", "v2=10", "-n", NAMESPACE]).await?;
    told(&cluster, (NAMESPACE, "httproute/weft-api"), "{.spec.rules[0].backendRefs[*].weight}", "90 10").await?;
    told(
        &cluster,
        (NAMESPACE, "httproute/weft-api"),
        "{.status.parents[0].conditions[?(@.type=='Accepted')].status}",
        "True",
    )
    .await?;
    let edit = r#"[{"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": 30}]"#;
    let manager = "--field-manager=kubectl-edit";
    cluster.kubectl(["patch", "-n", NAMESPACE, "httproute/weft-api", "--type=json", "-p", edit, manager]).await?;
    wait_until("the edit to be in force", SOON, async || {
        let said = cluster.weft(["traffic", "get", "api", "-n", NAMESPACE]).await?;
        ensure!(said.contains("75 %") && said.contains("version 2"), "{said}");
        let said = cluster.weft(["traffic", "audit", "api", "-n", NAMESPACE]).await?;
        ensure!(said.contains("kubectl-edit"), "{said}");
        Ok(())
    })
    .await?;
    let refused = cluster.weft(["traffic", "set", "api", "v1=1", "v2=1", "-n", NAMESPACE]).await;
    let said = refused.err().context("an edit is overwritten")?.to_string();
    ensure!(said.contains("kubectl-edit") && said.contains(".spec.rules") && said.contains("--take-over"), "{said}");
    cluster.weft(["traffic", "set", "api", "v1=1", "v2=1", "-n", NAMESPACE, "--take-over"]).await?;
    told(&cluster, (NAMESPACE, "httproute/weft-api"), "{.spec.rules[0].backendRefs[*].weight}", "1 1").await?;
    let said = cluster.weft(["traffic", "audit", "api", "-n", NAMESPACE, "--limit", "1"]).await?;
    ensure!(said.contains("take-over") && said.contains("kubectl-edit"), "{said}");
    cluster.weft(["traffic", "set", "api", "v1=1", "v2=2", "-n", NAMESPACE]).await?;
    cluster.weft(["traffic", "delete", "api", "-n", NAMESPACE]).await?;
    let left = cluster.kubectl(["get", "httproutes", "-n", NAMESPACE, "-l", "weft.dev/split", "-o", "name"]).await?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}

const BY_HAND: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: weft-api, namespace: split}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules: [{backendRefs: [{name: api-v2, port: 80}]}]
"#;

async fn by_hand(cluster: Arc<Cluster>) -> Result<()> {
    shop(&cluster).await?;
    cluster.apply(BY_HAND).await?;
    wait_until("the route by hand to be in the way", SOON, async || {
        let refused = cluster.weft(["traffic", "set", "api", "v1=1", "v2=1", "-n", NAMESPACE, "--take-over"]).await;
        let said = refused.err().context("it is overwritten")?.to_string();
        ensure!(said.contains("weft-api"), "{said}");
        Ok(())
    })
    .await?;
    told(&cluster, (NAMESPACE, "httproute/weft-api"), "{.spec.rules[0].backendRefs[*].name}", "api-v2").await?;
    cluster.kubectl(["delete", "-n", NAMESPACE, "httproute/weft-api"]).await?;
    let version = wait_until("a split of its own", SOON, async || {
        let said = cluster.weft(["traffic", "set", "api", "v1=1", "v2=1", "-n", NAMESPACE, "-o", "json"]).await?;
        version_of(&said)
    })
    .await?;
    cluster.kubectl(["delete", "-n", NAMESPACE, "httproute/weft-api"]).await?;
    wait_until("the split to be gone", SOON, async || {
        let said = cluster.weft(["traffic", "list", "-n", NAMESPACE]).await?;
        ensure!(!said.contains("api-v1"), "{said}");
        Ok(())
    })
    .await?;
    let again = version_of(&cluster.weft(["traffic", "set", "api", "v1=1", "-n", NAMESPACE, "-o", "json"]).await?)?;
    ensure!(again > version, "version {again} after {version}");
    Ok(())
}

async fn leader(cluster: Arc<Cluster>) -> Result<()> {
    shop(&cluster).await?;
    cluster.weft(["traffic", "set", "api", "v1=100", "-n", NAMESPACE]).await?;
    let shift = tokio::time::timeout(
        Duration::from_secs(3),
        cluster.weft(["traffic", "shift", "api", "--to", "v2", "-n", NAMESPACE, "--interval", "1h"]),
    );
    ensure!(shift.await.is_err(), "the shift did not begin");
    cluster.weft(["traffic", "shift", "pause", "api", "-n", NAMESPACE]).await?;
    let before = holder(&cluster).await?;
    cluster.kubectl(["delete", "pod", "-n", SYSTEM_NAMESPACE, &before, "--force", "--grace-period=0"]).await?;
    let after = wait_until("another replica to lead", SOON, async || {
        let now = holder(&cluster).await?;
        ensure!(!now.is_empty() && now != before, "{now} leads");
        Ok(now)
    })
    .await?;
    eprintln!("    {after} leads after {before}");
    let said = wait_until("the shift to be told of", SOON, async || {
        cluster.weft(["traffic", "shift", "status", "api", "-n", NAMESPACE]).await
    })
    .await?;
    ensure!(said.contains("paused") && said.contains("step      1 of 4"), "{said}");
    cluster.weft(["traffic", "shift", "abort", "api", "-n", NAMESPACE]).await?;
    wait_until("the new leader to put back what was", SOON, async || {
        let said = cluster.weft(["traffic", "shift", "status", "api", "-n", NAMESPACE]).await?;
        ensure!(said.contains("rolled back"), "{said}");
        Ok(())
    })
    .await?;
    told(&cluster, (NAMESPACE, "httproute/weft-api"), "{.spec.rules[0].backendRefs[*].weight}", "100").await
}

async fn finished(cluster: Arc<Cluster>) -> Result<()> {
    let built = cluster.built()?;
    let client = versions(&cluster).await?;
    let web = built.enter(pods::NAMESPACE, &client).await?;
    let status = ["traffic", "shift", "status", "db", "-n", pods::NAMESPACE];
    cluster.weft(["traffic", "set", "db", "v1=100", "-n", pods::NAMESPACE]).await?;
    let mut load = Load::start(&web, service_address(&cluster, "db", 80).await?, 2);
    load.more(100).await?.nothing_lost()?;
    let steps = "--steps=50,100";
    let shift = ["traffic", "shift", "db", "--to", "v2", steps, "--interval=10s", "--detach", "-n", pods::NAMESPACE];
    cluster.weft(shift).await?;
    let before = holder(&cluster).await?;
    let said = cluster.weft(status).await?;
    ensure!(said.contains("running") && said.contains("step      1 of 2"), "{said}");
    built.kill(SYSTEM_NAMESPACE, &before).await?;
    wait_until("the shift to be finished", LIMIT, async || {
        let said = cluster.weft(status).await?;
        ensure!(said.contains("promoted"), "{said}");
        Ok(())
    })
    .await?;
    let after = holder(&cluster).await?;
    ensure!(after != before, "{before} leads, which was killed");
    let versions = answering(&cluster, &client, ["--new-connection-per-request", "http://db/"]).await?;
    ensure!(versions == only("db-v2"), "{versions:?} answer");
    load.stop().await?.nothing_lost()?;
    cluster.weft(["traffic", "delete", "db", "-n", pods::NAMESPACE]).await.map(drop)
}

async fn checked(cluster: Arc<Cluster>) -> Result<()> {
    wait_until("weft check to find nothing bad", Duration::from_secs(60), async || {
        let said = cluster.weft(["check"]).await?;
        ensure!(said.contains(" 0 bad"), "{said}");
        Ok(())
    })
    .await
}

/// Waits until an object says something of itself.
pub(crate) async fn told(
    cluster: &Cluster,
    (namespace, object): (&str, &str),
    path: &str,
    expected: &str,
) -> Result<()> {
    let output = format!("jsonpath={path}");
    wait_until("an object to tell", SOON, async || {
        let said = cluster.kubectl(["get", "-n", namespace, object, "-o", &output]).await?;
        ensure!(said == expected, "{object} says {said:?} of {path}, not {expected:?}");
        Ok(())
    })
    .await
}

async fn holder(cluster: &Cluster) -> Result<String> {
    let path = "jsonpath={.spec.holderIdentity}";
    cluster.kubectl(["get", "lease", "-n", SYSTEM_NAMESPACE, "weft-control-leader", "-o", path]).await
}

fn version_of(split: &str) -> Result<u64> {
    let split: serde_json::Value = serde_json::from_str(split)?;
    split.get("version").and_then(serde_json::Value::as_u64).with_context(|| format!("no version in {split}"))
}
