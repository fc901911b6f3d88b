//! The labels and annotations of a pod's namespace: from the registry, and from the API server where that is behind.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use tokio::sync::watch;

use crate::inject::{Namespace, PREFIX};
use crate::mesh::Namespaces;

/// How long the API server may take: it waits for us meanwhile.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Why a namespace can't be looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum NamespaceError {
    #[error("the API server doesn't give namespace {name}: {source}")]
    Refused { name: String, source: Box<kube::Error> },
    #[error("the API server doesn't give namespace {name} within {} s", TIMEOUT.as_secs())]
    TimedOut { name: String },
}

/// Reads namespaces.
pub(super) struct NamespaceReader {
    api: kube::Api<core::Namespace>,
    known: watch::Receiver<Arc<Namespaces>>,
}

impl NamespaceReader {
    pub(super) fn new(client: kube::Client, known: watch::Receiver<Arc<Namespaces>>) -> Self {
        Self { api: kube::Api::all(client), known }
    }

    /// As the registry has it; one that is too new for that, from the API server.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(super) async fn known(&self, name: &str) -> Result<Namespace, NamespaceError> {
        let found = self.known.borrow().get(name).cloned();
        match found {
            Some(known) => Ok(Namespace {
                name: name.to_owned(),
                labels: known.labels.clone(),
                annotations: known.annotations.clone(),
            }),
            None => self.read(name).await,
        }
    }

    /// As the API server has it.
    ///
    /// # Errors
    /// When it doesn't answer, or has no such namespace.
    pub(super) async fn read(&self, name: &str) -> Result<Namespace, NamespaceError> {
        let found = tokio::time::timeout(TIMEOUT, self.api.get_metadata(name)).await;
        let found = found.map_err(|_| NamespaceError::TimedOut { name: name.to_owned() })?;
        let found =
            found.map_err(|source| NamespaceError::Refused { name: name.to_owned(), source: Box::new(source) })?;
        let ours = |map: Option<std::collections::BTreeMap<String, String>>| {
            map.unwrap_or_default().into_iter().filter(|(key, _)| key.starts_with(PREFIX)).collect()
        };
        Ok(Namespace {
            name: name.to_owned(),
            labels: ours(found.metadata.labels),
            annotations: ours(found.metadata.annotations),
        })
    }
}
