//! The definitions of Weft's own kinds: what the API server takes, and what it refuses with which words.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use weft_tests::kube::{Cluster, Mesh, Suite};

use crate::LIMIT;

pub(crate) fn add(suite: &mut Suite) {
    suite.bare("definitions are structural, and established", LIMIT, established);
    suite.bare("definitions take good manifests, and fill in defaults", LIMIT, good);
    suite.bare("definitions refuse bad manifests, each by its field", LIMIT, bad);
}

const KINDS: [&str; 2] = ["trafficpolicies.weft.dev", "faultinjections.weft.dev"];

async fn established(cluster: Arc<Cluster>) -> Result<()> {
    define(&cluster).await?;
    for kind in KINDS {
        let condition = ["wait", "--for=condition=Established", "--timeout=20s", &format!("crd/{kind}")];
        cluster.kubectl(condition).await?;
        let broken = r#"jsonpath={.status.conditions[?(@.type=="NonStructuralSchema")].message}"#;
        let said = cluster.kubectl(["get", "crd", kind, "-o", broken]).await?;
        ensure!(said.is_empty(), "{kind}: {said}");
    }
    Ok(())
}

async fn good(cluster: Arc<Cluster>) -> Result<()> {
    define(&cluster).await?;
    cluster.namespace("definitions", "").await?;
    cluster.apply(&manifest("FaultInjection", "delay: {fixed: 1m30s}")).await?;
    cluster.apply(&manifest("FaultInjection", "abort: {grpcStatus: UNAVAILABLE, percent: 0.0001}")).await?;
    cluster
        .apply(&manifest("TrafficPolicy", "targetRefs: [{kind: Service, name: api}]\n  requests: {timeout: 5s}"))
        .await?;
    let percent = ["get", "faultinjection", "tried", "-n", "definitions", "-o", "jsonpath={.spec.abort.percent}"];
    ensure!(cluster.kubectl(percent).await? == "0.0001", "the percentage is lost");
    let columns = cluster.kubectl(["get", "faultinjection,trafficpolicy", "-n", "definitions"]).await?;
    ensure!(columns.contains("ACCEPTED") && columns.contains("GRPC"), "the columns are not there:\n{columns}");
    Ok(())
}

async fn bad(cluster: Arc<Cluster>) -> Result<()> {
    define(&cluster).await?;
    cluster.namespace("definitions", "").await?;
    let cases = [
        ("FaultInjection", "headers: []", "delay or abort is needed"),
        ("FaultInjection", "delay: {fixed: 2h}", "out of range, 1ms to 1h"),
        ("FaultInjection", "delay: {fixed: soon}", "spec.delay.fixed"),
        (
            "FaultInjection",
            "abort: {httpStatus: 503, grpcStatus: INTERNAL}",
            "exactly one of httpStatus and grpcStatus",
        ),
        ("FaultInjection", "abort: {httpStatus: 42}", "spec.abort.httpStatus"),
        ("FaultInjection", "abort: {grpcStatus: OOPS}", "Unsupported value"),
        ("FaultInjection", "delay: {fixed: 1s}\n  headers: [{name: 'a b', value: x}]", "spec.headers[0].name"),
        ("TrafficPolicy", "requests: {timeout: 5s}", "targetRefs"),
        ("TrafficPolicy", "targetRefs: []", "targetRefs"),
        ("TrafficPolicy", "targetRefs: [{kind: Service, name: api}]\n  requests: {timeout: 25h}", "0s to 24h"),
        (
            "TrafficPolicy",
            "targetRefs: [{kind: Service, name: api}]\n  loadBalancer: {algorithm: RingHash}",
            "hashOn is needed by RingHash and Maglev",
        ),
    ];
    for (kind, spec, expected) in cases {
        let refused = cluster.apply(&manifest(kind, spec)).await.err();
        let said = refused.with_context(|| format!("{kind} with {spec} is taken"))?.to_string();
        ensure!(said.contains(expected), "{kind} with {spec} is refused without {expected:?}: {said}");
    }
    Ok(())
}

async fn define(cluster: &Cluster) -> Result<()> {
    let folder = Mesh::chart().join("crds");
    let path = folder.to_str().context("a path that is not UTF-8")?;
    cluster.kubectl(["apply", "--server-side", "-f", path]).await.map(drop)
}

fn manifest(kind: &str, spec: &str) -> String {
    format!(
        "apiVersion: weft.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: tried, namespace: definitions}}\nspec:\n  {spec}\n"
    )
}
