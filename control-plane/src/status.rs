//! `weft.status.v1`: the connected proxies with what they hold and what they report, and the registry's faults.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tonic::{Request, Response, Status};
use weft_api::status as api;
use weft_api::status::status_server::Status as StatusApi;

use crate::load::{Conditions, Loads};
use crate::mesh::ObjectName;
use crate::registry::{Fault, Origins};
use crate::xds::{HeldResource, Publisher, Subscriber};

mod configuration;

/// `weft.status.v1.Status`
#[derive(Clone)]
pub struct StatusService {
    publisher: Arc<Publisher>,
    loads: Arc<Loads>,
    faults: watch::Receiver<Arc<Vec<Fault>>>,
    origins: watch::Receiver<Arc<Origins>>,
}

impl StatusService {
    /// The status of a publisher's streams, of what they report, and of a registry.
    pub fn new(
        publisher: Arc<Publisher>,
        loads: Arc<Loads>,
        faults: watch::Receiver<Arc<Vec<Fault>>>,
        origins: watch::Receiver<Arc<Origins>>,
    ) -> Self {
        Self { publisher, loads, faults, origins }
    }
}

#[tonic::async_trait]
impl StatusApi for StatusService {
    async fn list_proxies(
        &self,
        request: Request<api::ListProxiesRequest>,
    ) -> Result<Response<api::ListProxiesResponse>, Status> {
        let (publisher, namespace) = (Arc::clone(&self.publisher), request.into_inner().namespace);
        let conditions = self.loads.conditions();
        // Thousands of proxies with tens of resources each take a while to look up.
        let listed = tokio::task::spawn_blocking(move || list_proxies(&publisher, &conditions, &namespace)).await;
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

    async fn get_configuration(
        &self,
        request: Request<api::GetConfigurationRequest>,
    ) -> Result<Response<api::Configuration>, Status> {
        let (service, request) = (self.clone(), request.into_inner());
        let looked_up = tokio::task::spawn_blocking(move || service.configuration(&request)).await;
        let failed = |error| Status::internal(format!("the configuration could not be looked up: {error}"));
        looked_up.map_err(failed)?.map(Response::new)
    }
}

fn list_proxies(
    publisher: &Publisher,
    conditions: &HashMap<ObjectName, Arc<Conditions>>,
    namespace: &str,
) -> Vec<api::Proxy> {
    let now = Instant::now();
    let mut subscribers = publisher.subscribers();
    subscribers.retain(|subscriber| namespace.is_empty() || subscriber.node().namespace == namespace);
    let mut proxies: Vec<_> =
        subscribers.iter().map(|subscriber| proxy(publisher, conditions, subscriber, now)).collect();
    proxies.sort_by(|a, b| a.node.cmp(&b.node));
    proxies
}

fn proxy(
    publisher: &Publisher,
    conditions: &HashMap<ObjectName, Arc<Conditions>>,
    subscriber: &Subscriber,
    now: Instant,
) -> api::Proxy {
    let reported = subscriber.reported();
    let node = subscriber.node();
    let pod = ObjectName::new(node.namespace.as_str(), node.pod.as_str());
    let (ejected, open_breakers) = conditions.get(&pod).map(|seen| unused(seen)).unwrap_or_default();
    let resources = subscriber.resources();
    api::Proxy {
        node: subscriber.to_string(),
        identity: subscriber.identity().to_string(),
        version: reported.version,
        connected_seconds: (now - subscriber.connected()).as_secs(),
        certificate_expires: reported.certificate_expires,
        resources: resources.iter().map(|held| resource(publisher, subscriber, held, now)).collect(),
        ejected,
        open_breakers,
    }
}

/// What a proxy does not use.
fn unused(conditions: &Conditions) -> (Vec<api::EjectedEndpoint>, Vec<api::OpenBreaker>) {
    let ejected = conditions.ejected.iter().map(|ejected| api::EjectedEndpoint {
        cluster: ejected.cluster.to_string(),
        address: ejected.address.to_string(),
        seconds_left: ejected.left.as_secs(),
    });
    let open = conditions
        .breakers
        .iter()
        .map(|breaker| api::OpenBreaker { cluster: breaker.cluster.to_string(), which: breaker.which.clone() });
    (ejected.collect(), open.collect())
}

fn resource(publisher: &Publisher, subscriber: &Subscriber, held: &HeldResource, now: Instant) -> api::Resource {
    let wanted = publisher.resource(held.kind, &held.name, subscriber.node());
    let wanted = wanted.map_or_else(String::new, |resource| resource.version.to_string());
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
