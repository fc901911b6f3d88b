//! Keeps what is known up to date with the cluster.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::Api;
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;

use super::route::SPLIT_LABEL;
use super::write::{at, read_route};
use super::{ClusterStore, State, record, route};
use crate::mesh::ObjectName;

/// How long a split that became a route by hand stays one: until the registry has the route.
const LINGER: Duration = Duration::from_secs(1);

/// The two watches.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Route,
    Record,
}

impl ClusterStore {
    /// Follows the cluster until it is dropped. `synced` tells when everything was read once.
    pub async fn follow(self: Arc<Self>, synced: watch::Sender<bool>) {
        let (routes, records) = (watch::Sender::new(false), watch::Sender::new(false));
        let (mut routes_read, mut records_read) = (routes.subscribe(), records.subscribe());
        let both = async {
            while routes_read.wait_for(|read| *read).await.is_err() {}
            while records_read.wait_for(|read| *read).await.is_err() {}
            synced.send_replace(true);
            std::future::pending::<()>().await
        };
        tokio::join!(self.watch(Kind::Route, &routes), self.watch(Kind::Record, &records), both);
    }

    async fn watch(self: &Arc<Self>, kind: Kind, read: &watch::Sender<bool>) {
        let resource = kind.resource();
        let config = match kind {
            Kind::Route => watcher::Config::default().labels(SPLIT_LABEL),
            Kind::Record => watcher::Config::default(),
        };
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let mut events = watcher::watcher(api, config).default_backoff().into_stream().boxed();
        loop {
            match events.try_next().await {
                Ok(Some(event)) => {
                    let done = matches!(event, Event::InitDone);
                    self.take(kind, event);
                    if done {
                        read.send_replace(true);
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(kind = %resource.kind, error, "a watch broke; what is known stays in force");
                    if !*read.borrow() && is_missing(error) {
                        // The CRD is not installed: there are none.
                        read.send_replace(true);
                    }
                }
            }
        }
    }

    fn take(self: &Arc<Self>, kind: Kind, event: Event<DynamicObject>) {
        let mut state = self.state.lock();
        match event {
            Event::Init => state.list(kind),
            Event::InitDone => state.end_list(kind),
            Event::Apply(object) | Event::InitApply(object) => {
                if let Some(foreign) = state.take(kind, &object) {
                    let store = Arc::clone(self);
                    tokio::spawn(async move {
                        tokio::time::sleep(LINGER).await;
                        store.drop_route(&foreign, &object);
                    });
                }
            }
            Event::Delete(object) => {
                if let Some(service) = kind.service(&object) {
                    let uid = object.metadata.uid.unwrap_or_default();
                    match kind {
                        Kind::Route => state.routes.deleted(&service, &uid),
                        Kind::Record => state.records.deleted(&service, &uid),
                    }
                }
            }
        }
        self.publish(&state);
    }

    fn drop_route(&self, service: &ObjectName, object: &DynamicObject) {
        let mut state = self.state.lock();
        let (uid, seen) = (object.metadata.uid.as_deref().unwrap_or_default(), at(object).resource_version);
        if state.routes.get(service).is_some_and(|known| is_before(&known.resource_version, &seen)) {
            state.routes.deleted(service, uid);
            self.publish(&state);
        }
    }
}

impl State {
    fn list(&mut self, kind: Kind) {
        match kind {
            Kind::Route => self.routes.list(),
            Kind::Record => self.records.list(),
        }
    }

    fn end_list(&mut self, kind: Kind) {
        match kind {
            Kind::Route => self.routes.end_list(),
            Kind::Record => self.records.end_list(),
        }
    }

    /// Takes an object in. Returns the Service whose split it was and is no more, for somebody made more of the route.
    fn take(&mut self, kind: Kind, object: &DynamicObject) -> Option<ObjectName> {
        let service = kind.service(object)?;
        match kind {
            Kind::Record => self.learn_record(&service, object),
            Kind::Route => match read_route(object) {
                Ok(route) => self.learn_route(route),
                Err(why) => {
                    tracing::info!(%service, why = why.0, "a split's HTTPRoute is a route like others now");
                    return self.routes.get(&service).map(|_| service);
                }
            },
        }
        None
    }
}

impl Kind {
    fn resource(self) -> ApiResource {
        match self {
            Self::Route => route::api_resource(),
            Self::Record => record::api_resource(),
        }
    }

    /// The Service that an object is about.
    fn service(self, object: &DynamicObject) -> Option<ObjectName> {
        let namespace = object.metadata.namespace.as_deref()?;
        let name = object.metadata.name.as_deref()?;
        match self {
            Self::Route => Some(ObjectName::new(namespace, name.strip_prefix("weft-")?)),
            Self::Record => Some(ObjectName::new(namespace, name)),
        }
    }
}

fn is_before(known: &str, seen: &str) -> bool {
    match (known.parse::<u64>(), seen.parse::<u64>()) {
        (Ok(known), Ok(seen)) => known < seen,
        _ => known != seen,
    }
}

/// Whether the API server does not know the kind.
fn is_missing(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if matches!(error.downcast_ref(), Some(kube::Error::Api(status)) if status.is_not_found()) {
            return true;
        }
        next = error.source();
    }
    false
}
