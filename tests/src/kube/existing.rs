//! A throw-away cluster that was there already, the one that `KUBECONFIG` names: looked at before anything is made, and left as
//! it was.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use kube::Client;
use parking_lot::Mutex;
use tokio::process::Command;

use super::cluster::Cluster;
use super::image::succeed;
use super::mesh::{Mesh, SYSTEM_NAMESPACE};

/// The kinds of the Gateway API that trials use.
const ROUTES: [&str; 5] = ["httproutes", "grpcroutes", "tlsroutes", "tcproutes", "referencegrants"];
/// Namespaces that others make in a trial: Helm, a script of the documentation, the conformance tests.
const BESIDE: [&str; 7] = [
    SYSTEM_NAMESPACE,
    "shop",
    "gateway-conformance-mesh",
    "gateway-conformance-mesh-consumer",
    "gateway-conformance-infra",
    "gateway-conformance-app-backend",
    "gateway-conformance-web-backend",
];
/// What of a cluster tells whether it can be used.
const LOOK_AT: &str =
    "namespace,crd,clusterrole,clusterrolebinding,mutatingwebhookconfiguration,validatingwebhookconfiguration";

/// The cluster, and what is to be taken away from it.
pub(super) struct Existing {
    kubeconfig: OsString,
    before: Before,
    /// Namespaces that trials asked for.
    made: Mutex<BTreeSet<String>>,
}

/// What there was before the run.
#[derive(Debug, PartialEq, Eq)]
struct Before {
    namespaces: BTreeSet<String>,
    gateway_api: bool,
}

impl Existing {
    /// The kubeconfig that the environment names, if it does.
    pub(super) fn named() -> Option<OsString> {
        std::env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty())
    }

    /// Looks whether the cluster can be used.
    ///
    /// # Errors
    /// Where it does not answer, is too old, or has something that trials would take for theirs.
    pub(super) async fn look(client: &Client, programs: &Path) -> Result<Self> {
        let kubeconfig = Self::named().context("KUBECONFIG is not set")?;
        let version = client.apiserver_version().await.context("ask the API server that KUBECONFIG names")?;
        let mut kubectl = Command::new(programs.join("kubectl"));
        let objects = succeed(kubectl.args(["get", LOOK_AT, "-o", "name"])).await?;
        let before = Before::of(&version.minor, oldest()?, &objects)?;
        Ok(Self { kubeconfig, before, made: Mutex::default() })
    }

    pub(super) fn kubeconfig(&self) -> &OsStr {
        &self.kubeconfig
    }

    pub(super) fn had_gateway_api(&self) -> bool {
        self.before.gateway_api
    }

    /// Remembers that a namespace is to go at the end.
    ///
    /// # Errors
    /// Where it was there before.
    pub(super) fn claim(&self, namespace: &str) -> Result<()> {
        if self.before.namespaces.contains(namespace) {
            bail!(there_already(namespace));
        }
        self.made.lock().insert(namespace.to_owned());
        Ok(())
    }

    /// Takes away all that the run has made, and goes on where a part of that fails.
    ///
    /// # Errors
    /// With all that could not be taken away.
    pub(super) async fn take_away(&self, cluster: &Cluster) -> Result<()> {
        let mut failed = Vec::new();
        let mut note = |done: Result<String>| failed.extend(done.err().map(|error| format!("{error:#}")));
        note(cluster.weft(["uninstall", "--yes"]).await);
        note(self.delete_namespaces(cluster).await);
        if !self.had_gateway_api() {
            let mut kubectl = cluster.command("kubectl");
            kubectl.args(["delete", "--ignore-not-found", "--timeout=120s", "-k"]).arg(cluster.gateway_api_folder());
            note(succeed(&mut kubectl).await);
        }
        ensure!(failed.is_empty(), "{}", failed.join("\n"));
        let objects = cluster.kubectl(["get", LOOK_AT, "-o", "name"]).await?;
        let left: Vec<_> = names(&objects).filter(|(kind, name)| is_weft(kind, name)).collect();
        ensure!(left.is_empty(), "these are left: {left:?}");
        Ok(())
    }

    async fn delete_namespaces(&self, cluster: &Cluster) -> Result<String> {
        let now = cluster.kubectl(["get", "namespace", "-o", "name"]).await?;
        let made = self.made.lock().clone();
        let is_ours = |name: &&str| made.contains(*name) || BESIDE.contains(name);
        let ours: Vec<_> = names(&now).map(|(_, name)| name).filter(is_ours).collect();
        if ours.is_empty() {
            return Ok(String::new());
        }
        let mut kubectl = cluster.command("kubectl");
        kubectl.args(["delete", "namespace", "--ignore-not-found", "--timeout=240s"]).args(ours);
        succeed(&mut kubectl).await
    }
}

impl Before {
    /// Of the API server's minor version, the oldest that Weft supports, and `kubectl get -o name`.
    fn of(minor: &str, oldest: u32, objects: &str) -> Result<Self> {
        let digits: String = minor.chars().take_while(char::is_ascii_digit).collect();
        let minor: u32 = digits.parse().with_context(|| format!("the API server's version is 1.{minor}"))?;
        ensure!(minor >= oldest, "the cluster of KUBECONFIG has Kubernetes 1.{minor}; Weft needs 1.{oldest} or newer");
        let weft: Vec<_> = names(objects).filter(|(kind, name)| is_weft(kind, name)).collect();
        ensure!(
            weft.is_empty(),
            "the cluster of KUBECONFIG has Weft already, or something of it: {weft:?}. Trials install their own: name \
             another cluster, or take it away with all that it has set: weft uninstall --yes"
        );
        let namespaces: BTreeSet<String> =
            names(objects).filter(|(kind, _)| *kind == "namespace").map(|(_, name)| name.to_owned()).collect();
        if let Some(taken) = BESIDE.iter().find(|name| namespaces.contains(**name)) {
            bail!(there_already(taken));
        }
        let has = |route: &&str| {
            let name = format!("{route}.gateway.networking.k8s.io");
            names(objects).any(|(_, known)| known == name)
        };
        let (there, missing): (Vec<&str>, Vec<&str>) = ROUTES.into_iter().partition(has);
        ensure!(
            there.is_empty() || missing.is_empty(),
            "the cluster of KUBECONFIG has the Gateway API, but not its {}: install its experimental channel, or take its \
             definitions away, then trials bring their own",
            missing.join(", ")
        );
        Ok(Self { namespaces, gateway_api: missing.is_empty() })
    }
}

fn there_already(namespace: &str) -> String {
    format!(
        "the namespace {namespace}, which a trial makes, is in the cluster of KUBECONFIG already. If it is an earlier run's: \
         kubectl delete namespace {namespace}"
    )
}

/// Of `kubectl get -o name`: the kind, without its group, and the name.
fn names(objects: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = objects.lines().filter_map(|line| line.trim().split_once('/'));
    pairs.map(|(kind, name)| (kind.split('.').next().unwrap_or(kind), name))
}

fn is_weft(kind: &str, name: &str) -> bool {
    match kind {
        "namespace" => name == SYSTEM_NAMESPACE,
        "customresourcedefinition" => name.ends_with(".weft.dev"),
        _ => ["weft-control", "weft-injector", "weft-validator"].contains(&name),
    }
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
