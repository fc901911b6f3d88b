//! What the leader does beside: it finishes what a writer that died began, and notes what people edit.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::ClusterStore;
use super::objects::{Failure, Manner};
use super::record::{Pending, Status, split_backends};
use super::route::NewRoute;
use super::write::{Found, GRACE};
use crate::leading::Leading;
use crate::mesh::ObjectName;
use crate::traffic::store::{AuditEntry, StoreError, damaged};

/// How often the leader looks.
const TICK: Duration = Duration::from_secs(1);

impl ClusterStore {
    /// Keeps the records in order while this replica leads, until the task is dropped.
    pub async fn keep(self: Arc<Self>, leading: Leading) {
        loop {
            tokio::time::sleep(TICK).await;
            if !leading.now() {
                continue;
            }
            for service in self.disorder() {
                if let Err(error) = self.put_in_order(&service).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(%service, error, "a TrafficShift could not be put in order; trying again");
                }
            }
        }
    }

    /// The Services with a write that is due for long, or a split that was edited by hand.
    fn disorder(&self) -> Vec<ObjectName> {
        let (state, now) = (self.state.lock(), SystemTime::now());
        let late = state
            .records
            .iter()
            .filter(|(_, record)| record.pending.as_ref().is_some_and(|pending| pending.is_older_than(GRACE, now)));
        let edited = state.routes.iter().filter(|(service, route)| {
            let known = state.records.get(service).map(|record| record.split_version);
            known.is_none_or(|known| known < route.version)
        });
        late.map(|(service, _)| service).chain(edited.map(|(service, _)| service)).cloned().collect()
    }

    async fn put_in_order(&self, service: &ObjectName) -> Result<(), StoreError> {
        let (record, route) = tokio::try_join!(self.record(service), self.route(service))?;
        let Some(record) = record else { return self.make_record(service).await };
        let mut status = Status::read(&record).map_err(|error| damaged(service, error))?;
        let route = self.found(service, route.as_ref());
        if let Some(pending) = status.pending.clone() {
            if !pending.is_older_than(GRACE, SystemTime::now()) {
                return Ok(());
            }
            if pending.expected == route.version() {
                self.finish(service, &route, pending).await?;
            }
            status.pending = None;
        } else if let Some(split) = route.split().filter(|split| split.version > status.split_version) {
            let (at, who) = split.written.clone();
            status.split_version = split.version;
            let from = status.audit.last().and_then(|last| last.after());
            let to = Some(split.backends.clone());
            tracing::info!(%service, %who, version = split.version, "a split was edited");
            let (action, reason, version) = ("edit".to_owned(), String::new(), split.version);
            status.note(&AuditEntry { time: at, who, action, from, to, version, reason, figures: None });
        } else {
            // What is known here is old.
            self.learn_record(service, &record);
            return Ok(());
        }
        match self.write_record(service, &status.object(&record)).await {
            Ok(record) => self.learn_record(service, &record),
            Err(Failure::Store(error)) => return Err(error),
            Err(Failure::Moved | Failure::Owned(_)) => {}
        }
        Ok(())
    }

    /// Does what a writer that died was about to do; what can't be done is left.
    async fn finish(&self, service: &ObjectName, route: &Found, pending: Pending) -> Result<(), StoreError> {
        let Pending { version, backends, take_over, .. } = pending;
        let backends = split_backends(backends);
        tracing::info!(%service, version, "a write that another replica began is finished");
        let done = match (route.split(), version) {
            (Some(split), 0) => self.delete_route(split).await,
            (None, 0) => Ok(()),
            (current, version) => {
                let ported = self.ported(service, &backends)?;
                let new = NewRoute::new(service, &ported, current, version.saturating_sub(1));
                let manner = Manner { dry_run: false, force: take_over };
                self.apply(service, &new, manner).await.map(|object| self.learn_route(&object))
            }
        };
        match done {
            Ok(()) => Ok(()),
            Err(Failure::Store(error @ StoreError::Cluster { .. })) => Err(error),
            Err(failure) => {
                tracing::warn!(%service, ?failure, "it can't be done any more; it is left");
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
