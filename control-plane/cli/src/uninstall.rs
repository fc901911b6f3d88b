//! `weft uninstall`: takes away the chart and all that the control plane wrote.

use std::io::{IsTerminal as _, Write};

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Resource;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, ObjectList};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::args::{Global, UninstallArgs};
use crate::cluster::{Cluster, within};
use crate::failure::Failure;
use crate::install::{RELEASE, crd_names, helm};

/// Who we are among those who write a route's status.
const CONTROLLER: &str = "weft.dev/mesh-controller";
/// The container, or init container, that makes a pod part of the mesh.
const PROXY: &str = "weft-proxy";

/// Uninstalls; says what it does.
pub(crate) async fn run(args: UninstallArgs, global: &Global, out: &mut impl Write) -> anyhow::Result<()> {
    let cluster = Cluster::connect(global).await?;
    let injected = injected(&cluster).await?;
    if !injected.is_empty() {
        writeln!(
            out,
            "{} pods still have a sidecar; they keep it until they are made anew, without a",
            injected.len()
        )?;
        writeln!(out, "control plane to renew its certificate (24 h by default). Roll them afterwards:")?;
        for namespace in namespaces(&injected) {
            writeln!(out, "  kubectl label namespace {namespace} weft.dev/inject- && \\")?;
            writeln!(out, "    kubectl rollout restart deployment,statefulset,daemonset -n {namespace}")?;
        }
    }
    if !args.yes && !agreed(&cluster, out)? {
        return Err(Failure::new("nothing was done").next("pass --yes to uninstall without a question").into());
    }
    release(global, out)?;
    Wipe { cluster: &cluster, out }.wipe(&args, global).await
}

/// Asks, where somebody can answer.
fn agreed(cluster: &Cluster, out: &mut impl Write) -> anyhow::Result<bool> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Ok(false);
    }
    write!(out, "Uninstall Weft from context {}, with its policies, splits and CA? [y/N] ", cluster.context())?;
    out.flush()?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The pods that have a sidecar: namespace and name.
pub(crate) async fn injected(cluster: &Cluster) -> anyhow::Result<Vec<(String, String)>> {
    let pods: Api<Pod> = Api::all(cluster.client.clone());
    let pods = within(pods.list(&ListParams::default())).await.map_err(|error| cluster.unanswered(&error))?;
    let named = |pod: Pod| Some((pod.metadata.namespace?, pod.metadata.name?));
    Ok(pods.items.into_iter().filter(has_proxy).filter_map(named).collect())
}

/// Whether a pod has a sidecar.
pub(crate) fn has_proxy(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.into_iter().any(|container| container.name == PROXY)
}

fn namespaces(pods: &[(String, String)]) -> std::collections::BTreeSet<&str> {
    pods.iter().map(|(namespace, _)| namespace.as_str()).collect()
}

fn release(global: &Global, out: &mut impl Write) -> anyhow::Result<()> {
    let mut arguments = vec![
        "uninstall",
        RELEASE,
        "--namespace",
        &global.system_namespace,
        "--wait",
        "--cascade=foreground",
        "--ignore-not-found",
    ];
    arguments.extend(global.context.iter().flat_map(|context| ["--kube-context", context.as_str()]));
    helm(&arguments)?;
    Ok(writeln!(out, "the chart's release {RELEASE} is gone")?)
}

/// Takes away what the control plane wrote, kind by kind.
struct Wipe<'a, W> {
    cluster: &'a Cluster,
    out: &'a mut W,
}

