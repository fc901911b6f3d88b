//! The admission webhooks: Kubernetes' API server asks here before it stores pods, routes and policies.
//!
//! ```text
//! API server ── POST /inject ───> a pod: the patch that gives it a sidecar, or why it stays as it is
//!            ── POST /validate ─> a route or policy: refused with field and reason if nothing can be made of it
//!            <── caBundle ─────── bundle: by which roots the API server knows us
//! ```
//!
//! Any replica answers, by what it has in memory; that another one must be asked is rare. Bodies, requests at a time and the time
//! for each are bounded, and which namespaces can never be held up is for the configurations in the chart.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use weft_certs::key::KeyError;
use weft_certs::server::ServerCertificateError;

use crate::ca::CurrentAuthority;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::inject::{self, Settings};
use crate::mesh::Namespaces;
use crate::metrics::Metrics;

mod bundle;
mod certificate;
mod events;
mod injector;
mod namespaces;
mod review;
mod server;
mod validator;

pub(crate) use certificate::Certificate;
pub(crate) use server::router;

use events::Events;
use injector::Injector;
use namespaces::NamespaceReader;

/// Why the webhooks can't be served.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The address.
    #[error("WEFT_WEBHOOK_ADDR: can't listen on {address}; does another process listen there?")]
    Listen {
        /// Its value.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// No key could be made.
    #[error("no key for the webhooks can be made")]
    Key(#[from] KeyError),
    /// The CA can't sign.
    #[error("the CA can't certify the webhooks")]
    Sign(#[from] weft_certs::authority::SignError),
    /// What it signed can't be used.
    #[error("the webhooks' certificate can't be served")]
    Serve(#[from] ServerCertificateError),
}

/// The webhooks of one replica.
pub(crate) struct Webhooks {
    injector: Injector,
    metrics: Arc<Metrics>,
}

impl Webhooks {
    /// Asks the cluster what it can do.
    pub(crate) async fn new(
        cluster: &Cluster,
        config: &Config,
        namespaces: watch::Receiver<Arc<Namespaces>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let settings = settings(config, abilities(cluster).await);
        let namespaces = NamespaceReader::new(cluster.client.clone(), namespaces);
        let injector = Injector { settings, namespaces, events: Events::start(cluster) };
        Self { injector, metrics }
    }
}

/// Keeps the roots by which the API server knows us in both configurations, for ever.
pub(crate) async fn keep_bundles(cluster: Cluster, authority: CurrentAuthority) {
    bundle::keep(cluster, authority).await;
}

async fn abilities(cluster: &Cluster) -> inject::Cluster {
    match cluster.client.apiserver_version().await {
        Ok(version) => inject::Cluster::of_version(&version.major, &version.minor),
        Err(error) => {
            tracing::warn!(%error, "the API server doesn't tell its version; it is taken for a current one");
            inject::Cluster::CURRENT
        }
    }
}

fn settings(config: &Config, cluster: inject::Cluster) -> Settings {
    let injection = &config.injection;
    let namespace = config.cluster.namespace.as_ref();
    let at_the_service = || Settings::control_plane_in(namespace);
    Settings {
        pull_policy: injection.pull_policy,
        control_plane: injection.control_plane.clone().unwrap_or_else(at_the_service),
        system_namespace: namespace.to_owned(),
        defaults: injection.defaults.clone(),
        otlp_endpoint: injection.otlp_endpoint.clone(),
        cluster,
        ..Settings::new(injection.image.clone(), config.trust_domain.clone())
    }
}
