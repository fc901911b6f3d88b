//! The calls about shifts, and the audit trail.

use std::sync::Arc;

use futures::stream;
use weft_api::traffic as api;
use weft_api::traffic::shift::State;

use super::*;
use crate::traffic::shift::audit;
use crate::traffic::shift::driver::{CommandError, Shifts};
use crate::traffic::store::MAX_AUDIT;

impl Traffic {
    /// Begins a shift; its first step is durable when this returns.
    ///
    /// # Errors
    /// As in `traffic.proto`.
    pub async fn start(&self, request: api::StartShiftRequest, caller: &Caller) -> Result<api::Shift, TrafficError> {
        let service = validate::service_name(&request.namespace, &request.service);
        let current = service.ok().and_then(|service| self.store.splits().get(&service).cloned());
        let (before, version) = match &current {
            Some(record) => (Some(record.split.backends.as_slice()), record.split.version),
            None => (None, 0),
        };
        let plan = validate::shift(&self.publisher.mesh(), before, &request)?;
        let (shifter, author, service) = (Arc::clone(&self.shifter), author(caller), plan.service.clone());
        let started = tokio::task::spawn_blocking(move || shifter.start(plan, version, &author)).await;
        let started = started.unwrap_or_else(|error| Err(StoreError::Interrupted(error)));
        started.map(Arc::unwrap_or_clone).map_err(|error| TrafficError::from_store(&service, error))
    }

    /// # Errors
    /// As in `traffic.proto`.
    pub fn shift(&self, request: &api::ShiftRequest) -> Result<api::Shift, TrafficError> {
        let service = validate::service_name(&request.namespace, &request.service)?;
        let shifts = self.shifter.subscribe();
        let shift = shifts.borrow().get(&service).cloned();
        shift.map(Arc::unwrap_or_clone).ok_or(TrafficError::NoShift(service))
    }

    /// The latest shift of each Service of a namespace, or with an empty name of all.
    ///
    /// # Errors
    /// When the name of the namespace can be none.
    pub fn shifts(&self, namespace: &str) -> Result<Vec<api::Shift>, TrafficError> {
        validate::namespace_filter(namespace)?;
        let shifts = Arc::clone(&self.shifter.subscribe().borrow());
        let of_namespace = shifts.values().filter(|shift| namespace.is_empty() || shift.namespace == namespace);
        Ok(of_namespace.map(|shift| api::Shift::clone(shift)).collect())
    }

    /// Does what a person says to a shift; durable when this returns.
    ///
    /// # Errors
    /// As in `traffic.proto`.
    pub async fn command(
        &self,
        request: &api::ShiftRequest,
        command: Command,
        caller: &Caller,
    ) -> Result<api::Shift, TrafficError> {
        let service = validate::service_name(&request.namespace, &request.service)?;
        let (shifter, author, key) = (Arc::clone(&self.shifter), author(caller), service.clone());
        let done = tokio::task::spawn_blocking(move || shifter.command(&key, command, &author)).await;
        match done.unwrap_or_else(|error| Err(StoreError::Interrupted(error).into())) {
            Ok(shift) => Ok(Arc::unwrap_or_clone(shift)),
            Err(CommandError::None) => Err(TrafficError::NoShift(service)),
            Err(CommandError::Refused(reason)) => Err(TrafficError::NotNow { service, reason }),
            Err(CommandError::Store(error)) => Err(TrafficError::from_store(&service, error)),
        }
    }

    pub(super) async fn commanded(
        &self,
        request: Request<api::ShiftRequest>,
        command: Command,
    ) -> Result<Response<api::Shift>, Status> {
        let caller = Caller::of(request.extensions());
        Ok(Response::new(self.command(request.get_ref(), command, &caller).await?))
    }

    /// The shift of a Service as it is, then each time that something differs, until it has ended.
    ///
    /// # Errors
    /// As in `traffic.proto`.
    pub fn follow(
        &self,
        request: &api::ShiftRequest,
    ) -> Result<impl Stream<Item = api::Shift> + Send + 'static + use<>, TrafficError> {
        let service = validate::service_name(&request.namespace, &request.service)?;
        let board = self.shifter.subscribe();
        if !board.borrow().contains_key(&service) {
            return Err(TrafficError::NoShift(service));
        }
        let ended = self.shutdown.clone().cancelled_owned();
        Ok(changes(board, service).take_until(ended))
    }

    /// What was done to a Service's traffic, the latest first.
    ///
    /// # Errors
    /// When a name can be none, or the store fails.
    pub async fn audit(&self, request: api::ListAuditRequest) -> Result<Vec<api::AuditEntry>, TrafficError> {
        let service = validate::service_name(&request.namespace, &request.service)?;
        let most = usize::try_from(MAX_AUDIT).unwrap_or(usize::MAX);
        let limit = usize::try_from(request.limit).unwrap_or(most);
        let limit = if limit == 0 { most } else { limit };
        let entries = self.write(&service, move |store, service| store.audit(service, limit)).await?;
        Ok(entries.iter().map(audit).collect())
    }
}

/// What a watcher was told of a shift, which it is told of until it has ended.
struct Watcher {
    board: watch::Receiver<Arc<Shifts>>,
    service: ObjectName,
    told: Option<Arc<api::Shift>>,
}

fn changes(
    board: watch::Receiver<Arc<Shifts>>,
    service: ObjectName,
) -> impl Stream<Item = api::Shift> + Send + 'static {
    let watcher = Watcher { board, service, told: None };
    stream::unfold(watcher, |mut watcher| async {
        loop {
            let ended =
                |shift: &Arc<api::Shift>| matches!(shift.state(), State::RolledBack | State::Promoted | State::Failed);
            if watcher.told.as_ref().is_some_and(ended) {
                return None;
            }
            let current = watcher.board.borrow_and_update().get(&watcher.service).cloned()?;
            if watcher.told.as_ref() != Some(&current) {
                watcher.told = Some(Arc::clone(&current));
                return Some((Arc::unwrap_or_clone(current), watcher));
            }
            watcher.board.changed().await.ok()?;
        }
    })
}
