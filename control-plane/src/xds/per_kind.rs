//! One value for each kind of resources.

use weft_api::xds::ResourceKind;

/// One value for each kind of resources.
#[derive(Debug, Default)]
pub(super) struct PerKind<T> {
    listeners: T,
    routes: T,
    clusters: T,
    endpoints: T,
}

impl<T> PerKind<T> {
    pub(super) fn get(&self, kind: ResourceKind) -> &T {
        match kind {
            ResourceKind::Listener => &self.listeners,
            ResourceKind::RouteConfiguration => &self.routes,
            ResourceKind::Cluster => &self.clusters,
            ResourceKind::ClusterLoadAssignment => &self.endpoints,
        }
    }

    pub(super) fn get_mut(&mut self, kind: ResourceKind) -> &mut T {
        match kind {
            ResourceKind::Listener => &mut self.listeners,
            ResourceKind::RouteConfiguration => &mut self.routes,
            ResourceKind::Cluster => &mut self.clusters,
            ResourceKind::ClusterLoadAssignment => &mut self.endpoints,
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        ResourceKind::ALL.into_iter().map(|kind| self.get(kind))
    }
}
