//! What goes on while a part of the cluster is away: a replica of the control plane, the leader, the API server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weft_cli::world::wait_until;
use weft_tests::kube::{Cluster, SYSTEM_NAMESPACE, Suite};
use weft_tests::load::Load;

use crate::LIMIT;
use crate::pods::{NAMESPACE, deploy, proxy_metrics, rolled_out, service_address};

pub(crate) fn add(suite: &mut Suite) {
    suite.trial("a killed leader is followed by another, and no request is lost", LIMIT, leader);
    suite.trial("every proxy finds another replica within seconds", LIMIT, replica);
    suite.trial(
        "the API server may be away: nothing is lost, and what changed meanwhile arrives",
        2 * LIMIT,
        api_server,
    );
}

async fn leader_now(cluster: &Cluster) -> Result<String> {
    let lease =
        ["get", "lease", "weft-control-leader", "-n", SYSTEM_NAMESPACE, "-o", "jsonpath={.spec.holderIdentity}"];
    let holder = cluster.kubectl(lease).await?;
    ensure!(!holder.is_empty(), "nobody leads");
    Ok(holder)
}

async fn load(cluster: &Cluster) -> Result<Load> {
    let built = cluster.built()?;
    deploy(cluster, "api", 1, "").await?;
    let web = deploy(cluster, "web", 1, "").await?;
    let web = built.enter(NAMESPACE, &web).await?;
    Ok(Load::start(&web, service_address(cluster, "api", 80).await?, 2))
}

async fn control_ready(cluster: &Cluster) -> Result<()> {
    let status = ["rollout", "status", "-n", SYSTEM_NAMESPACE, "deployment/weft-control", "--timeout=60s"];
    cluster.kubectl(status).await.map(drop)
}

async fn leader(cluster: Arc<Cluster>) -> Result<()> {
    let mut load = load(&cluster).await?;
    load.more(100).await?.nothing_lost()?;
    let first = leader_now(&cluster).await?;
    let begin = Instant::now();
    cluster.built()?.kill(SYSTEM_NAMESPACE, &first).await?;
    wait_until("another leader", Duration::from_secs(45), async || {
        let now = leader_now(&cluster).await?;
        ensure!(now != first, "it is still {now}");
        Ok(())
    })
    .await?;
    eprintln!("    another leads after {:.1} s", begin.elapsed().as_secs_f64());
    control_ready(&cluster).await?;
    load.more(100).await?;
    load.stop().await?.nothing_lost()
}

async fn replica(cluster: Arc<Cluster>) -> Result<()> {
    let built = cluster.built()?;
    control_ready(&cluster).await?;
    let web = deploy(&cluster, "web", 1, "").await?;
    let pods = cluster.kubectl(["get", "pods", "-n", SYSTEM_NAMESPACE, "-l", CONTROL, "-o", "name"]).await?;
    ensure!(pods.lines().count() >= 2, "there are not two replicas: {pods}");
    for pod in pods.lines() {
        built.kill(SYSTEM_NAMESPACE, pod.strip_prefix("pod/").context("no pod")?).await?;
        let begin = Instant::now();
        // It has noticed by then, if it was this one's stream.
        tokio::time::sleep(Duration::from_secs(1)).await;
        wait_until("the proxy's stream", Duration::from_secs(20), async || {
            let metrics = proxy_metrics(&cluster, &web).await?;
            ensure!(metrics.lines().any(|line| line == "weft_xds_connected 1"), "it is not connected");
            Ok(())
        })
        .await?;
        eprintln!("    the proxy is connected {:.1} s after {pod} was killed", begin.elapsed().as_secs_f64());
        control_ready(&cluster).await?;
    }
    Ok(())
}

const CONTROL: &str = "app.kubernetes.io/name=weft-control";

async fn api_server(cluster: Arc<Cluster>) -> Result<()> {
    let mut load = load(&cluster).await?;
    load.more(100).await?.nothing_lost()?;
    cluster.built()?.stop_api_server().await?;
    tokio::time::sleep(Duration::from_secs(8)).await;
    load.more(200).await?.nothing_lost()?;
    cluster.built()?.start_api_server().await?;
    load.more(200).await?.nothing_lost()?;
    cluster.kubectl(["scale", "-n", NAMESPACE, "deployment/api", "--replicas=2"]).await?;
    rolled_out(&cluster, "api").await?;
    load.more(200).await?;
    let tally = load.stop().await?;
    eprintln!("    {} requests were answered, {} failed", tally.answered(), tally.failures.len());
    tally.nothing_lost()?;
    control_ready(&cluster).await
}
