use std::pin::Pin;

use prost::Name;
use tokio::net::TcpListener;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};
use weft_api::xds;
use weft_api::xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use weft_api::xds::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse, Resource};
use weft_api::xds::pb::google::protobuf::value::Kind;

use super::*;
use crate::discovery::testing::*;

const API: &str = "10.96.0.10:80";
const SERVICE: &str = "shop/api:80";

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Hands each stream to the test.
struct Ads(mpsc::Sender<ServerStream>);

/// The control plane's side of one stream, played by the test.
struct ServerStream {
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
    nonce: u32,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("delta only"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (responses, sent) = mpsc::channel(16);
        let stream = ServerStream { requests: request.into_inner(), responses, nonce: 0 };
        self.0.send(stream).await.map_err(|_| Status::unavailable("the test has ended"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(sent))))
    }
}

impl ServerStream {
    async fn request(&mut self) -> DeltaDiscoveryRequest {
        self.requests.next().await.unwrap().unwrap()
    }

    /// The next request that subscribes to something.
    async fn subscription(&mut self) -> DeltaDiscoveryRequest {
        loop {
            let request = self.request().await;
            if !request.resource_names_subscribe.is_empty() {
                return request;
            }
        }
    }

    /// The ACK or NACK of what was sent last.
    async fn acknowledgement(&mut self) -> DeltaDiscoveryRequest {
        loop {
            let request = self.request().await;
            if request.response_nonce == self.nonce.to_string() {
                return request;
            }
        }
    }

    async fn send<M: prost::Message + Name>(&mut self, name: &str, version: &str, message: &M) {
        let any = xds::pack(message);
        let type_url = any.type_url.clone();
        self.respond(type_url, vec![resource(name, version, any)], Vec::new()).await;
    }

    async fn respond(&mut self, type_url: String, resources: Vec<Resource>, removed_resources: Vec<String>) {
        self.nonce += 1;
        let nonce = self.nonce.to_string();
        let response = DeltaDiscoveryResponse { type_url, resources, removed_resources, nonce, ..Default::default() };
        self.responses.send(Ok(response)).await.unwrap();
    }

    /// All that the service needs, in the order in which it is asked for.
    async fn send_service(&mut self) {
        self.send(API, "l1", &http_listener(API, SERVICE)).await;
        self.send(SERVICE, "r1", &routes(SERVICE, vec![route(prefix("/"), &[(SERVICE, 1)])])).await;
        assert_eq!(self.subscription_to(ResourceKind::Cluster).await, [SERVICE]);
        self.send(SERVICE, "c1", &eds_cluster(SERVICE)).await;
        assert_eq!(self.subscription_to(ResourceKind::ClusterLoadAssignment).await, [SERVICE]);
        self.send(SERVICE, "e1", &assignment(SERVICE, &[("10.1.0.1", 8080)])).await;
    }

    async fn subscription_to(&mut self, kind: ResourceKind) -> Vec<String> {
        loop {
            let request = self.subscription().await;
            if request.type_url == kind.type_url() {
                return request.resource_names_subscribe;
            }
            if request.type_url == ResourceKind::RouteConfiguration.type_url() {
                continue;
            }
            assert_eq!(request.type_url, ResourceKind::Listener.type_url());
        }
    }
}

/// A client with a control plane that the test plays.
struct World {
    directory: Directory,
    streams: mpsc::Receiver<ServerStream>,
    expires: watch::Sender<SystemTime>,
    _tasks: JoinSet<()>,
}

impl World {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (streams, received) = mpsc::channel(4);
        let mut tasks = JoinSet::new();
        let server =
            tonic::transport::Server::builder().add_service(AggregatedDiscoveryServiceServer::new(Ads(streams)));
        tasks.spawn(async move { server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap() });
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        let settings = Settings::new("api-0.shop".to_owned(), Duration::from_secs(20));
        let (directory, client) = Client::new(settings);
        let expires = watch::Sender::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let resolver = Err("no resolver in this test".to_owned());
        tasks.spawn(client.run_with(channel, expires.subscribe(), resolver));
        Self { directory, streams: received, expires, _tasks: tasks }
    }

    async fn stream(&mut self) -> ServerStream {
        self.streams.recv().await.unwrap()
    }

    /// Asks for an address, as a connection would.
    fn ask(&self, dialled: &str) -> tokio::task::JoinHandle<Answer> {
        let (directory, dialled) = (self.directory.clone(), dialled.parse().unwrap());
        tokio::spawn(async move { directory.destination(dialled).await })
    }
}

