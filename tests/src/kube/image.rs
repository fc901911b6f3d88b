//! The images that pods run: what they are called, and how the cluster that is built here gets them.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;
use weft_cli::world::{control_program, proxy_program};

use super::components::Places;
use super::node::socket;

/// What holds a pod's namespaces.
pub(super) const PAUSE: &str = "weft.test/pause:test";
/// Where trials' manifests say that images come from.
const WRITTEN: &str = "weft.test";
/// The images of applications that trials' manifests name.
const APPLICATIONS: [&str; 2] = ["echo", "standin"];

const ARCHIVES: [&str; 4] = ["pause.tar", "weft.tar", "echo.tar", "standin.tar"];

/// By what names the cluster has the images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Images {
    /// The repository of Weft's own, and its tag.
    pub(super) weft: (String, String),
    /// What comes before `/echo:test`, and before the other applications' images.
    applications: String,
}

impl Images {
    /// As [`import`] names them.
    pub(super) fn of_built() -> Self {
        Self { weft: (format!("{WRITTEN}/weft"), "test".to_owned()), applications: WRITTEN.to_owned() }
    }

    /// As `WEFT_IMAGE` and `WEFT_TEST_IMAGES` say, for a cluster that pulls them or has them already.
    ///
    /// # Errors
    /// Where `WEFT_IMAGE` is not set, or has no tag.
    pub(super) fn of_environment() -> Result<Self> {
        let set = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self::of(set("WEFT_IMAGE").as_deref(), set("WEFT_TEST_IMAGES").as_deref())
    }

    fn of(weft: Option<&str>, applications: Option<&str>) -> Result<Self> {
        let Some(weft) = weft else {
            bail!(
                "KUBECONFIG is set, so trials run on the cluster that it names, and need the image of Weft that this \
                 cluster can pull: WEFT_IMAGE=REPOSITORY:TAG. To have a cluster built instead: unset KUBECONFIG"
            );
        };
        let parts = weft.rsplit_once(':').filter(|(_, tag)| !tag.is_empty() && !tag.contains('/'));
        let (repository, tag) = parts.with_context(|| format!("WEFT_IMAGE={weft} has no tag: REPOSITORY:TAG"))?;
        let applications = applications.unwrap_or(WRITTEN).trim_end_matches('/').to_owned();
        Ok(Self { weft: (repository.to_owned(), tag.to_owned()), applications })
    }

    /// The name of an application's image.
    pub(super) fn application(&self, name: &str) -> String {
        format!("{}/{name}:test", self.applications)
    }

    /// Manifests with the images' names as the cluster has them.
    pub(super) fn name_in(&self, manifests: &str) -> String {
        APPLICATIONS.iter().fold(manifests.to_owned(), |text, name| {
            text.replace(&format!("{WRITTEN}/{name}:test"), &self.application(name))
        })
    }
}

/// Makes the images and imports them; containerd must run.
pub(super) async fn import(places: &Places) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kube/images");
    // The sidecar may be of another profile than the others, and so in another folder.
    let control = control_program()?;
    let programs = control.parent().context("weft-control is in no folder")?;
    let mut make = Command::new(&script);
    make.env("WEFT_PROXY_BIN", proxy_program()?).arg(programs).arg(&places.programs).arg(&places.folder);
    succeed(&mut make).await?;
    for archive in ARCHIVES {
        let mut import = Command::new(places.programs.join("ctr"));
        import.arg("--address").arg(socket(places)).args(["--namespace", "k8s.io", "images", "import"]);
        succeed(import.arg(places.folder.join(archive))).await?;
    }
    Ok(())
}

/// Runs a command to its end, and gives its standard output.
pub(super) async fn succeed(command: &mut Command) -> Result<String> {
    let what = format!("{:?}", command.as_std());
    let output = command.kill_on_drop(true).output().await.with_context(|| format!("cannot start {what}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{what}: {}: {said}{text}", output.status);
    Ok(text)
}

#[cfg(test)]
mod tests;
