//! The calls of the traffic API, whatever form they come in, and their gRPC form.

use std::sync::Arc;
use std::time::SystemTime;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use weft_api::traffic as api;
use weft_api::traffic::traffic_server::TrafficServer;

use super::rollout::{Board, Rollouts};
use super::shift::{Command, Shifter};
use super::store::{Author, Store, StoreError};
use super::{Record, TrafficError, to_api, validate, watch as watcher};
use crate::api::Caller;
use crate::mesh::ObjectName;
use crate::xds::Publisher;

mod shifts;

/// The largest request, in bytes.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// `weft.traffic.v1.Traffic`
#[derive(Clone)]
pub struct Traffic {
    store: Arc<dyn Store>,
    publisher: Arc<Publisher>,
    rollouts: Rollouts,
    shifter: Arc<Shifter>,
    board: watch::Receiver<Arc<Board>>,
    shutdown: CancellationToken,
}

impl Traffic {
    /// The API over a store; `board` is what [`Rollouts::track`] keeps. Watches end when `shutdown` is cancelled.
    pub fn new(
        store: Arc<dyn Store>,
        publisher: Arc<Publisher>,
        rollouts: Rollouts,
        shifter: Arc<Shifter>,
        board: watch::Receiver<Arc<Board>>,
        shutdown: CancellationToken,
    ) -> Self {
        Self { store, publisher, rollouts, shifter, board, shutdown }
    }

    /// The gRPC form.
    pub fn into_server(self) -> TrafficServer<Self> {
        TrafficServer::new(self).max_decoding_message_size(MAX_REQUEST_BYTES)
    }

    /// Sets all the weights of a Service; durable when this returns.
    ///
    /// # Errors
    /// As in `traffic.proto`.
    pub async fn set(&self, request: api::SetWeightsRequest, caller: &Caller) -> Result<api::Split, TrafficError> {
        let service = validate::service_name(&request.namespace, &request.service)?;
        let backends = validate::backends(&self.publisher.mesh(), &service, &request.backends)?;
        let (expected, take_over) = (request.expected_version, request.take_over);
        let author = author(caller);
        let set = move |store: &dyn Store, service: &ObjectName| match take_over {
            true => store.take_over(service, &backends, expected, &author),
            false => store.set(service, &backends, expected, &author),
        };
        let record = self.write(&service, set).await?;
        let (version, backends) = (record.split.version, &record.split.backends);
        tracing::info!(%service, version, ?backends, take_over, "a split was set");
        Ok(self.describe(&record))
    }

    /// # Errors
    /// As in `traffic.proto`.
    pub fn get(&self, request: &api::GetSplitRequest) -> Result<api::Split, TrafficError> {
        let service = validate::service_name(&request.namespace, &request.service)?;
        let splits = self.store.splits();
        splits.get(&service).map(|record| self.describe(record)).ok_or(TrafficError::NoSplit(service))
    }

    /// All splits of a namespace, or with an empty name of all.
    ///
    /// # Errors
    /// When the name of the namespace can be none.
    pub fn list(&self, namespace: &str) -> Result<Vec<api::Split>, TrafficError> {
        validate::namespace_filter(namespace)?;
        let splits = self.store.splits();
        let of_namespace = splits.iter().filter(|(name, _)| namespace.is_empty() || *name.namespace == *namespace);
        Ok(of_namespace.map(|(_, record)| self.describe(record)).collect())
    }

    /// Takes a split away; durable when this returns.
    ///
    /// # Errors
    /// As in `traffic.proto`.
    pub async fn delete(&self, request: api::DeleteSplitRequest, caller: &Caller) -> Result<(), TrafficError> {
        let service = validate::service_name(&request.namespace, &request.service)?;
        let expected = request.expected_version;
        let author = author(caller);
        self.write(&service, move |store, service| store.delete(service, expected, &author)).await?;
        tracing::info!(%service, "a split was deleted");
        Ok(())
    }

