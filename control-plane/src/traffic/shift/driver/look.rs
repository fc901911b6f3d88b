//! What is seen of shifts, and what watchers are shown of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use weft_api::traffic as api;
use weft_api::xds::ResourceKind;

use super::{HOLDERS, Shift, Shifter, Shifts};
use crate::load::{Loads, Tally};
use crate::mesh::ObjectName;
use crate::traffic::rollout;
use crate::traffic::shift::{Plan, describe};
use crate::xds::Publisher;

impl Shifter {
    /// Looks at what proxies hold and report.
    pub(super) fn look(&self, shift: &mut Shift, now: Instant) {
        let machine = &shift.stored.machine;
        let service = &machine.plan.service;
        shift.own.written = machine.version;
        shift.own.version = self.stored_version(service);
        shift.own.rollout = rollout::of_version(&self.publisher, service, machine.version);
        if let Some(tally) = &shift.tally {
            let clusters = clusters(&self.publisher, &machine.plan);
            shift.own.figures = tally.figures();
            shift.own.recent = self.loads.recent(&clusters, tally.began(), now);
        }
        let known = shift.holders.take().filter(|(at, _)| now.saturating_duration_since(*at) < HOLDERS);
        let (at, holders) = known.unwrap_or_else(|| (now, holders(&self.publisher, service)));
        shift.own.reporting = self.loads.reporting(&holders, now);
        shift.holders = Some((at, holders));
        let all = match &self.peers {
            Some(peers) => peers.all(service, &shift.own),
            None => shift.own.clone(),
        };
        // What it was judged by stays to be seen.
        let judged = if shift.tally.is_none() { Some(std::mem::take(&mut shift.seen.figures)) } else { None };
        shift.seen = all;
        if let Some(judged) = judged {
            shift.seen.figures = judged;
        }
    }

    pub(super) fn stored_version(&self, service: &ObjectName) -> u64 {
        self.store.splits().get(service).map_or(0, |record| record.split.version)
    }

    /// Shows watchers how the shifts stand.
    pub(super) fn show(&self, shifts: &BTreeMap<ObjectName, Shift>) {
        let now = Instant::now();
        let mut shown = Shifts::new();
        let known = Arc::clone(&self.board.borrow());
        for (service, shift) in shifts {
            let seen = &shift.seen;
            let new = describe::shift(&shift.stored, &seen.figures, seen.reporting, seen.rollout.clone(), now);
            let same = known.get(service).filter(|known| ***known == new);
            shown.insert(service.clone(), same.cloned().unwrap_or_else(|| Arc::new(new)));
        }
        self.board.send_if_modified(|board| {
            let differs = **board != shown;
            if differs {
                *board = Arc::new(shown);
            }
            differs
        });
    }

    pub(super) fn shown(&self, shifts: &BTreeMap<ObjectName, Shift>, service: &ObjectName) -> Arc<api::Shift> {
        self.show(shifts);
        self.board.borrow().get(service).cloned().unwrap_or_default()
    }
}

pub(super) fn tally(publisher: &Publisher, loads: &Arc<Loads>, plan: &Plan) -> Tally {
    loads.tally(clusters(publisher, plan))
}

/// The clusters of the backend, one for each port of the Service.
fn clusters(publisher: &Publisher, plan: &Plan) -> Vec<Arc<str>> {
    let mesh = publisher.mesh();
    let service = mesh.service(&plan.service.namespace, &plan.service.name);
    let ports = service.map(|service| service.ports.iter().map(|port| port.number)).into_iter().flatten();
    let name = |port| format!("{}/{}:{}", plan.service.namespace, plan.to, plan.port.unwrap_or(port)).into();
    let mut clusters: Vec<Arc<str>> = ports.map(name).collect();
    clusters.dedup();
    clusters
}

/// The pods whose proxies hold a Service's routes.
fn holders(publisher: &Publisher, service: &ObjectName) -> Vec<ObjectName> {
    let prefix = format!("{service}:");
    let holds = |subscriber: &crate::xds::Subscriber| {
        let mut resources = subscriber.resources().into_iter();
        resources.any(|held| held.kind == ResourceKind::RouteConfiguration && held.name.starts_with(&prefix))
    };
    let subscribers = publisher.subscribers();
    let holders = subscribers.iter().filter(|subscriber| holds(subscriber));
    let mut pods: Vec<_> = holders
        .map(|subscriber| ObjectName::new(subscriber.node().namespace.as_str(), subscriber.node().pod.as_str()))
        .collect();
    pods.sort_unstable();
    pods.dedup();
    pods
}
