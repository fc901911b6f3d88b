//! The CA of the cluster: for whom it signs when pods are made anew, and what becomes of its Secret.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use weft_certs::bundle::TrustBundle;
use weft_cli::world::wait_until;
use weft_tests::kube::{Cluster, Helm, Mesh, SYSTEM_NAMESPACE, Suite};

use crate::LIMIT;
use crate::certificates::{ask, bundle, given, replicas, token};

pub(crate) fn add(suite: &mut Suite) {
    suite.trial("a token of a pod that was made anew under its name gives no certificate any more", LIMIT, made_anew);
    suite.trial("a root that is added to the CA's Secret is handed out by every replica", LIMIT, roots);
}

/// Comes last: the CA that running pods have their certificates of goes.
pub(crate) fn add_last(suite: &mut Suite) {
    suite.bare("replicas that begin at once where there is no CA make one and the same", 3 * LIMIT, race);
}

const NAMESPACE: &str = "authority";

/// A pod that is never started: tokens for it are made all the same.
fn pod(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: web, namespace: {NAMESPACE}}}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
         spec:\n  serviceAccountName: web\n  schedulingGates: [{{name: weft.test/never}}]\n  \
         containers: [{{name: app, image: 'weft.test/echo:test'}}]\n"
    )
}

async fn made_anew(cluster: Arc<Cluster>) -> Result<()> {
    cluster.namespace(NAMESPACE, "").await?;
    cluster.apply(&pod("web-1")).await?;
    let replica = replicas(&cluster).await?.swap_remove(0);
    let roots = bundle(&cluster, "default").await?;
    let first = token_of_web(&cluster).await?;
    let issued = given(&cluster, &replica, &roots, &first).await?;
    ensure!(issued.chain.len() >= 2, "{} certificates and the roots", issued.chain.len());
    refused(&cluster, &replica, &roots, None, "no credentials").await?;

    cluster.kubectl(["delete", "pod", "web-1", "-n", NAMESPACE, "--now"]).await?;
    cluster.apply(&pod("web-1")).await?;
    // Remembered, so that the API server is not asked: the pod of the registry is another one.
    let said = "which the token is bound to, is not in the registry";
    refused(&cluster, &replica, &roots, Some(&first), said).await?;
    let second = token_of_web(&cluster).await?;
    given(&cluster, &replica, &roots, &second).await.map(drop)
}

async fn roots(cluster: Arc<Cluster>) -> Result<()> {
    cluster.namespace(NAMESPACE, "").await?;
    cluster.apply(&pod("web-1")).await?;
    let token = token_of_web(&cluster).await?;
    let before = bundle(&cluster, "default").await?;
    let other = weft_certs::authority::AuthorityPem::create(&"cluster.local".parse()?)?;
    patch_root(&cluster, &format!("{}{}", before.to_pem(), other.root_crt)).await?;
    let count = before.root_count() + 1;
    wait_until("the roots in every namespace", LIMIT, async || {
        let now = bundle(&cluster, "default").await?;
        ensure!(now.root_count() == count, "{now:?}");
        Ok(())
    })
    .await?;
    for replica in replicas(&cluster).await? {
        wait_until("a replica to hand out both roots", LIMIT, async || {
            let roots = given(&cluster, &replica, &before, &token).await?.roots;
            ensure!(roots.root_count() == count, "{replica} hands out {roots:?}");
            Ok(())
        })
        .await?;
    }
    patch_root(&cluster, &before.to_pem()).await?;
    wait_until("the root to be gone again", LIMIT, async || {
        ensure!(bundle(&cluster, "default").await? == before, "it is still there");
        Ok(())
    })
    .await?;
    cluster.kubectl(["delete", "namespace", NAMESPACE]).await?;
    Ok(())
}

/// Begins of both replicas at once, beside that of the installation.
const ROUNDS: usize = 2;
const CONTROL: &str = "app.kubernetes.io/name=weft-control";
const DEPLOYMENT: &str = "deployment/weft-control";

async fn race(cluster: Arc<Cluster>) -> Result<()> {
    Mesh::remove(&cluster).await?;
    cluster.gateway_api().await?;
    cluster.namespace(NAMESPACE, "").await?;
    cluster.apply(&pod("web-1")).await?;
    Mesh::install(&cluster, Helm::Three, &["replicas=2"]).await?;
    agree(&cluster).await.context("after an installation")?;
    for _ in 0..ROUNDS {
        cluster.kubectl(["scale", "-n", SYSTEM_NAMESPACE, DEPLOYMENT, "--replicas=0"]).await?;
        wait_until("the replicas to be gone", LIMIT / 2, async || {
            let left = cluster.kubectl(["get", "pods", "-n", SYSTEM_NAMESPACE, "-l", CONTROL, "-o", "name"]).await?;
            ensure!(left.is_empty(), "{left}");
            Ok(())
        })
        .await?;
        cluster.kubectl(["delete", "secret", "-n", SYSTEM_NAMESPACE, "weft-ca"]).await?;
        cluster.kubectl(["scale", "-n", SYSTEM_NAMESPACE, DEPLOYMENT, "--replicas=2"]).await?;
        cluster.kubectl(["rollout", "status", "-n", SYSTEM_NAMESPACE, DEPLOYMENT, "--timeout=60s"]).await?;
        agree(&cluster).await.context("after a begin without the Secret")?;
    }
    cluster.kubectl(["delete", "namespace", NAMESPACE]).await?;
    Mesh::remove(&cluster).await
}

/// Fails unless both replicas give certificates, and roots, that the one bundle of the cluster believes.
async fn agree(cluster: &Cluster) -> Result<()> {
    let replicas = replicas(cluster).await?;
    ensure!(replicas.len() == 2, "{replicas:?}");
    let token = token_of_web(cluster).await?;
    wait_until("both replicas to agree with the roots in the namespaces", LIMIT / 2, async || {
        let roots = bundle(cluster, NAMESPACE).await?;
        for replica in &replicas {
            let issued = given(cluster, replica, &roots, &token).await.with_context(|| replica.clone())?;
            issued.verify(NAMESPACE, "web", &roots).with_context(|| replica.clone())?;
            ensure!(issued.roots == roots, "{replica} hands out {:?}, and namespaces have {roots:?}", issued.roots);
        }
        Ok(())
    })
    .await?;
    let logs = cluster.kubectl(["logs", "-n", SYSTEM_NAMESPACE, "-l", CONTROL, "--tail=-1"]).await?;
    let raced = if logs.contains("another replica made the CA") { "both tried" } else { "one was first" };
    eprintln!("    {raced} to make the CA");
    Ok(())
}

async fn token_of_web(cluster: &Cluster) -> Result<String> {
    token(cluster, (NAMESPACE, "web"), "weft", Some("web-1")).await
}

async fn patch_root(cluster: &Cluster, pem: &str) -> Result<()> {
    let patch = serde_json::json!({"stringData": {"root.crt": pem}}).to_string();
    cluster.kubectl(["patch", "secret", "weft-ca", "-n", SYSTEM_NAMESPACE, "--type=merge", "-p", &patch]).await?;
    Ok(())
}

async fn refused(cluster: &Cluster, replica: &str, roots: &TrustBundle, token: Option<&str>, text: &str) -> Result<()> {
    match ask(cluster, replica, roots, token).await? {
        Ok(_) => bail!("a certificate is given, where {text:?} is expected"),
        Err(status) if status.message().contains(text) => Ok(()),
        Err(status) => bail!("{text:?} is expected: {status}"),
    }
}
