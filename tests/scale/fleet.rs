//! All simulated proxies.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::task::{AbortHandle, JoinSet};
use weft_api::istio_ca::IstioCertificateRequest;
use weft_api::istio_ca::istio_certificate_service_client::IstioCertificateServiceClient;
use weft_certs::identity::{WorkloadIdentity, split_roots};
use weft_certs::key::KeyPair;
use weft_certs::spiffe::SpiffeId;
use weft_cli::world::TRUST_DOMAIN;

use crate::board::Board;
use crate::control::Control;
use crate::mesh::{self, Mesh, NAMESPACE};
use crate::proxy::Proxy;

/// Certificates that are asked for at a time.
const JOINING: usize = 16;
/// How long all proxies together may take to hold what they need.
const SYNCED: Duration = Duration::from_secs(120);
/// From a pod's coming into being to its proxy's start, on average.
const START: Duration = Duration::from_secs(1);

/// The proxies that there are, connected or not.
pub(crate) struct Fleet {
    control: Arc<Control>,
    board: Arc<Board>,
    services: u32,
    dialled: u32,
    /// Each with what ends it.
    proxies: Vec<(Arc<Proxy>, AbortHandle)>,
    /// By ServiceAccount: all pods of a Service have the same.
    identities: HashMap<u32, WorkloadIdentity>,
    running: JoinSet<()>,
}

impl Fleet {
    /// A fleet without proxies; each will dial so many of the Services.
    pub(crate) fn new(control: Arc<Control>, board: Arc<Board>, services: u32, dialled: u32) -> Self {
        let (proxies, identities, running) = (Vec::new(), HashMap::new(), JoinSet::new());
        Self { control, board, services, dialled, proxies, identities, running }
    }

    /// Adds proxies until there are so many, each with a certificate of its own; waits until they hold all they need.
    ///
    /// # Errors
    /// Where one of them gets no certificate, or all together take too long.
    pub(crate) async fn grow(&mut self, mesh: &Mesh, proxies: u32) -> Result<()> {
        let known = u32::try_from(self.proxies.len())?;
        let accounts: BTreeSet<u32> = (known..proxies).map(|proxy| proxy % self.services).collect();
        let new = accounts.into_iter().filter(|account| !self.identities.contains_key(account));
        let joining = stream::iter(new).map(|account| join(&self.control, account)).buffer_unordered(JOINING);
        let identities: Vec<_> = joining.try_collect().await?;
        self.identities.extend(identities);
        for number in known..proxies {
            let (service, pod) = (number % self.services, number / self.services);
            let proxy = Arc::new(Proxy {
                number,
                node: node(&mesh.pod(service, pod)),
                tls: self.control.tls(self.identities.get(&service)),
                dialled: dialled(number, self.services, self.dialled),
            });
            let running = self.start(&proxy);
            self.proxies.push((proxy, running));
        }
        self.all_synced().await
    }

    /// Waits until all proxies hold all they need.
    ///
    /// # Errors
    /// Where that takes too long.
    pub(crate) async fn all_synced(&self) -> Result<()> {
        self.board.all_synced(self.proxies.len(), SYNCED).await
    }

    /// Ends all streams, then has all proxies connect at once; how long it took until all held all they need.
    ///
    /// # Errors
    /// Where that takes too long.
    pub(crate) async fn reconnect(&mut self) -> Result<Duration> {
        self.running.shutdown().await;
        self.board.all_synced(0, SYNCED).await?;
        let begun = Instant::now();
        for (proxy, _) in std::mem::take(&mut self.proxies) {
            let running = self.start(&proxy);
            self.proxies.push((proxy, running));
        }
        self.all_synced().await?;
        Ok(begun.elapsed())
    }

    /// Ends the proxy of a pod that is replaced, if it has one. The new pod's asks for a certificate, as every new proxy
    /// does, and goes on with its Service's.
    pub(crate) fn replace(&mut self, service: u32, pod: u32, name: &str) {
        let number = service + pod * self.services;
        let Some((proxy, running)) = self.proxies.get_mut(number as usize) else { return };
        running.abort();
        self.board.leave(number);
        *proxy = Arc::new(Proxy { node: node(name), ..Proxy::clone(proxy) });
        let (proxy_new, control, board) = (Arc::clone(proxy), Arc::clone(&self.control), Arc::clone(&self.board));
        *running = self.running.spawn(async move {
            tokio::time::sleep(START.mul_f64(0.5 + rand::random::<f64>())).await;
            if let Err(error) = join(&control, service).await {
                board.retry(number, &error);
            }
            proxy_new.run(control, board).await;
        });
    }

    /// The proxies that dial a Service.
    pub(crate) fn interested(&self, service: u32) -> HashSet<u32> {
        let proxies = self.proxies.iter().filter(|(proxy, _)| proxy.dialled.contains(&service));
        proxies.map(|(proxy, _)| proxy.number).collect()
    }

    fn start(&mut self, proxy: &Arc<Proxy>) -> AbortHandle {
        self.running.spawn(Arc::clone(proxy).run(Arc::clone(&self.control), Arc::clone(&self.board)))
    }
}

/// The xDS node of a pod.
fn node(pod: &str) -> String {
    format!("{pod}.{NAMESPACE}")
}

/// The Services that a proxy dials: spread so that each Service has about as many clients as any other.
fn dialled(proxy: u32, services: u32, count: u32) -> BTreeSet<u32> {
    (1..=count).map(|place| (proxy + place * (services / (count + 1)).max(1)) % services).collect()
}

/// The identity of a Service's pods, had by their join token, as a proxy gets it.
async fn join(control: &Control, service: u32) -> Result<(u32, WorkloadIdentity)> {
    let key = KeyPair::generate()?;
    let csr = key.csr_pem()?;
    let mut request = tonic::Request::new(IstioCertificateRequest { csr, ..IstioCertificateRequest::default() });
    request.metadata_mut().insert("authorization", format!("Bearer {}", mesh::token(service)).parse()?);
    let channel = control.connect(control.tls(None)).await?;
    let answer = IstioCertificateServiceClient::new(channel).create_certificate(request).await?;
    let (chain, bundle) = split_roots(&answer.into_inner().cert_chain)?;
    let id = SpiffeId::new(&TRUST_DOMAIN.parse()?, NAMESPACE, &mesh::account(service))?;
    Ok((service, WorkloadIdentity::from_parts(id, &key, &chain, bundle)?))
}