impl<W: Write> Wipe<'_, W> {
    async fn wipe(mut self, args: &UninstallArgs, global: &Global) -> anyhow::Result<()> {
        let namespace = &global.system_namespace;
        // Where Helm did not install it, or was interrupted.
        self.named::<MutatingWebhookConfiguration>(self.all(), "weft-injector").await?;
        self.named::<ValidatingWebhookConfiguration>(self.all(), "weft-validator").await?;
        self.trust_bundles().await?;
        self.statuses().await?;
        self.splits().await?;
        self.named::<Lease>(self.of(namespace), "weft-control-leader").await?;
        for secret in ["weft-ca", "weft-webhook"] {
            self.named::<Secret>(self.of(namespace), secret).await?;
        }
        let reports = ListParams::default().labels("weft.dev/report-of");
        let maps: Api<ConfigMap> = self.of(namespace);
        for map in listed(self.cluster, within(maps.list(&reports)).await)? {
            self.named(maps.clone(), &map.metadata.name.unwrap_or_default()).await?;
        }
        if !args.keep_crds {
            for name in crd_names() {
                self.named::<CustomResourceDefinition>(self.all(), &name).await?;
            }
        }
        if !args.keep_namespace {
            self.namespace(namespace).await?;
        }
        Ok(writeln!(self.out, "Weft is uninstalled")?)
    }

    /// Deletes an object, if it is there.
    async fn named<K>(&mut self, api: Api<K>, name: &str) -> anyhow::Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        match within(api.delete(name, &DeleteParams::default())).await {
            Ok(_) => Ok(writeln!(self.out, "{} {name} is deleted", K::kind(&()))?),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(self.cluster.unanswered(&error).detail(format!("{} {name}", K::kind(&()))).into()),
        }
    }

    async fn trust_bundles(&mut self) -> anyhow::Result<()> {
        let everywhere: Api<ConfigMap> = self.all();
        let bundles = ListParams::default().fields("metadata.name=weft-trust-bundle");
        let mut deleted = 0;
        for map in listed(self.cluster, within(everywhere.list(&bundles)).await)? {
            let (Some(namespace), Some(name)) = (map.metadata.namespace, map.metadata.name) else { continue };
            let maps: Api<ConfigMap> = self.of(&namespace);
            done(self.cluster, within(maps.delete(&name, &DeleteParams::default())).await)?;
            deleted += 1;
        }
        Ok(writeln!(self.out, "the trust bundle is deleted from {deleted} namespaces")?)
    }

    /// Deletes the HTTPRoutes that the traffic API wrote.
    async fn splits(&mut self) -> anyhow::Result<()> {
        let Some(kind) = self.kind("HTTPRoute").await? else { return Ok(()) };
        let routes: Api<DynamicObject> = Api::all_with(self.cluster.client.clone(), &kind);
        let ours = ListParams::default().labels("weft.dev/split,app.kubernetes.io/managed-by=weft");
        for route in listed(self.cluster, within(routes.list(&ours)).await)? {
            let (Some(namespace), Some(name)) = (route.metadata.namespace, route.metadata.name) else { continue };
            let routes: Api<DynamicObject> = Api::namespaced_with(self.cluster.client.clone(), &namespace, &kind);
            done(self.cluster, within(routes.delete(&name, &DeleteParams::default())).await)?;
            writeln!(self.out, "HTTPRoute {namespace}/{name} (a split) is deleted")?;
        }
        Ok(())
    }

    /// Takes our entries out of the statuses of routes.
    async fn statuses(&mut self) -> anyhow::Result<()> {
        for kind in ["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute"] {
            let Some(kind) = self.kind(kind).await? else { continue };
            let routes: Api<DynamicObject> = Api::all_with(self.cluster.client.clone(), &kind);
            for mut route in listed(self.cluster, within(routes.list(&ListParams::default())).await)? {
                let Some(Value::Array(parents)) = route.data.pointer_mut("/status/parents") else { continue };
                let before = parents.len();
                parents.retain(|entry| entry.get("controllerName").and_then(Value::as_str) != Some(CONTROLLER));
                let (Some(namespace), Some(name)) = (route.metadata.namespace.clone(), route.metadata.name.clone())
                else {
                    continue;
                };
                if parents.len() < before {
                    let routes: Api<DynamicObject> =
                        Api::namespaced_with(self.cluster.client.clone(), &namespace, &kind);
                    let written = within(routes.replace_status(&name, &PostParams::default(), &route)).await;
                    // A route that somebody changes at this moment keeps a word of ours; it harms nobody.
                    done(self.cluster, written)?;
                }
            }
        }
        Ok(())
    }

    /// Deletes the namespace, unless there is more in it.
    async fn namespace(&mut self, namespace: &str) -> anyhow::Result<()> {
        let left = self.count::<Pod>(namespace).await?
            + self.count::<Deployment>(namespace).await?
            + self.count::<Service>(namespace).await?
            + self.count::<PersistentVolumeClaim>(namespace).await?;
        match left {
            0 => self.named::<Namespace>(self.all(), namespace).await,
            _ => Ok(writeln!(self.out, "Namespace {namespace} stays: {left} other objects are in it")?),
        }
    }

    async fn count<K>(&self, namespace: &str) -> anyhow::Result<usize>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = self.of(namespace);
        let all = listed(self.cluster, within(api.list(&ListParams::default())).await)?;
        // What is on its way out does not count.
        Ok(all.into_iter().filter(|object| object.meta().deletion_timestamp.is_none()).count())
    }

    async fn kind(&self, kind: &str) -> anyhow::Result<Option<ApiResource>> {
        let group = within(kube::discovery::group(&self.cluster.client, "gateway.networking.k8s.io")).await;
        match group {
            Ok(group) => Ok(group.recommended_kind(kind).map(|(resource, _)| resource)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(kube::Error::Discovery(_)) => Ok(None),
            Err(error) => Err(self.cluster.unanswered(&error).into()),
        }
    }

    fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.cluster.client.clone())
    }

    fn of<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.cluster.client.clone(), namespace)
    }
}

/// What was listed; nothing where there is no such kind.
fn listed<K: Clone>(cluster: &Cluster, answer: Result<ObjectList<K>, kube::Error>) -> anyhow::Result<Vec<K>> {
    match answer {
        Ok(list) => Ok(list.items),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(error) => Err(cluster.unanswered(&error).into()),
    }
}

/// Something that may be gone by now, or another by now, was deleted or written.
fn done<T>(cluster: &Cluster, answer: Result<T, kube::Error>) -> anyhow::Result<()> {
    match answer {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(cluster.unanswered(&error).into()),
    }
}