    /// All splits of a namespace (empty: of all), then each change.
    ///
    /// # Errors
    /// When the name of the namespace can be none.
    pub fn watch(
        &self,
        namespace: String,
    ) -> Result<impl Stream<Item = api::SplitEvent> + Send + 'static + use<>, TrafficError> {
        validate::namespace_filter(&namespace)?;
        let ended = self.shutdown.clone().cancelled_owned();
        Ok(watcher::events(self.board.clone(), namespace).take_until(ended))
    }

    /// Writes on a thread that may block.
    async fn write<T: Send + 'static>(
        &self,
        service: &ObjectName,
        write: impl FnOnce(&dyn Store, &ObjectName) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, TrafficError> {
        let (store, key) = (Arc::clone(&self.store), service.clone());
        match tokio::task::spawn_blocking(move || write(&*store, &key)).await {
            Ok(written) => written.map_err(|error| TrafficError::from_store(service, error)),
            Err(error) => Err(TrafficError::from_store(service, StoreError::Interrupted(error))),
        }
    }

    fn describe(&self, record: &Record) -> api::Split {
        to_api(record, self.rollouts.of(&record.split))
    }
}

#[tonic::async_trait]
impl api::traffic_server::Traffic for Traffic {
    type WatchSplitsStream = BoxStream<'static, Result<api::SplitEvent, Status>>;

    async fn set_weights(&self, request: Request<api::SetWeightsRequest>) -> Result<Response<api::Split>, Status> {
        let caller = Caller::of(request.extensions());
        Ok(Response::new(self.set(request.into_inner(), &caller).await?))
    }

    async fn get_split(&self, request: Request<api::GetSplitRequest>) -> Result<Response<api::Split>, Status> {
        Ok(Response::new(self.get(request.get_ref())?))
    }

    async fn list_splits(
        &self,
        request: Request<api::ListSplitsRequest>,
    ) -> Result<Response<api::ListSplitsResponse>, Status> {
        Ok(Response::new(api::ListSplitsResponse { splits: self.list(&request.get_ref().namespace)? }))
    }

    async fn delete_split(
        &self,
        request: Request<api::DeleteSplitRequest>,
    ) -> Result<Response<api::DeleteSplitResponse>, Status> {
        let caller = Caller::of(request.extensions());
        self.delete(request.into_inner(), &caller).await?;
        Ok(Response::new(api::DeleteSplitResponse {}))
    }

    async fn watch_splits(
        &self,
        request: Request<api::WatchSplitsRequest>,
    ) -> Result<Response<Self::WatchSplitsStream>, Status> {
        let events = self.watch(request.into_inner().namespace)?;
        Ok(Response::new(events.map(Ok).boxed()))
    }

    type WatchShiftStream = BoxStream<'static, Result<api::Shift, Status>>;

    async fn start_shift(&self, request: Request<api::StartShiftRequest>) -> Result<Response<api::Shift>, Status> {
        let caller = Caller::of(request.extensions());
        Ok(Response::new(self.start(request.into_inner(), &caller).await?))
    }

    async fn get_shift(&self, request: Request<api::ShiftRequest>) -> Result<Response<api::Shift>, Status> {
        Ok(Response::new(self.shift(request.get_ref())?))
    }

    async fn list_shifts(
        &self,
        request: Request<api::ListShiftsRequest>,
    ) -> Result<Response<api::ListShiftsResponse>, Status> {
        Ok(Response::new(api::ListShiftsResponse { shifts: self.shifts(&request.get_ref().namespace)? }))
    }

    async fn pause_shift(&self, request: Request<api::ShiftRequest>) -> Result<Response<api::Shift>, Status> {
        self.commanded(request, Command::Pause).await
    }

    async fn resume_shift(&self, request: Request<api::ShiftRequest>) -> Result<Response<api::Shift>, Status> {
        self.commanded(request, Command::Resume).await
    }

    async fn promote_shift(&self, request: Request<api::ShiftRequest>) -> Result<Response<api::Shift>, Status> {
        self.commanded(request, Command::Promote).await
    }

    async fn abort_shift(&self, request: Request<api::ShiftRequest>) -> Result<Response<api::Shift>, Status> {
        self.commanded(request, Command::Abort).await
    }

    async fn watch_shift(
        &self,
        request: Request<api::ShiftRequest>,
    ) -> Result<Response<Self::WatchShiftStream>, Status> {
        Ok(Response::new(self.follow(request.get_ref())?.map(Ok).boxed()))
    }

    async fn list_audit(
        &self,
        request: Request<api::ListAuditRequest>,
    ) -> Result<Response<api::ListAuditResponse>, Status> {
        Ok(Response::new(api::ListAuditResponse { entries: self.audit(request.into_inner()).await? }))
    }
}

fn author(caller: &Caller) -> Author {
    Author { who: caller.to_string(), at: SystemTime::now() }
}
