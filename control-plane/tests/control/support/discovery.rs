//! A proxy's side of a discovery stream, request by request.

use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, Streaming};
use weft_api::xds::ResourceKind;
use weft_api::xds::pb::envoy::config::core::v3::Node;
use weft_api::xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use weft_api::xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use weft_api::xds::pb::google::protobuf::{Struct, Value, value::Kind};
use weft_api::xds::pb::google::rpc::Status as RpcStatus;
use weft_certs::identity::WorkloadIdentity;

use super::{Control, LONG};

/// A delta stream.
pub struct Delta {
    requests: mpsc::UnboundedSender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    node: Option<Node>,
}

/// The node of a pod in `shop`, with the metadata that `weft-proxy` sends.
pub fn node(pod: &str) -> Node {
    let text = Value { kind: Some(Kind::StringValue("1.2.3".to_owned())) };
    let number = Value { kind: Some(Kind::NumberValue(1_900_000_000.0)) };
    let fields = [("version".to_owned(), text), ("certificate_expires".to_owned(), number)].into();
    Node { id: format!("{pod}.shop"), metadata: Some(Struct { fields }), ..Node::default() }
}

impl Delta {
    pub async fn open(control: &Control, identity: &WorkloadIdentity, pod: &str) -> Self {
        Self::try_open(control, Some(identity), node(pod)).await.unwrap()
    }

    pub async fn try_open(control: &Control, identity: Option<&WorkloadIdentity>, node: Node) -> Result<Self, Status> {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let mut client = AggregatedDiscoveryServiceClient::new(control.xds(identity).await);
        let responses = client.delta_aggregated_resources(UnboundedReceiverStream::new(outgoing)).await?.into_inner();
        Ok(Self { requests, responses, node: Some(node) })
    }

    pub fn send(&mut self, kind: ResourceKind, request: DeltaDiscoveryRequest) {
        let node = self.node.take();
        self.requests.send(DeltaDiscoveryRequest { type_url: kind.type_url().to_owned(), node, ..request }).unwrap();
    }

    pub fn subscribe(&mut self, kind: ResourceKind, names: &[&str]) {
        self.subscribe_holding(kind, names, &[]);
    }

    /// Subscribes with versions that it holds from before.
    pub fn subscribe_holding(&mut self, kind: ResourceKind, names: &[&str], versions: &[(&str, &str)]) {
        let versions = versions.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect();
        let resource_names_subscribe = owned(names);
        self.send(
            kind,
            DeltaDiscoveryRequest {
                resource_names_subscribe,
                initial_resource_versions: versions,
                ..Default::default()
            },
        );
    }

    pub fn unsubscribe(&mut self, kind: ResourceKind, names: &[&str]) {
        self.send(kind, DeltaDiscoveryRequest { resource_names_unsubscribe: owned(names), ..Default::default() });
    }

    pub async fn receive(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        let message = tokio::time::timeout(LONG, self.responses.message()).await.expect("a response");
        message.map(|response| response.expect("the stream goes on"))
    }

    /// The next response, not acknowledged.
    pub async fn next(&mut self) -> DeltaDiscoveryResponse {
        self.receive().await.unwrap()
    }

    /// The next response, acknowledged, as `KIND +name -name`.
    pub async fn acked(&mut self) -> String {
        let response = self.next().await;
        self.answer(&response, None);
        text(&response)
    }

    pub fn answer(&mut self, response: &DeltaDiscoveryResponse, error: Option<&str>) {
        let kind = ResourceKind::from_type_url(&response.type_url).unwrap();
        let error_detail =
            error.map(|message| RpcStatus { code: 3, message: message.to_owned(), ..Default::default() });
        let response_nonce = response.nonce.clone();
        self.send(kind, DeltaDiscoveryRequest { response_nonce, error_detail, ..Default::default() });
    }

    /// Nothing else is on its way: what was asked for last is what comes next.
    pub async fn expect_nothing(&mut self) {
        self.subscribe(ResourceKind::ClusterLoadAssignment, &["no/where:1"]);
        assert_eq!(self.acked().await, "ClusterLoadAssignment -no/where:1");
    }
}

/// A response as `KIND +name -name`.
pub fn text(response: &DeltaDiscoveryResponse) -> String {
    let mut text = ResourceKind::from_type_url(&response.type_url).unwrap().name().to_owned();
    response.resources.iter().for_each(|resource| text += &format!(" +{}", resource.name));
    response.removed_resources.iter().for_each(|name| text += &format!(" -{name}"));
    text
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
