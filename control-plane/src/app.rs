//! Configuration -> a running control plane: listeners, servers, and what flows between them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_certs::authority::AuthorityError;

use crate::api::guard::{Token, TokenError};
use crate::api::{self, Guard};
use crate::ca::own::{self, OwnIdentityError};
use crate::ca::secret::{SecretAuthority, SecretError};
use crate::ca::{Attestor, ByJoinToken, CertificateService, JoinTokens};
use crate::cluster::{Cluster, ConnectError};
use crate::config::{ApiConfig, Config, RegistrySource};
use crate::load::{LoadReporting, Loads};
use crate::mesh::{MeshOptions, ObjectName};
use crate::metrics::{self, Metrics};
use crate::registry::files::OpenError;
use crate::registry::{Fault, Registry};
use crate::status::StatusService;
use crate::traffic::rollout::Rollouts;
use crate::traffic::store::StoreError;
use crate::traffic::{Shifter, Traffic};
use crate::webhook::WebhookError;
use crate::xds::{Discovery, Publisher};

mod cluster;
mod joiner;
mod listeners;
mod serve;
mod shared;
mod state;

use joiner::Joiner;
use listeners::Listeners;
use serve::ServeError;
use shared::Shared;
use state::StateFolder;

/// How long open connections may take to end at shutdown.
const DRAIN: Duration = Duration::from_secs(4);

/// A running control plane.
pub struct App {
    addresses: Addresses,
    publisher: Arc<Publisher>,
    loads: Arc<Loads>,
    shutdown: CancellationToken,
    ready: watch::Sender<bool>,
    servers: JoinSet<Result<(), ServeError>>,
    background: JoinSet<()>,
    /// Watches the folder or the cluster for as long as it lives.
    _registry: Registry,
    /// A temporary one goes when this does.
    _state: StateFolder,
}

/// Where the control plane listens; with the real ports where the configuration has 0.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Discovery and certificates.
    pub xds: SocketAddr,
    /// Metrics and health.
    pub metrics: SocketAddr,
    /// The traffic and status API.
    pub api: SocketAddr,
}

