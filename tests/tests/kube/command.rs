//! `weft install` and `weft uninstall`: there, and without a trace gone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use weft_cli::world::wait_until;
use weft_tests::kube::{Cluster, SYSTEM_NAMESPACE, Suite, of_weft};

use crate::LIMIT;
use crate::traffic::{NAMESPACE, shop, told};

/// Comes last: what needs the mesh can't follow.
pub(crate) fn add_last(suite: &mut Suite) {
    suite.trial("weft installs itself, and uninstalls itself without a trace", 2 * LIMIT, there_and_back);
}

async fn there_and_back(cluster: Arc<Cluster>) -> Result<()> {
    let (repository, tag) = cluster.weft_image();
    let image = format!("image.repository={repository},image.tag={tag}");
    cluster.weft(["install", "--set", &image]).await?;
    shop(&cluster).await?;
    told(
        &cluster,
        (NAMESPACE, "httproute/dangling"),
        "{.status.parents[0].controllerName}",
        "weft.dev/mesh-controller",
    )
    .await?;
    wait_until("a split", Duration::from_secs(20), async || {
        cluster.weft(["traffic", "set", "api", "v1=1", "-n", NAMESPACE]).await
    })
    .await?;
    let said = cluster.weft(["uninstall"]).await.err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(said.contains("--yes"), "it does not ask: {said}");
    cluster.weft(["uninstall", "--yes"]).await?;
    wait_until("every trace to be gone", Duration::from_secs(60), async || {
        let whole = "crd,clusterrole,clusterrolebinding,mutatingwebhookconfiguration,validatingwebhookconfiguration";
        let objects = cluster.kubectl(["get", &format!("{whole},namespace"), "-o", "name"]).await?;
        let left = of_weft(&objects);
        ensure!(left.is_empty(), "{left:?}");
        // Whatever it is called.
        let left = cluster.kubectl(["get", whole, "-l", "app.kubernetes.io/part-of=weft", "-o", "name"]).await?;
        ensure!(left.is_empty(), "{left}");
        let bundles = ["get", "configmaps", "-A", "-o", "name", "--field-selector", "metadata.name=weft-trust-bundle"];
        let left = cluster.kubectl(bundles).await?;
        ensure!(left.is_empty(), "{left}");
        let left = cluster.kubectl(["get", "httproutes", "-A", "-o", "yaml"]).await?;
        ensure!(!left.contains("weft.dev/mesh-controller") && !left.contains("weft.dev/split"), "{left}");
        let left = cluster.kubectl(["get", "namespace", SYSTEM_NAMESPACE, "--ignore-not-found", "-o", "name"]).await?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
    .await
}
