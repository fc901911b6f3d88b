//! The images that pods run: made of the programs under test, and given to containerd.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;
use weft_cli::world::proxy_program;

use super::components::Places;
use super::node::socket;

/// What holds a pod's namespaces.
pub(super) const PAUSE: &str = "weft.test/pause:test";
/// The repository and the tag of Weft's image in the cluster.
pub const WEFT_IMAGE: (&str, &str) = ("weft.test/weft", "test");

const ARCHIVES: [&str; 4] = ["pause.tar", "weft.tar", "echo.tar", "standin.tar"];

/// Makes the images and imports them; containerd must run.
pub(super) async fn import(places: &Places) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kube/images");
    let proxy = proxy_program()?;
    let programs = proxy.parent().context("weft-proxy is in no folder")?;
    let mut make = Command::new(&script);
    make.arg(programs).arg(&places.programs).arg(&places.folder);
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