/// Why the control plane does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder for the control plane's own state.
    #[error("WEFT_STATE_DIR: {path} can't be written; does this user own it?", path = .path.display())]
    State {
        /// The folder or a file in it.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ConnectError),
    /// The CA's keys and certificates.
    #[error("the certificate authority in WEFT_STATE_DIR can't be used")]
    Authority(#[from] AuthorityError),
    /// The CA's Secret.
    #[error("the certificate authority of the cluster can't be used")]
    Secret(#[from] SecretError),
    /// The control plane's own certificate.
    #[error("the control plane can't certify itself")]
    Identity(#[from] OwnIdentityError),
    /// The splits.
    #[error("the splits in WEFT_STATE_DIR can't be opened")]
    Store(#[from] StoreError),
    /// The manifests.
    #[error("WEFT_REGISTRY can't be opened")]
    Registry(#[from] OpenError),
    /// The webhooks.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// The API's token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// An address.
    #[error("{name}: can't listen on {address}; does another process listen there?")]
    Listen {
        /// The setting.
        name: &'static str,
        /// Its value.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The descriptors of our own services.
    #[error("gRPC reflection can't be set up")]
    Reflection(#[from] tonic_reflection::server::Error),
}

impl App {
    /// Starts everything; what is read and listened to is so when this returns. Call
    /// [`install_provider`](weft_certs::tls::install_provider) before.
    ///
    /// # Errors
    /// With the setting that is at fault.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::default());
        let guard = guard(&config.api)?;
        let listeners = Listeners::open(config).await?;
        let addresses = listeners.addresses(config);
        let shutdown = CancellationToken::new();
        let (ready, is_ready) = watch::channel(false);
        let mut servers = JoinSet::new();
        // First of all: reading a cluster may take its time, and whoever waits for it can see that we are alive.
        let metrics_router = metrics::router(Arc::clone(&metrics), is_ready);
        servers.spawn(serve::metrics(listeners.metrics, metrics_router, shutdown.clone()));

        let state = StateFolder::open(config.state_dir.as_deref())?;
        let (cluster, registry) = match &config.registry {
            RegistrySource::Files(dir) => (None, Registry::files(dir.clone())?),
            RegistrySource::Kubernetes => {
                let cluster = Cluster::connect(&config.cluster).await?;
                let registry = Registry::kubernetes(&cluster).await;
                (Some(cluster), registry)
            }
        };
        let mut background = JoinSet::new();
        let authority = match &cluster {
            None => watch::channel(Arc::new(state.authority(&config.trust_domain)?)).1,
            Some(cluster) => {
                let keeper = SecretAuthority::open(cluster, &config.trust_domain).await?;
                let authority = keeper.subscribe();
                background.spawn(keeper.run());
                authority
            }
        };
        let identity = own::certify(&authority.borrow(), config.cert_lifetime)?;
        let Shared { store, leading, peers, rollouts } = match &cluster {
            None => Shared::alone(&state)?,
            Some(cluster) => {
                let tasks = shared::Tasks { shutdown: &shutdown, servers: &mut servers, background: &mut background };
                Shared::of(cluster, &registry, &metrics, tasks).await
            }
        };

        let options = MeshOptions { trust_domain: config.trust_domain.clone(), default_mtls: config.default_mtls };
        let mut joiner = Joiner { manifests: registry.manifests.clone(), splits: store.subscribe(), options };
        let publisher = Arc::new(Publisher::new(joiner.mesh(), Arc::clone(&metrics)));
        let board = watch::Sender::default();
        let loads = Loads::new(config.load_report_interval, Arc::clone(&metrics));
        let shifter = Shifter::open(Arc::clone(&store), Arc::clone(&publisher), Arc::clone(&loads), peers);
        let proxies = Rollouts::new(Arc::clone(&publisher), rollouts.clone());
        let traffic = Traffic::new(
            Arc::clone(&store),
            Arc::clone(&publisher),
            proxies.clone(),
            Arc::clone(&shifter),
            board.subscribe(),
            shutdown.clone(),
        );
        let (faults, origins) = (registry.faults.clone(), registry.origins.clone());
        let status = StatusService::new(Arc::clone(&publisher), Arc::clone(&loads), faults, origins);

        let (health, health_server) = tonic_health::server::health_reporter();
        health.set_service_status("", tonic_health::ServingStatus::Serving).await;
        let by_token: Box<dyn Attestor> = match &cluster {
            Some(cluster) => Box::new(cluster::tokens(cluster, config, &publisher, &metrics)),
            None => {
                let tokens = Arc::new(MeshTokens(Arc::clone(&publisher)));
                Box::new(ByJoinToken { tokens, trust_domain: config.trust_domain.clone() })
            }
        };
        let issued = metrics.certificates_issued.clone();
        let certificates = CertificateService::new(authority.clone(), by_token, config.cert_lifetime, issued);
        let xds = serve::Xds {
            discovery: Discovery::service(Arc::clone(&publisher), shutdown.clone()),
            certificates: certificates.into_server(),
            load: LoadReporting::service(Arc::clone(&loads), Arc::clone(&publisher), shutdown.clone()),
            health: health_server.clone(),
        };
        let api_router = api::router(traffic, status, health_server, guard.clone())?;
        servers.spawn(xds.serve(listeners.xds, identity.clone(), shutdown.clone()));
        let tls = (!addresses.api.ip().is_loopback()).then(|| identity.clone());
        servers.spawn(serve::api(listeners.api, api_router, tls, shutdown.clone()));

        background.spawn(joiner.run(Arc::clone(&publisher)));
        background.spawn(shifter.run(leading.clone()));
        background.spawn(proxies.track(store.subscribe(), board));
        background.spawn(report_faults(registry.faults.clone(), Arc::clone(&metrics)));
        background.spawn(own::keep_fresh(identity, authority.clone(), config.cert_lifetime));
        if let Guard::Token(token) = guard {
            background.spawn(token.keep_fresh());
        }
        if let (Some(cluster), Some(rollouts)) = (&cluster, rollouts) {
            let parts = cluster::Parts {
                rollouts,
                config,
                registry: &registry,
                publisher: &publisher,
                leading: &leading,
                authority: &authority,
                metrics: &metrics,
                shutdown: &shutdown,
                servers: &mut servers,
                background: &mut background,
            };
            cluster::start(cluster, parts).await?;
        }
        ready.send_replace(true);
        let Addresses { xds, metrics, api } = addresses;
        tracing::info!(%xds, %metrics, %api, "the control plane is ready");
        Ok(Self {
            addresses,
            publisher,
            loads,
            shutdown,
            ready,
            servers,
            background,
            _registry: registry,
            _state: state,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The mesh, and the streams that follow it.
    pub fn publisher(&self) -> &Arc<Publisher> {
        &self.publisher
    }

    /// What the proxies report of the traffic they send.
    pub fn loads(&self) -> &Arc<Loads> {
        &self.loads
    }

    /// Waits until a server fails, which none does in normal life.
    pub async fn failed(&mut self) -> ServeError {
        match self.servers.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Ok(Ok(()))) | None => ServeError::Ended,
            Some(Err(error)) => ServeError::Panicked(error),
        }
    }

    /// Stops accepting, ends the streams, and waits for what is open, at most 4 seconds.
    pub async fn stop(mut self) {
        self.ready.send_replace(false);
        self.shutdown.cancel();
        let drained = async { while self.servers.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::warn!("connections were still open after {DRAIN:?}; they are closed now");
        }
        self.background.shutdown().await;
    }
}

/// Whose join token is whose, as the mesh knows it.
struct MeshTokens(Arc<Publisher>);

impl JoinTokens for MeshTokens {
    fn service_account(&self, token: &str) -> Option<ObjectName> {
        self.0.mesh().service_account_of_token(token).cloned()
    }
}

async fn report_faults(mut faults: watch::Receiver<Arc<Vec<Fault>>>, metrics: Arc<Metrics>) {
    let mut known = Arc::<Vec<Fault>>::default();
    loop {
        let current = Arc::clone(&faults.borrow_and_update());
        metrics.registry_faults.set(i64::try_from(current.len()).unwrap_or(i64::MAX));
        for fault in current.iter().filter(|fault| !known.contains(fault)) {
            tracing::warn!(%fault, severity = ?fault.severity, "a manifest has a fault");
        }
        known = current;
        if faults.changed().await.is_err() {
            return;
        }
    }
}

fn guard(config: &ApiConfig) -> Result<Guard, StartError> {
    Ok(match &config.token_file {
        Some(path) => Guard::Token(Arc::new(Token::read(path.clone())?)),
        None => Guard::Loopback,
    })
}
