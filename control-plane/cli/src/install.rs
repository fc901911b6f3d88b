//! `weft install`: the chart that came with this program, installed or upgraded by `helm`.

use std::ffi::OsStr;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use include_dir::{Dir, include_dir};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};

use crate::args::{Global, InstallArgs};
use crate::cluster::{Cluster, within};
use crate::failure::Failure;

static CHART: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../charts/weft");

/// The name of the Helm release.
pub(crate) const RELEASE: &str = "weft";
/// How long a CRD may take to be served.
const SERVED: Duration = Duration::from_secs(20);

/// Installs, or prints what would be.
pub(crate) async fn run(args: InstallArgs, global: &Global, out: &mut impl Write) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("no temporary folder can be made")?;
    CHART.extract(folder.path()).context("the chart can't be written to a temporary folder")?;
    let helm = Helm { chart: folder.path(), args: &args, global };
    if args.dry_run {
        let rendered = helm.run(&helm.template())?;
        return Ok(out.write_all(&rendered.stdout)?);
    }
    helm.is_there()?;
    let cluster = Cluster::connect(global).await?;
    // Helm installs them once and never touches them again.
    for file in crds() {
        let name = apply_crd(&cluster, file).await?;
        writeln!(out, "{name} is defined")?;
    }
    writeln!(
        out,
        "installing the chart into {}; this waits until the control plane is ready",
        global.system_namespace
    )?;
    out.flush()?;
    helm.run(&helm.upgrade())?;
    writeln!(out, "Weft {} is installed. Next:\n", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  weft check\n  kubectl label namespace NAMESPACE weft.dev/inject=enabled")?;
    Ok(writeln!(out, "  kubectl rollout restart deployment -n NAMESPACE")?)
}

/// The definitions of Weft's own kinds.
pub(crate) fn crds() -> impl Iterator<Item = &'static str> {
    let files = CHART.get_dir("crds").into_iter().flat_map(Dir::files);
    files.filter_map(include_dir::File::contents_utf8)
}

/// Their names.
pub(crate) fn crd_names() -> impl Iterator<Item = String> {
    let read = |text: &str| serde_saphyr::from_str::<CustomResourceDefinition>(text).ok();
    crds().filter_map(move |text| read(text)?.metadata.name)
}

async fn apply_crd(cluster: &Cluster, text: &str) -> anyhow::Result<String> {
    let crd: CustomResourceDefinition = serde_saphyr::from_str(text).context("a definition in the chart is broken")?;
    let name = crd.metadata.name.clone().unwrap_or_default();
    let crds: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let (parameters, patch) = (PatchParams::apply("weft-install").force(), Patch::Apply(&crd));
    within(crds.patch(&name, &parameters, &patch))
        .await
        .map_err(|error| cluster.unanswered(&error).detail(format!("it was asked to define {name}")))?;
    let served = async {
        loop {
            let crd = within(crds.get(&name)).await;
            let conditions = crd.ok().and_then(|crd| crd.status).and_then(|status| status.conditions);
            let is = |condition: &_| is_established(condition);
            if conditions.is_some_and(|conditions| conditions.iter().any(is)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let waited = tokio::time::timeout(SERVED, served).await;
    waited.map_err(|_| Failure::new(format!("the API server does not serve {name} after {SERVED:?}")))?;
    Ok(name)
}

fn is_established(
    condition: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionCondition,
) -> bool {
    condition.type_ == "Established" && condition.status == "True"
}

struct Helm<'a> {
    chart: &'a Path,
    args: &'a InstallArgs,
    global: &'a Global,
}

impl Helm<'_> {
    fn upgrade(&self) -> Vec<String> {
        let mut arguments = vec!["upgrade".to_owned(), "--install".to_owned()];
        arguments.extend(self.common());
        arguments.extend(["--create-namespace", "--skip-crds", "--wait", "--timeout"].map(str::to_owned));
        arguments.push(format!("{}s", self.args.timeout));
        arguments.extend(self.global.context.iter().flat_map(|context| ["--kube-context".to_owned(), context.clone()]));
        arguments
    }

    fn template(&self) -> Vec<String> {
        let mut arguments = vec!["template".to_owned()];
        arguments.extend(self.common());
        arguments.push("--include-crds".to_owned());
        arguments
    }

    fn common(&self) -> Vec<String> {
        let mut arguments = vec![RELEASE.to_owned(), self.chart.display().to_string()];
        arguments.extend(["--namespace".to_owned(), self.global.system_namespace.clone()]);
        let files = self.args.files.iter().flat_map(|file| ["--values".to_owned(), file.display().to_string()]);
        arguments.extend(files);
        arguments.extend(self.args.values.iter().flat_map(|value| ["--set".to_owned(), value.clone()]));
        arguments
    }

    fn is_there(&self) -> anyhow::Result<()> {
        helm(&["version", "--short"]).map(drop)
    }

    fn run(&self, arguments: &[String]) -> anyhow::Result<Output> {
        helm(arguments)
    }
}

/// Runs `helm`.
///
/// # Errors
/// Where it is missing, or fails; with what it says.
pub(crate) fn helm<S: AsRef<OsStr>>(arguments: &[S]) -> anyhow::Result<Output> {
    let run = Command::new("helm").args(arguments).stdin(Stdio::null()).output();
    let output = run.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::new("helm is not on the PATH; the chart is installed by it")
            .next("install Helm 3.14 or newer (or 4), or install the folder charts/weft with whatever renders charts"),
        _ => Failure::new(format!("helm can't be started: {error}")),
    })?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let failure =
        said.lines().filter(|line| !line.trim().is_empty()).fold(Failure::new("helm failed"), Failure::detail);
    Err(failure.next("`weft check --pre` tells what stands in the way of an installation").into())
}

#[cfg(test)]
mod tests;
