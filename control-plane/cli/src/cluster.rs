//! The cluster that kubeconfig names: its control plane, reached through forwarded ports.

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::Context as _;
use http::Uri;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::{Channel, Endpoint};
use weft_api::ports;

use crate::args::Global;
use crate::failure::Failure;

/// The Service, and the Deployment, of the control plane.
pub(crate) const CONTROL: &str = "weft-control";
/// How long the API server may take for an answer.
const CALL: Duration = Duration::from_secs(10);

/// The cluster of a kubeconfig's context.
#[derive(Clone)]
pub(crate) struct Cluster {
    /// Its API server.
    pub(crate) client: Client,
    /// The namespace that Weft is installed in.
    pub(crate) namespace: String,
    /// How people call it.
    context: String,
}

/// A pod of the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replica {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) pod: String,
}

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pod {}/{}", self.namespace, self.pod)
    }
}

/// Whether there is a cluster to look for: a kubeconfig, or the service account of a pod.
pub(crate) fn is_configured(global: &Global) -> bool {
    global.context.is_some()
        || std::env::var_os("KUBECONFIG").is_some_and(|paths| std::env::split_paths(&paths).any(|path| path.exists()))
        || default_kubeconfig().is_some_and(|path| path.exists())
        || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

fn default_kubeconfig() -> Option<PathBuf> {
    std::env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config"))
}

impl Cluster {
    /// The cluster of the context that the options name, else of the current one, else the one that this runs in.
    ///
    /// # Errors
    /// When no kubeconfig can be read.
    pub(crate) async fn connect(global: &Global) -> anyhow::Result<Self> {
        let options = KubeConfigOptions { context: global.context.clone(), ..KubeConfigOptions::default() };
        let (mut config, context) = match Config::from_kubeconfig(&options).await {
            Ok(config) => {
                let current = || Kubeconfig::read().ok().and_then(|config| config.current_context);
                (config, global.context.clone().or_else(current).unwrap_or_else(|| "current".to_owned()))
            }
            Err(error) => match Config::incluster() {
                Ok(config) if global.context.is_none() => (config, "in-cluster".to_owned()),
                _ => {
                    return Err(Failure::new(format!("no kubeconfig can be used: {error}"))
                        .next("set KUBECONFIG, or name the API's address with --server URL")
                        .into());
                }
            },
        };
        config.connect_timeout = Some(CALL);
        let client = Client::try_from(config).context("the kubeconfig makes no client")?;
        Ok(Self { client, namespace: global.system_namespace.clone(), context })
    }

    /// How people call it.
    pub(crate) fn context(&self) -> &str {
        &self.context
    }

    /// The pods of the control plane that are ready, by name.
    ///
    /// # Errors
    /// When the API server does not answer, or there is none that is ready.
    pub(crate) async fn replicas(&self) -> anyhow::Result<Vec<Replica>> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        let service = within(services.get_opt(CONTROL)).await.map_err(|error| self.unanswered(&error))?;
        let Some(service) = service else {
            let what =
                format!("Weft is not installed in context {}: no Service {}/{CONTROL}", self.context, self.namespace);
            let next =
                "run `weft install`, name its namespace with --system-namespace, or the API's address with --server";
            return Err(Failure::new(what).next(next).into());
        };
        let selector = service.spec.and_then(|spec| spec.selector).unwrap_or_default();
        let labels: Vec<_> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let pods = within(pods.list(&ListParams::default().labels(&labels.join(",")))).await;
        let pods = pods.map_err(|error| self.unanswered(&error))?.items;
        let mut ready: Vec<_> = pods.iter().filter(|pod| is_ready(pod)).filter_map(|pod| self.replica(pod)).collect();
        ready.sort_by(|a, b| a.pod.cmp(&b.pod));
        if ready.is_empty() {
            let what = format!("no pod of {}/{CONTROL} is ready, of {} in all", self.namespace, pods.len());
            let next = format!("see why: kubectl -n {} get pods, and `weft check`", self.namespace);
            return Err(Failure::new(what).next(next).into());
        }
        Ok(ready)
    }

    /// A connection to the API of a replica, over a port that is forwarded.
    ///
    /// # Errors
    /// When the port can't be forwarded, as without permission.
    pub(crate) async fn channel(&self, replica: &Replica) -> anyhow::Result<Channel> {
        let forward =
            Forward { pods: Api::namespaced(self.client.clone(), &replica.namespace), pod: replica.pod.clone() };
        let endpoint = Endpoint::from_static("http://localhost").connect_timeout(CALL);
        endpoint.connect_with_connector(forward).await.map_err(|error| {
            let what = format!("cannot reach port {} of {replica}: {}", ports::CONTROL_API, innermost(&error));
            let next = format!(
                "may you forward ports? kubectl auth can-i create pods/portforward -n {}; is it running?",
                replica.namespace
            );
            Failure::new(what).next(next).into()
        })
    }

    fn replica(&self, pod: &Pod) -> Option<Replica> {
        Some(Replica { namespace: self.namespace.clone(), pod: pod.metadata.name.clone()? })
    }

    /// What people see where the API server gives no answer.
    pub(crate) fn unanswered(&self, error: &kube::Error) -> Failure {
        Failure::new(format!("the API server of context {} says: {}", self.context, innermost(error)))
            .next("is it the right context? kubectl config get-contexts")
    }
}

/// Whether its condition says so, and it is not about to end.
fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    pod.metadata.deletion_timestamp.is_none() && ready.any(|condition| condition.status == "True")
}

/// A call to the API server, bounded.
pub(crate) async fn within<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    match tokio::time::timeout(CALL, call).await {
        Ok(answer) => answer,
        Err(late) => Err(kube::Error::Service(Box::new(late))),
    }
}

pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Forwards the API's port of a pod, anew for each connection.
#[derive(Clone)]
struct Forward {
    pods: Api<Pod>,
    pod: String,
}

/// Both directions of a forwarded port.
trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

impl tower::Service<Uri> for Forward {
    type Response = TokioIo<Box<dyn Duplex>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { pods, pod } = self.clone();
        Box::pin(async move {
            let mut forwarded = pods.portforward(&pod, &[ports::CONTROL_API]).await.map_err(std::io::Error::other)?;
            let stream = forwarded.take_stream(ports::CONTROL_API);
            let stream = stream.ok_or_else(|| std::io::Error::other("the port was not forwarded"))?;
            let stream: Box<dyn Duplex> = Box::new(stream);
            Ok(TokioIo::new(stream))
        })
    }
}

#[cfg(test)]
mod tests;
