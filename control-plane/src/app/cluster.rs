//! What the control plane does in a Kubernetes cluster alone: webhooks, and what one replica does for all.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_certs::authority::Authority;

use super::StartError;
use super::serve::{self, ServeError};
use crate::ca::{ByTokenReview, ClusterReviews};
use crate::cluster::Cluster;
use crate::cluster::bundle::BundlePublisher;
use crate::cluster::rollouts::PeerRollouts;
use crate::cluster::statuses::StatusWriter;
use crate::config::Config;
use crate::leading::Leading;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::webhook::{self, WebhookError};
use crate::xds::Publisher;

/// What there is to work with, and where tasks go.
pub(super) struct Parts<'a> {
    pub(super) config: &'a Config,
    pub(super) registry: &'a Registry,
    pub(super) publisher: &'a Arc<Publisher>,
    /// What the proxies of all replicas hold.
    pub(super) rollouts: Arc<PeerRollouts>,
    /// Whether this replica does what one does for all.
    pub(super) leading: &'a Leading,
    /// The CA as it is; another one when the Secret changes.
    pub(super) authority: &'a watch::Receiver<Arc<Authority>>,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) shutdown: &'a CancellationToken,
    /// A server that ends ends the process.
    pub(super) servers: &'a mut JoinSet<Result<(), ServeError>>,
    /// Ended at shutdown, after the servers.
    pub(super) background: &'a mut JoinSet<()>,
}

/// Starts it.
pub(super) async fn start(cluster: &Cluster, mut parts: Parts<'_>) -> Result<(), StartError> {
    let (namespaces, authority) = (parts.registry.namespaces.clone(), parts.authority.clone());
    let bundles = BundlePublisher::new(cluster.clone(), namespaces, authority, parts.leading.clone());
    parts.background.spawn(bundles.run());
    webhooks(cluster, &mut parts).await?;
    let manifests = parts.registry.manifests.clone();
    parts.background.spawn(Arc::clone(&parts.rollouts).keep_telling(Arc::clone(parts.publisher), manifests));
    let proxies = (Arc::clone(parts.publisher), parts.rollouts);
    let statuses = StatusWriter::new(cluster.clone(), parts.registry, proxies, parts.leading.clone());
    parts.background.spawn(statuses.run());
    Ok(())
}

async fn webhooks(cluster: &Cluster, parts: &mut Parts<'_>) -> Result<(), WebhookError> {
    let config = parts.config;
    let address = config.injection.webhook_address;
    let listener = TcpListener::bind(address).await.map_err(|source| WebhookError::Listen { address, source })?;
    let certificate =
        webhook::Certificate::issue(parts.authority.clone(), &config.cluster.namespace, config.cert_lifetime)?;
    let namespaces = parts.registry.namespaces.clone();
    let webhooks = webhook::Webhooks::new(cluster, config, namespaces, Arc::clone(parts.metrics)).await;
    let router = webhook::router(Arc::new(webhooks));
    parts.servers.spawn(serve::webhooks(listener, router, certificate.served(), parts.shutdown.clone()));
    parts.background.spawn(certificate.keep_fresh());
    parts.background.spawn(webhook::keep_bundles(cluster.clone(), parts.authority.clone()));
    tracing::info!(%address, "the webhooks are served");
    Ok(())
}

/// Tokens are those that the cluster projects into its pods.
pub(super) fn tokens(cluster: &Cluster, config: &Config, publisher: &Publisher, metrics: &Metrics) -> ByTokenReview {
    let reviews = Box::new(ClusterReviews::new(cluster.client.clone()));
    let (mesh, trust_domain) = (publisher.subscribe(), config.trust_domain.clone());
    ByTokenReview::new(reviews, mesh, trust_domain, metrics.token_reviews.clone())
}
