//! A throw-away cluster that was there already, the one that `KUBECONFIG` names: looked at before anything is made, and left as
//! it was.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use kube::config::Kubeconfig;
use kube::{Client, Config};
use tokio::process::Command;

use super::cluster::Cluster;
use super::image::succeed;
use super::mesh::{Mesh, SYSTEM_NAMESPACE};

/// Every namespace that there is for a trial's sake, made by the trial itself, by Helm, by a script of the documentation or by the
/// conformance tests. None of them may be there before, and all of them go at the end.
pub(super) const NAMESPACES: [&str; 15] = [
    SYSTEM_NAMESPACE,
    "authority",
    "basics",
    "definitions",
    "injection",
    "injection-plain",
    "plain",
    "pods",
    "shop",
    "split",
    "gateway-conformance-mesh",
    "gateway-conformance-mesh-consumer",
    "gateway-conformance-infra",
    "gateway-conformance-app-backend",
    "gateway-conformance-web-backend",
];
/// The kinds of the Gateway API that trials use.
const ROUTES: [&str; 5] = ["httproutes", "grpcroutes", "tlsroutes", "tcproutes", "referencegrants"];
/// How the names of all that the Gateway API brings end: its definitions, more of them than [`ROUTES`], and its admission policy.
const GATEWAY_API: [&str; 2] = [".gateway.networking.k8s.io", ".gateway.networking.x-k8s.io"];
/// The minor version of Kubernetes that has admission policies first; the Gateway API's definitions come with one.
const POLICIES_SINCE: u32 = 30;
/// What of a cluster tells whether it can be used, beside admission policies.
const LOOK_AT: &str =
    "namespace,crd,clusterrole,clusterrolebinding,mutatingwebhookconfiguration,validatingwebhookconfiguration";

/// The cluster, and what is to be taken away from it.
pub(super) struct Existing {
    /// The context that was the current one when the run began, in a file of the run.
    kubeconfig: PathBuf,
    /// Whether the Gateway API was there before the run.
    had_gateway_api: bool,
    /// Whether the run has brought it.
    brought_gateway_api: AtomicBool,
}

impl Existing {
    /// Whether the environment names a kubeconfig.
    pub(super) fn is_named() -> bool {
        std::env::var_os("KUBECONFIG").is_some_and(|paths| !paths.is_empty())
    }

    /// Says which cluster it is, and looks whether it can be used; with a client of it. From here on the run has a context of its
    /// own, in `folder`.
    ///
    /// # Errors
    /// Where there is no current context, or its cluster does not answer, is too old, or has something that trials would take for
    /// theirs.
    pub(super) async fn look(folder: &Path, programs: &Path) -> Result<(Self, Client)> {
        let mut kubectl = Command::new(programs.join("kubectl"));
        let context = succeed(kubectl.args(["config", "view", "--minify", "--flatten", "--raw"])).await;
        let kubeconfig = keep(folder, &context.context("take the current context of KUBECONFIG")?)?;
        let kept = Kubeconfig::read_from(&kubeconfig)?;
        let name = kept.current_context.clone().unwrap_or_default();
        let config = Config::from_custom_kubeconfig(kept, &<_>::default()).await.context("read KUBECONFIG")?;
        eprintln!("==> the trials run on the cluster of the context {name}: {}", config.cluster_url);

        let client = Client::try_from(config)?;
        let version = client.apiserver_version().await.context("ask the API server that KUBECONFIG names")?;
        let minor = minor_of(&version.minor)?;
        let kinds = match minor < POLICIES_SINCE {
            true => LOOK_AT.to_owned(),
            false => format!("{LOOK_AT},validatingadmissionpolicy,validatingadmissionpolicybinding"),
        };
        let mut kubectl = Command::new(programs.join("kubectl"));
        kubectl.env("KUBECONFIG", &kubeconfig).args(["get", &kinds, "-o", "name"]);
        let had_gateway_api = check(minor, oldest()?, &succeed(&mut kubectl).await?)?;
        Ok((Self { kubeconfig, had_gateway_api, brought_gateway_api: AtomicBool::new(false) }, client))
    }

    /// The path of a kubeconfig that has this cluster alone.
    pub(super) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub(super) fn had_gateway_api(&self) -> bool {
        self.had_gateway_api
    }

    /// Remembers that the Gateway API is to go at the end. Must come before any of it is made.
    pub(super) fn brings_gateway_api(&self) {
        self.brought_gateway_api.store(true, Ordering::Relaxed);
    }

    /// Takes away all that the run has made, and goes on where a part of that fails.
    ///
    /// # Errors
    /// With all that could not be taken away.
    pub(super) async fn take_away(&self, cluster: &Cluster) -> Result<()> {
        let mut failed = Vec::new();
        let mut note = |done: Result<String>| failed.extend(done.err().map(|error| format!("{error:#}")));
        note(cluster.weft(["uninstall", "--yes"]).await);
        note(delete_namespaces(cluster).await);
        if self.brought_gateway_api.load(Ordering::Relaxed) {
            let mut kubectl = cluster.command("kubectl");
            kubectl.args(["delete", "--ignore-not-found", "--timeout=120s", "-k"]).arg(cluster.gateway_api_folder());
            note(succeed(&mut kubectl).await);
        }
        ensure!(failed.is_empty(), "{}", failed.join("\n"));
        let objects = cluster.kubectl(["get", LOOK_AT, "-o", "name"]).await?;
        let left = of_weft(&objects);
        ensure!(left.is_empty(), "these are left: {left:?}");
        Ok(())
    }
}

