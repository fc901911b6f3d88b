//! `weft.status.v1`: the connected proxies with what they hold, and the registry's faults.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tonic::{Request, Response, Status};
use weft_api::status as api;
use weft_api::status::status_server::Status as StatusApi;

use crate::registry::Fault;
use crate::xds::{HeldResource, Publisher, Subscriber};

/// `weft.status.v1.Status`
#[derive(Clone)]
pub struct StatusService {
    publisher: Arc<Publisher>,
    faults: watch::Receiver<Arc<Vec<Fault>>>,
}

impl StatusService {
    /// The status of a publisher's streams and of a registry.
    pub fn new(publisher: Arc<Publisher>, faults: watch::Receiver<Arc<Vec<Fault>>>) -> Self {
        Self { publisher, faults }
    }
}

#[tonic::async_trait]
impl StatusApi for StatusService {
    async fn list_proxies(
        &self,
        request: Request<api::ListProxiesRequest>,
    ) -> Result<Response<api::ListProxiesResponse>, Status> {
        let (publisher, namespace) = (Arc::clone(&self.publisher), request.into_inner().namespace);
        // Thousands of proxies with tens of resources each take a while to look up.
        let listed = tokio::task::spawn_blocking(move || list_proxies(&publisher, &namespace)).await;
        let proxies = listed.map_err(|error| Status::internal(format!("the proxies could not be listed: {error}")))?;
        Ok(Response::new(api::ListProxiesResponse { proxies }))
    }

    async fn list_faults(
        &self,
        _request: Request<api::ListFaultsRequest>,
    ) -> Result<Response<api::ListFaultsResponse>, Status> {
        let faults = Arc::clone(&self.faults.borrow());
        let fault = |fault: &Fault| api::Fault {
            file: fault.file.clone(),
            line: fault.line,
            field: fault.field.clone(),
            message: fault.message.clone(),
        };
        Ok(Response::new(api::ListFaultsResponse { faults: faults.iter().map(fault).collect() }))
    }
}

fn list_proxies(publisher: &Publisher, namespace: &str) -> Vec<api::Proxy> {
    let now = Instant::now();
    let mut subscribers = publisher.subscribers();
    subscribers.retain(|subscriber| namespace.is_empty() || subscriber.node().namespace == namespace);
    let mut proxies: Vec<_> = subscribers.iter().map(|subscriber| proxy(publisher, subscriber, now)).collect();
    proxies.sort_by(|a, b| a.node.cmp(&b.node));
    proxies
}

fn proxy(publisher: &Publisher, subscriber: &Subscriber, now: Instant) -> api::Proxy {
    let reported = subscriber.reported();
    let resources = subscriber.resources();
    api::Proxy {
        node: subscriber.to_string(),
        identity: subscriber.identity().to_string(),
        version: reported.version,
        connected_seconds: (now - subscriber.connected()).as_secs(),
        certificate_expires: reported.certificate_expires,
        resources: resources.iter().map(|held| resource(publisher, subscriber, held, now)).collect(),
    }
}

fn resource(publisher: &Publisher, subscriber: &Subscriber, held: &HeldResource, now: Instant) -> api::Resource {
    let wanted = publisher.resource(held.kind, &held.name, subscriber.node());
    let wanted = wanted.map_or_else(String::new, |resource| resource.version.clone());
    let acked = held.acked.as_ref().map_or("", |(version, _)| version);
    let stale = if acked == wanted {
        0
    } else {
        // 0 stands for 'in sync', so that a part of a second is one.
        held.behind_since.map_or(1, |since| now.saturating_duration_since(since).as_secs().max(1))
    };
    let refused = held.refused.as_ref().filter(|(version, _)| **version == *wanted);
    api::Resource {
        kind: held.kind.name().to_owned(),
        name: held.name.to_string(),
        acked_version: acked.to_owned(),
        stale_seconds: stale,
        error: refused.map_or_else(String::new, |(_, error)| error.to_string()),
        age_seconds: held.acked.as_ref().map_or(0, |(_, at)| now.saturating_duration_since(*at).as_secs()),
        wanted_version: wanted,
    }
}
