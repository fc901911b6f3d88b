//! The Kubernetes cluster that the control plane runs in: its API server, and who we are there.

use std::sync::Arc;
use std::time::Duration;

use kube::config::{InClusterError, KubeConfigOptions, KubeconfigError};

use crate::config::ClusterConfig;

pub mod bundle;
pub mod leader;
pub mod peers;
pub mod rollouts;
pub mod statuses;

/// How long the API server may take to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A cluster. Cheap to clone; made once.
#[derive(Clone)]
pub struct Cluster {
    /// Its API server, with our rights.
    pub client: kube::Client,
    /// The namespace that the control plane runs in.
    pub namespace: Arc<str>,
    /// The name of our own pod: which replica we are.
    pub pod: Arc<str>,
}

/// Why there is no way to a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// `KUBECONFIG` is set.
    #[error("WEFT_REGISTRY=kubernetes: the file that KUBECONFIG names can't be used")]
    Kubeconfig(#[from] KubeconfigError),
    /// It is not, and this is no pod that may speak to its API server.
    #[error(
        "WEFT_REGISTRY=kubernetes: KUBECONFIG is not set, and this is no pod with a service account's token; is \
         automountServiceAccountToken off?"
    )]
    InCluster(#[from] InClusterError),
    /// The configuration can't be used.
    #[error("WEFT_REGISTRY=kubernetes: no client of the API server can be made")]
    Client(#[from] kube::Error),
}

impl Cluster {
    /// The cluster that `KUBECONFIG` names, else the one that this process is a pod of. Nothing is asked of it yet.
    ///
    /// # Errors
    /// When there is none, or what describes it can't be read.
    pub async fn connect(config: &ClusterConfig) -> Result<Self, ConnectError> {
        let mut client = match std::env::var_os("KUBECONFIG") {
            Some(path) if !path.is_empty() => kube::Config::from_kubeconfig(&KubeConfigOptions::default()).await?,
            _ => kube::Config::incluster()?,
        };
        client.connect_timeout = Some(CONNECT_TIMEOUT);
        let client = kube::Client::try_from(client)?;
        Ok(Self { client, namespace: config.namespace.clone(), pod: config.pod.clone() })
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cluster({}/{})", self.namespace, self.pod)
    }
}
