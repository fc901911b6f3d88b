//! What a destination's traffic is made from.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_rules::route::Routes;
use weft_rules::weighted::Weighted;

use crate::discovery::resources::{ListenerSpec, RouteSpec};
use crate::discovery::values::{Cluster, Traffic};

/// A listener, its routes, and a cluster for each name in them.
#[derive(Debug)]
pub(super) struct Plan {
    listener: Arc<ListenerSpec>,
    /// `None`: there are none, since the protocol is opaque or the route configuration does not exist.
    routes: Option<Arc<RouteSpec>>,
    clusters: BTreeMap<Arc<str>, Arc<Cluster>>,
}

impl Plan {
    pub(super) fn new(listener: Arc<ListenerSpec>, routes: Option<Arc<RouteSpec>>) -> Self {
        Self { listener, routes, clusters: BTreeMap::new() }
    }

    /// The names of the clusters that must be added.
    pub(super) fn wanted_clusters(&self) -> Vec<Arc<str>> {
        let routed = self.routes.iter().flat_map(|routes| routes.clusters());
        self.listener.clusters().chain(routed).cloned().collect()
    }

    pub(super) fn add_cluster(&mut self, cluster: Arc<Cluster>) {
        self.clusters.insert(cluster.name.clone(), cluster);
    }

    pub(super) fn cluster_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.clusters.keys()
    }

    /// Whether the traffic would be the same. Endpoints don't count: they change within a cluster.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same_routes = match (&self.routes, &other.routes) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (None, None) => true,
            _ => false,
        };
        let ids = |plan: &Self| plan.clusters.values().map(|cluster| cluster.id).collect::<Vec<_>>();
        same_routes && Arc::ptr_eq(&self.listener, &other.listener) && ids(self) == ids(other)
    }

    /// The traffic, with clusters in place of names.
    pub(super) fn traffic(&self) -> Traffic {
        let rules = self.routes.iter().flat_map(|routes| &routes.rules).map(|rule| rule.map(|name| self.cluster(name)));
        Traffic {
            protocol: self.listener.protocol,
            routes: Routes::new(rules.collect()),
            tls: self
                .listener
                .tls
                .iter()
                .map(|(name, clusters)| (name.clone(), self.with_clusters(clusters)))
                .collect(),
            opaque: self.listener.opaque.as_ref().map(|weighted| self.with_clusters(weighted)),
            service: self.listener.service.clone(),
        }
    }

    fn with_clusters(&self, names: &Weighted<Arc<str>>) -> Weighted<Arc<Cluster>> {
        names.map(|name| self.cluster(name))
    }

    /// The cluster of a name. All have been added before; one that had not would be a cluster without endpoints.
    fn cluster(&self, name: &Arc<str>) -> Arc<Cluster> {
        let missing = || Arc::new(Cluster::missing(name.clone()));
        self.clusters.get(name).cloned().unwrap_or_else(missing)
    }
}
