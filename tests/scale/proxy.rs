//! One simulated proxy: what `weft-proxy` says on its streams for the Services that its application dials.

mod reports;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use weft_api::names::INBOUND_LISTENER;
use weft_api::xds::ResourceKind::{self, Cluster, ClusterLoadAssignment, Listener, RouteConfiguration};
use weft_api::xds::pb::envoy::config::core::v3::Node;
use weft_api::xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use weft_api::xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

use crate::board::{Board, Sent};
use crate::control::Control;
use crate::mesh::{self, PORT};

/// Requests that wait to be sent.
const QUEUE: usize = 64;
/// Between two attempts to open a stream, on average.
const PAUSE: Duration = Duration::from_millis(250);

/// A proxy of the fleet.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) number: u32,
    /// The pod that it is of, as `POD.NAMESPACE`.
    pub(crate) node: String,
    pub(crate) tls: Arc<ClientConfig>,
    /// The Services that its application dials.
    pub(crate) dialled: BTreeSet<u32>,
}

impl Proxy {
    /// Follows the control plane until it is dropped, and opens its stream again when that ends.
    pub(crate) async fn run(self: Arc<Self>, control: Arc<Control>, board: Arc<Board>) {
        loop {
            let mut session = Session { proxy: &self, board: &board, held: BTreeMap::new(), is_synced: false };
            if let Err(error) = session.run(&control).await {
                board.retry(self.number, &error);
            }
            drop(session);
            tokio::time::sleep(PAUSE.mul_f64(0.5 + rand::random::<f64>())).await;
        }
    }

    /// The names of a kind that it needs.
    fn names(&self, kind: ResourceKind) -> Vec<String> {
        let address = |service: u32| SocketAddr::from((mesh::service_address(service), PORT)).to_string();
        match kind {
            Listener => {
                let dialled = self.dialled.iter().map(|service| address(*service));
                [INBOUND_LISTENER.to_owned()].into_iter().chain(dialled).collect()
            }
            _ => self.dialled.iter().map(|service| mesh::service_name(*service)).collect(),
        }
    }
}

/// What a stream has brought so far.
struct Session<'a> {
    proxy: &'a Proxy,
    board: &'a Board,
    /// The versions of what is held.
    held: BTreeMap<(ResourceKind, String), String>,
    is_synced: bool,
}

impl Session<'_> {
    /// Both streams, over one connection, until one of them ends.
    async fn run(&mut self, control: &Control) -> Result<()> {
        let channel = control.connect(Arc::clone(&self.proxy.tls)).await?;
        let reports = reports::send(channel.clone(), self.proxy);
        tokio::select! {
            ended = self.follow(channel) => ended,
            ended = reports => ended,
        }
    }

    async fn follow(&mut self, channel: Channel) -> Result<()> {
        let (requests, outgoing) = mpsc::channel(QUEUE);
        let node = Node { id: self.proxy.node.clone(), ..Node::default() };
        requests.send(DeltaDiscoveryRequest { node: Some(node), ..self.subscription(Listener) }).await?;
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let mut responses = client.delta_aggregated_resources(ReceiverStream::new(outgoing)).await?.into_inner();
        while let Some(response) = responses.message().await? {
            let kind = ResourceKind::from_type_url(&response.type_url).context("a kind that nobody asked for")?;
            let was_whole = self.has_all(kind);
            self.take(kind, &response);
            requests.send(acknowledgement(response)).await?;
            if was_whole || !self.has_all(kind) {
                continue;
            }
            match next(kind) {
                Some(kind) => requests.send(self.subscription(kind)).await?,
                None => {
                    self.is_synced = true;
                    self.board.synced(self.proxy.number);
                }
            }
        }
        bail!("the control plane ended the stream")
    }

    fn take(&mut self, kind: ResourceKind, response: &DeltaDiscoveryResponse) {
        let (proxy, is_push) = (self.proxy.number, self.is_synced);
        let nothing = Sent { proxy, is_push, endpoints_of: None, content: &[] };
        for resource in &response.resources {
            let key = (kind, resource.name.clone());
            let is_new = self.held.insert(key, resource.version.clone()).is_none_or(|old| old != resource.version);
            let service = mesh::service_number(&resource.name)
                .filter(|service| is_new && kind == ClusterLoadAssignment && self.proxy.dialled.contains(service));
            let content = resource.resource.as_ref().map_or(&[][..], |any| &any.value);
            self.board.sent(Sent { endpoints_of: service, content, ..nothing });
        }
        for name in &response.removed_resources {
            self.held.remove(&(kind, name.clone()));
            self.board.sent(nothing);
        }
        if response.resources.is_empty() && response.removed_resources.is_empty() {
            self.board.sent(nothing);
        }
    }

    fn has_all(&self, kind: ResourceKind) -> bool {
        let needed = self.proxy.dialled.len() + usize::from(kind == Listener);
        self.held.range((kind, String::new())..).take_while(|((of, _), _)| *of == kind).count() == needed
    }

    fn subscription(&self, kind: ResourceKind) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            resource_names_subscribe: self.proxy.names(kind),
            ..DeltaDiscoveryRequest::default()
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if self.is_synced {
            self.board.lost();
        }
    }
}

/// What a proxy asks for when it has all of a kind.
fn next(kind: ResourceKind) -> Option<ResourceKind> {
    match kind {
        Listener => Some(RouteConfiguration),
        RouteConfiguration => Some(Cluster),
        Cluster => Some(ClusterLoadAssignment),
        ClusterLoadAssignment => None,
    }
}

fn acknowledgement(response: DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    let DeltaDiscoveryResponse { type_url, nonce: response_nonce, .. } = response;
    DeltaDiscoveryRequest { type_url, response_nonce, ..DeltaDiscoveryRequest::default() }
}
