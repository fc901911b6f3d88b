//! docs/getting-started.md, followed word for word.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use weft_tests::kube::{Cluster, Helm, Suite};

use crate::LIMIT;

pub(crate) fn add(suite: &mut Suite) {
    suite.bare("getting-started.md, followed word for word, works", 3 * LIMIT, followed);
}

const SECTION: &str = "## On a cluster\n";

async fn followed(cluster: Arc<Cluster>) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/getting-started.md"))?;
    let section = page.split_once(SECTION).context("the section is not there")?.1;
    let section = section.split("\n## ").next().unwrap_or_default();
    let script: String = section.split("```bash\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    ensure!(script.lines().count() > 8, "there is little to follow:\n{script}");

    // The same folders as where people are, but for the images' names.
    let folder = cluster.folder().join("followed");
    std::fs::create_dir_all(folder.join("docs/examples"))?;
    std::os::unix::fs::symlink(root.canonicalize()?.join("charts"), folder.join("charts"))?;
    let shop = std::fs::read_to_string(root.join("docs/examples/shop.yaml"))?;
    // What stands in for images that a cluster for tests cannot pull.
    let stand_in = cluster.image("standin");
    let images = |line: &str| match line.split_once("image: ") {
        Some((indent, _)) => format!("{indent}image: {stand_in}\n"),
        None => format!("{line}\n"),
    };
    std::fs::write(folder.join("docs/examples/shop.yaml"), shop.lines().map(images).collect::<String>())?;

    cluster.gateway_api().await?;
    let mut shell = cluster.command("/bin/bash");
    shell.args(["-euxo", "pipefail", "-c", &script]).current_dir(&folder);
    let (repository, tag) = cluster.weft_image();
    let output = shell.env("REPOSITORY", repository).env("TAG", tag).output().await?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{said}");
    ensure!(said.contains("hello from api") && said.contains("spiffe://cluster.local/ns/shop/sa/web"), "{said}");
    cluster.kubectl(["delete", "namespace", "shop"]).await?;
    Helm::Three.run(&cluster, ["uninstall", "weft", "--namespace", "weft-system", "--wait"]).await.map(drop)
}