#[tokio::test]
async fn a_destination_is_subscribed_to_by_name_and_found() {
    let mut world = World::start().await;
    let mut stream = world.stream().await;
    let first = stream.request().await;
    assert_eq!(first.node.as_ref().unwrap().id, "api-0.shop");
    assert_eq!(first.resource_names_subscribe, ["inbound"]);

    let asked = world.ask(API);
    assert_eq!(stream.subscription().await.resource_names_subscribe, [API]);
    stream.send_service().await;
    let ack = stream.acknowledgement().await;
    assert!(ack.error_detail.is_none());
    let Answer::Known(destination) = asked.await.unwrap() else { panic!("not known") };
    assert_eq!(destination.traffic().service.as_ref(), SERVICE);
    assert!(world.directory.counts().connected);
    assert_eq!(world.directory.resources().await.len(), 5);
}

#[tokio::test]
async fn what_does_not_exist_is_unknown() {
    let mut world = World::start().await;
    let mut stream = world.stream().await;
    let asked = world.ask(API);
    while stream.subscription().await.resource_names_subscribe != [API] {}
    stream.respond(ResourceKind::Listener.type_url().to_owned(), Vec::new(), vec![API.to_owned()]).await;
    assert!(matches!(asked.await.unwrap(), Answer::Unknown));
    assert!(matches!(world.ask(API).await.unwrap(), Answer::Unknown));
}

#[tokio::test]
async fn a_bad_resource_is_nacked_with_its_name_and_field() {
    let mut world = World::start().await;
    let mut stream = world.stream().await;
    let asked = world.ask(API);
    while stream.subscription().await.resource_names_subscribe != [API] {}
    stream.send(API, "bad", &xds::Listener { name: API.to_owned(), ..Default::default() }).await;
    let nack = stream.acknowledgement().await;
    assert_eq!(nack.type_url, ResourceKind::Listener.type_url());
    let detail = nack.error_detail.unwrap().message;
    assert!(detail.contains(API) && detail.contains("filter_chains: "), "{detail}");
    assert!(matches!(asked.await.unwrap(), Answer::Unavailable), "nobody should wait for the time-out");
    assert_eq!(world.directory.counts().refused_resources, 1);
}

#[tokio::test]
async fn after_a_reconnect_only_what_differs_need_be_sent() {
    let mut world = World::start().await;
    let mut stream = world.stream().await;
    let asked = world.ask(API);
    while stream.subscription().await.resource_names_subscribe != [API] {}
    stream.send_service().await;
    assert!(matches!(asked.await.unwrap(), Answer::Known(_)));
    drop(stream);

    let mut stream = world.stream().await;
    assert!(matches!(world.ask(API).await.unwrap(), Answer::Known(_)), "what is held stays in force");
    let mut versions = HashMap::new();
    let mut node = None;
    for _ in ResourceKind::ALL {
        let request = stream.request().await;
        node = node.or(request.node);
        versions
            .extend(request.initial_resource_versions.into_values().map(|version| (version, request.type_url.clone())));
    }
    assert_eq!(node.unwrap().id, "api-0.shop");
    let kinds: Vec<_> = ["l1", "r1", "c1", "e1"].iter().map(|version| versions[*version].as_str()).collect();
    assert_eq!(kinds, ResourceKind::ALL.map(ResourceKind::type_url));

    let Answer::Known(destination) = world.ask(API).await.unwrap() else { panic!("not known") };
    let before = destination.traffic().clone();
    stream.send(SERVICE, "e2", &assignment(SERVICE, &[("10.1.0.2", 8080)])).await;
    assert!(stream.acknowledgement().await.error_detail.is_none());
    assert!(Arc::ptr_eq(&before, &destination.traffic()));
}

#[tokio::test]
async fn a_destination_asked_for_while_disconnected_is_found_after_the_reconnect() {
    let mut world = World::start().await;
    let mut stream = world.stream().await;
    stream.request().await;
    drop(stream);
    let asked = world.ask(API);
    let mut stream = world.stream().await;
    let mut names = Vec::new();
    while !names.contains(&API.to_owned()) {
        names.extend(stream.subscription().await.resource_names_subscribe);
    }
    stream.send_service().await;
    assert!(matches!(asked.await.unwrap(), Answer::Known(_)));
}

#[tokio::test]
async fn a_renewed_certificate_is_told() {
    let mut world = World::start().await;
    let mut stream = world.stream().await;
    stream.request().await;
    world.expires.send_replace(SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000));
    let told = stream.request().await;
    let fields = told.node.unwrap().metadata.unwrap().fields;
    assert_eq!(fields["certificate_expires"].kind, Some(Kind::NumberValue(1_900_000_000.0)));
    assert!(told.resource_names_subscribe.is_empty());
}

#[tokio::test]
async fn a_response_of_a_kind_that_nobody_asked_for_is_nacked() {
    let mut world = World::start().await;
    let mut stream = world.stream().await;
    stream.request().await;
    stream.respond("type.googleapis.com/other".to_owned(), Vec::new(), Vec::new()).await;
    assert!(stream.acknowledgement().await.error_detail.unwrap().message.contains("never subscribed"));
}
