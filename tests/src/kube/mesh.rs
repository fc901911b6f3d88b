//! Weft in the cluster, installed by its chart.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::cluster::Cluster;
use super::image::succeed;

/// The namespace of the control plane.
pub const SYSTEM_NAMESPACE: &str = "weft-system";
/// The name of the Helm release.
pub const RELEASE: &str = "weft";
/// How long an installation may take.
const INSTALL: Duration = Duration::from_secs(120);

/// The installed mesh.
#[derive(Debug)]
pub struct Mesh;

impl Mesh {
    /// The chart's folder.
    pub fn chart() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/weft")
    }

    /// Installs the chart, or upgrades what is installed, with more values such as `replicas=2`, and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not become ready; with what the cluster says.
    pub async fn install(cluster: &Cluster, values: &[&str]) -> Result<()> {
        let ((repository, tag), limit) = (cluster.weft_image(), format!("{}s", INSTALL.as_secs()));
        let mut helm = cluster.command("helm");
        helm.args(["upgrade", "--install", RELEASE]).arg(Self::chart());
        helm.args(["--namespace", SYSTEM_NAMESPACE, "--create-namespace", "--wait", "--timeout", &limit]);
        helm.args(["--set", &format!("image.repository={repository},image.tag={tag}")]);
        for value in values {
            helm.args(["--set", value]);
        }
        match succeed(&mut helm).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let said = cluster.kubectl(["describe", "pods", "-n", SYSTEM_NAMESPACE]).await.unwrap_or_default();
                Err(error.context(format!("{said}\n{}", cluster.pods_and_logs().await)))
            }
        }
    }
}

/// The Gateway API's definitions, then Weft.
pub(super) async fn install(cluster: &Cluster) -> Result<()> {
    cluster.gateway_api().await?;
    Mesh::install(cluster, &[]).await
}
