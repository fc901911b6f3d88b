//! Weft in the cluster, installed by its chart.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use tokio::process::Command;

use super::cluster::Cluster;
use super::image::succeed;

/// The namespace of the control plane.
pub const SYSTEM_NAMESPACE: &str = "weft-system";
/// The name of the Helm release.
pub const RELEASE: &str = "weft";
/// How long an installation may take.
const INSTALL: Duration = Duration::from_secs(120);

/// A major version of Helm. Each is a program of its own, called `helm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helm {
    /// What `helm` is on the trials' path.
    Three,
    /// The one that applies on the server.
    Four,
}

impl Helm {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Three, Self::Four];

    /// A command that knows the cluster.
    pub fn command(self, cluster: &Cluster) -> Command {
        match self {
            Self::Three => cluster.command("helm"),
            Self::Four => cluster.command(&cluster.programs().join("helm4/helm").to_string_lossy()),
        }
    }

    /// Runs it; gives what it prints.
    ///
    /// # Errors
    /// Where it fails; with what it says.
    pub async fn run<const N: usize>(self, cluster: &Cluster, arguments: [&str; N]) -> Result<String> {
        succeed(self.command(cluster).args(arguments)).await
    }
}

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
    pub async fn install(cluster: &Cluster, helm: Helm, values: &[&str]) -> Result<()> {
        let ((repository, tag), limit) = (cluster.weft_image(), format!("{}s", INSTALL.as_secs()));
        let mut helm = helm.command(cluster);
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

    /// Takes the chart's release and its namespace away, if they are there. What is cluster-wide and not the release's stays.
    ///
    /// # Errors
    /// Where Helm or the API server doesn't.
    pub async fn remove(cluster: &Cluster) -> Result<()> {
        let release = ["uninstall", RELEASE, "--namespace", SYSTEM_NAMESPACE, "--ignore-not-found", "--wait"];
        Helm::Three.run(cluster, release).await?;
        let namespace = ["delete", "namespace", SYSTEM_NAMESPACE, "--ignore-not-found", "--timeout=60s"];
        cluster.kubectl(namespace).await.map(drop)
    }
}

/// The Gateway API's definitions, then Weft.
pub(super) async fn install(cluster: &Cluster) -> Result<()> {
    cluster.gateway_api().await?;
    Mesh::install(cluster, Helm::Three, &[]).await
}
