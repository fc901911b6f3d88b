//! The connection to the control plane's API.

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
    server: Server,
}

impl Client {
    /// Connects as the global options say.
    pub(crate) async fn connect(global: &Global) -> anyhow::Result<Self> {
        let credential = Credential::load(global.token_file.as_deref())?;
        Self::connect_with(&global.server, credential).await
    }

    async fn connect_with(server: &Server, credential: Credential) -> anyhow::Result<Self> {
        let channel = Endpoint::from(server.uri().clone())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .connect()
            .await
            .map_err(|error| Failure::unreachable(&error, server))?;
        Ok(Self {
            traffic: TrafficClient::with_interceptor(channel.clone(), credential.clone()),
            status: StatusClient::with_interceptor(channel, credential),
            server: server.clone(),
        })
    }

    /// Turns a call's status into what people see.
    pub(crate) fn failure(&self, status: &Status, target: Option<Target<'_>>) -> Failure {
        Failure::from_status(status, &self.server, target)
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
