//! The connection to the control plane's API.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use weft_api::status::status_client::StatusClient;
use weft_api::traffic::traffic_client::TrafficClient;

use crate::args::{Global, Server};
use crate::cluster::{self, Cluster, Replica};
use crate::failure::{Failure, Target};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// A channel that adds the credential to each call.
pub(crate) type Authorized = InterceptedService<Channel, Credential>;

/// The API's clients over one connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// `weft.traffic.v1.Traffic`.
    pub(crate) traffic: TrafficClient<Authorized>,
    /// `weft.status.v1.Status`.
    pub(crate) status: StatusClient<Authorized>,
    place: Place,
}

/// Where the API is.
#[derive(Clone, Debug)]
enum Place {
    /// At an address.
    Server(Server),
    /// In a pod, through a forwarded port.
    Replica(Replica),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(server) => server.fmt(f),
            Self::Replica(replica) => replica.fmt(f),
        }
    }
}

impl Client {
    /// Connects as the global options say; in a cluster to any replica.
    pub(crate) async fn connect(global: &Global) -> anyhow::Result<Self> {
        let mut all = Self::connect_up_to(global, 1).await?;
        all.pop().ok_or_else(|| Failure::new("there is no control plane").into())
    }

    /// Connects to all replicas: each has proxies of its own.
    pub(crate) async fn connect_all(global: &Global) -> anyhow::Result<Vec<Self>> {
        Self::connect_up_to(global, usize::MAX).await
    }

    async fn connect_up_to(global: &Global, most: usize) -> anyhow::Result<Vec<Self>> {
        let credential = Credential::load(global.token_file.as_deref())?;
        if global.server.is_none() && cluster::is_configured(global) {
            let cluster = Cluster::connect(global).await?;
            let mut clients = Vec::new();
            for replica in cluster.replicas().await?.into_iter().take(most) {
                let channel = cluster.channel(&replica).await?;
                clients.push(Self::over(channel, credential.clone(), Place::Replica(replica)));
            }
            return Ok(clients);
        }
        let server = global.server.clone().unwrap_or_default();
        Ok(vec![Self::connect_with(&server, credential).await?])
    }

    async fn connect_with(server: &Server, credential: Credential) -> anyhow::Result<Self> {
        let channel = Endpoint::from(server.uri().clone())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .connect()
            .await
            .map_err(|error| Failure::unreachable(&error, server))?;
        Ok(Self::over(channel, credential, Place::Server(server.clone())))
    }

    fn over(channel: Channel, credential: Credential, place: Place) -> Self {
        Self {
            traffic: TrafficClient::with_interceptor(channel.clone(), credential.clone()),
            status: StatusClient::with_interceptor(channel, credential),
            place,
        }
    }

    /// Turns a call's status into what people see.
    pub(crate) fn failure(&self, status: &Status, target: Option<Target<'_>>) -> Failure {
        Failure::from_status(status, &self.place, target)
    }
}

/// The bearer token of the API, where there is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credential(Option<MetadataValue<Ascii>>);

impl Credential {
    fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        let token =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the token file {}", path.display()))?;
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.trim())
            .parse()
            .with_context(|| format!("the token in {} has characters that a header cannot hold", path.display()))?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}
