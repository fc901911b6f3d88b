//! The installed mesh: it becomes ready with the rights that the chart gives it, is upgraded, and leaves nothing behind.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use weft_cli::world::wait_until;
use weft_tests::kube::{Cluster, Helm, Mesh, RELEASE, SYSTEM_NAMESPACE, Suite};

use crate::LIMIT;

pub(crate) fn add(suite: &mut Suite) {
    suite.trial("the control plane becomes ready, two replicas of it", LIMIT, ready);
    suite.trial("nothing that the control plane tries is forbidden to it", LIMIT, permitted);
    suite.trial("the control plane may not read other Secrets, nor write elsewhere", LIMIT, least_privilege);
}

/// Comes last: what needs the mesh can't follow.
pub(crate) fn add_last(suite: &mut Suite) {
    suite.trial("an upgrade replaces the replicas, and keeps the CA", 2 * LIMIT, async |cluster: Arc<Cluster>| {
        upgrade(&cluster, Helm::Three).await
    });
    suite.trial(
        "uninstalled by helm, it leaves nothing but what people may want back",
        LIMIT,
        async |cluster: Arc<Cluster>| uninstall(&cluster, Helm::Three).await,
    );
    suite.bare("Helm 4 installs, upgrades and uninstalls", 4 * LIMIT, |cluster| life(cluster, Helm::Four));
    suite.bare("Helm 4 upgrades and uninstalls what Helm 3 installed", 4 * LIMIT, |cluster| life(cluster, Helm::Three));
}

const DEPLOYMENT: &str = "deployment/weft-control";
const SOON: Duration = Duration::from_secs(60);

async fn ready(cluster: Arc<Cluster>) -> Result<()> {
    let replicas = ["get", "-n", SYSTEM_NAMESPACE, DEPLOYMENT, "-o", "jsonpath={.status.readyReplicas}"];
    let said = cluster.kubectl(replicas).await?;
    ensure!(said == "2", "{said} are ready");
    Ok(())
}

async fn permitted(cluster: Arc<Cluster>) -> Result<()> {
    let logs = ["logs", "-n", SYSTEM_NAMESPACE, "-l", "app.kubernetes.io/name=weft-control", "--tail=-1"];
    let said = cluster.kubectl(logs).await?;
    let forbidden: Vec<&str> = said.lines().filter(|line| line.to_lowercase().contains("forbidden")).take(5).collect();
    ensure!(forbidden.is_empty(), "{forbidden:#?}");
    Ok(())
}

async fn least_privilege(cluster: Arc<Cluster>) -> Result<()> {
    let account = format!("--as=system:serviceaccount:{SYSTEM_NAMESPACE}:weft-control");
    let cases = [
        ("get", "secrets", "default", "no"),
        ("list", "secrets", SYSTEM_NAMESPACE, "no"),
        ("get", "secrets/weft-ca", SYSTEM_NAMESPACE, "yes"),
        ("get", "secrets/somebody-elses", SYSTEM_NAMESPACE, "no"),
        ("create", "pods", "default", "no"),
        ("patch", "configmaps/weft-trust-bundle", "default", "yes"),
        ("patch", "configmaps/somebody-elses", "default", "no"),
        ("get", "configmaps/somebody-elses", "default", "no"),
        ("patch", "mutatingwebhookconfigurations/somebody-elses", "", "no"),
        ("patch", "mutatingwebhookconfigurations/weft-injector", "", "yes"),
        ("create", "clusterrolebindings", "", "no"),
        ("watch", "pods", "default", "yes"),
        ("patch", "services", "default", "no"),
    ];
    for (verb, object, namespace, expected) in cases {
        let mut ask = cluster.command("kubectl");
        ask.args(["auth", "can-i", verb, object, &account]);
        if !namespace.is_empty() {
            ask.args(["-n", namespace]);
        }
        let output = ask.output().await?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(said.trim() == expected, "{verb} {object} in {namespace:?}: {said}");
    }
    Ok(())
}

async fn upgrade(cluster: &Cluster, helm: Helm) -> Result<()> {
    let secret = ["get", "secret", "weft-ca", "-n", SYSTEM_NAMESPACE, "-o", r"jsonpath={.data.root\.crt}"];
    let before = cluster.kubectl(secret).await?;
    ensure!(!before.is_empty(), "there is no root in the Secret weft-ca");
    let bundle =
        ["get", "mutatingwebhookconfiguration", "weft-injector", "-o", "jsonpath={.webhooks[*].clientConfig.caBundle}"];
    let webhooks = wait_until("the webhooks' certificates", SOON, async || {
        let said = cluster.kubectl(bundle).await?;
        ensure!(said.split(' ').count() == 2, "{said:?}");
        Ok(said)
    })
    .await?;
    Mesh::install(cluster, helm, &["log.level=debug"]).await?;
    ensure!(cluster.kubectl(secret).await? == before, "the upgrade has replaced the root");
    let kept = cluster.kubectl(bundle).await?;
    ensure!(kept == webhooks, "the upgrade has taken the webhooks' certificates away");
    let level = r#"jsonpath={.spec.template.spec.containers[0].env[?(@.name=="WEFT_LOG")].value}"#;
    let level = cluster.kubectl(["get", "-n", SYSTEM_NAMESPACE, DEPLOYMENT, "-o", level]).await?;
    ensure!(level == "debug", "the upgrade has not changed anything: {level}");
    Ok(())
}

async fn uninstall(cluster: &Cluster, helm: Helm) -> Result<()> {
    helm.run(cluster, ["uninstall", RELEASE, "--namespace", SYSTEM_NAMESPACE, "--wait"]).await?;
    let kinds = "deployment,service,serviceaccount,role,rolebinding,pdb,hpa,networkpolicy";
    wait_until("everything to be gone", SOON, async || {
        let ours = ["get", kinds, "-n", SYSTEM_NAMESPACE, "-l", "app.kubernetes.io/part-of=weft", "-o", "name"];
        let left = cluster.kubectl(ours).await?;
        ensure!(left.is_empty(), "{left}");
        let whole = "clusterrole,clusterrolebinding,mutatingwebhookconfiguration,validatingwebhookconfiguration";
        let left = cluster.kubectl(["get", whole, "-l", "app.kubernetes.io/part-of=weft", "-o", "name"]).await?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
    .await
}

/// From nothing, installed by one Helm, upgraded and uninstalled by Helm 4.
async fn life(cluster: Arc<Cluster>, installed_by: Helm) -> Result<()> {
    Mesh::remove(&cluster).await?;
    cluster.gateway_api().await?;
    Mesh::install(&cluster, installed_by, &[]).await?;
    ready(Arc::clone(&cluster)).await?;
    upgrade(&cluster, Helm::Four).await?;
    ready(Arc::clone(&cluster)).await?;
    uninstall(&cluster, Helm::Four).await
}