async fn delete_namespaces(cluster: &Cluster) -> Result<String> {
    let now = cluster.kubectl(["get", "namespace", "-o", "name"]).await?;
    let ours = trials_namespaces(&now);
    if ours.is_empty() {
        return Ok(String::new());
    }
    let mut kubectl = cluster.command("kubectl");
    kubectl.args(["delete", "namespace", "--ignore-not-found", "--timeout=240s"]).args(ours);
    succeed(&mut kubectl).await
}

/// Writes the current context into a file of the run, for its owner alone. Every program gets this file, so that none acts on
/// another cluster when somebody switches to another context meanwhile. (A token's file or a program for the login that the
/// kubeconfig names by a relative path is not found from here, which the first request says.)
fn keep(folder: &Path, context: &str) -> Result<PathBuf> {
    let path = folder.join("kubeconfig");
    let file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| file.write_all(context.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Of the API server's minor version, the oldest that Weft supports, and `kubectl get -o name`: whether the Gateway API is there.
///
/// # Errors
/// Why the cluster can't be used.
fn check(minor: u32, oldest: u32, objects: &str) -> Result<bool> {
    ensure!(minor >= oldest, "the cluster of KUBECONFIG has Kubernetes 1.{minor}; Weft needs 1.{oldest} or newer");
    let weft = of_weft(objects);
    ensure!(
        weft.is_empty(),
        "the cluster of KUBECONFIG has Weft already, or something of it: {weft:?}. Trials install their own and take it \
         away: name a cluster without it"
    );
    let taken = trials_namespaces(objects);
    ensure!(
        taken.is_empty(),
        "the cluster of KUBECONFIG has namespaces that trials make and delete: {}. Name another cluster; or, where nothing but \
         an earlier run can have made them: kubectl delete namespace {}",
        taken.join(", "),
        taken.join(" ")
    );
    has_gateway_api(minor, objects)
}

/// Whether the Gateway API is there, as a whole.
///
/// # Errors
/// Where only a part of it is, or it can't be brought.
fn has_gateway_api(minor: u32, objects: &str) -> Result<bool> {
    let there: Vec<&str> =
        names(objects).filter(|(kind, name)| is_gateway_api(kind, name)).map(|(_, name)| name).collect();
    if there.is_empty() {
        ensure!(
            minor >= POLICIES_SINCE,
            "the cluster of KUBECONFIG has no Gateway API, and Kubernetes 1.{minor}; to bring the Gateway API, trials need \
             1.{POLICIES_SINCE} or newer"
        );
        return Ok(false);
    }
    let is_missing = |route: &&str| !there.contains(&format!("{route}.gateway.networking.k8s.io").as_str());
    let missing: Vec<&str> = ROUTES.into_iter().filter(is_missing).collect();
    ensure!(
        missing.is_empty(),
        "the cluster of KUBECONFIG has something of the Gateway API ({}), but not its {}: install all of its experimental \
         channel, or name a cluster without the Gateway API, then trials bring their own",
        there.join(", "),
        missing.join(", ")
    );
    Ok(true)
}

/// Of `kubectl get -o name`: the kind, without its group, and the name.
fn names(objects: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = objects.lines().filter_map(|line| line.trim().split_once('/'));
    pairs.map(|(kind, name)| (kind.split('.').next().unwrap_or(kind), name))
}

/// Of `kubectl get -o name` of kinds that a whole cluster has: what Weft made, or is in; each with its kind.
pub fn of_weft(objects: &str) -> Vec<(&str, &str)> {
    names(objects).filter(|(kind, name)| is_weft(kind, name)).collect()
}

fn trials_namespaces(objects: &str) -> Vec<&str> {
    let namespaces = names(objects).filter(|(kind, name)| *kind == "namespace" && NAMESPACES.contains(name));
    namespaces.map(|(_, name)| name).collect()
}

fn is_weft(kind: &str, name: &str) -> bool {
    match kind {
        "namespace" => name == SYSTEM_NAMESPACE,
        "customresourcedefinition" => name.ends_with(".weft.dev"),
        _ => ["weft-control", "weft-injector", "weft-validator"].contains(&name),
    }
}

fn is_gateway_api(kind: &str, name: &str) -> bool {
    let kinds = ["customresourcedefinition", "validatingadmissionpolicy", "validatingadmissionpolicybinding"];
    kinds.contains(&kind) && GATEWAY_API.iter().any(|group| name.ends_with(group))
}

/// The number of a minor version, which some clusters write as `31+`.
fn minor_of(minor: &str) -> Result<u32> {
    let digits: String = minor.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("the API server's version is 1.{minor}"))
}

/// The oldest minor version of Kubernetes that the chart takes.
fn oldest() -> Result<u32> {
    let path = Mesh::chart().join("Chart.yaml");
    let chart = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let version = chart.split_once("kubeVersion: \">=1.").and_then(|(_, rest)| rest.split('.').next());
    let version = version.with_context(|| format!("{} has no kubeVersion", path.display()))?;
    version.parse().with_context(|| format!("kubeVersion in {}", path.display()))
}

#[cfg(test)]
mod tests;
