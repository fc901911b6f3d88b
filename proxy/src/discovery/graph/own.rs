//! This pod's own policies, with the clusters of the rate limit services that they name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_api::names::INBOUND_LISTENER;
use weft_api::xds::ResourceKind;

use crate::discovery::delta::Key;
use crate::discovery::resources::InboundSpec;
use crate::discovery::values::{Cluster, Inbound};

/// The clusters that the policies name; `None`: not there yet.
pub(super) type Services = BTreeMap<Arc<str>, Option<Arc<Cluster>>>;

/// This pod's own policies.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) needs: BTreeSet<Key>,
    spec: Option<Arc<InboundSpec>>,
    /// What was published last, made from these.
    published: Option<(Arc<InboundSpec>, Services)>,
    /// What is to be published.
    news: Option<Arc<Inbound>>,
}

impl Own {
    /// Nothing but the subscription to this pod's own listener.
    pub(super) fn new() -> Self {
        Self { needs: BTreeSet::from([Self::listener()]), ..Self::default() }
    }

    /// What is needed in any case.
    pub(super) fn listener() -> Key {
        Key::new(ResourceKind::Listener, &INBOUND_LISTENER.into())
    }

    /// Takes over a new version. Limits that are the same as before keep what they have counted.
    pub(super) fn set(&mut self, mut spec: InboundSpec) {
        if let Some(before) = &self.spec {
            spec.keep_rules(before);
        }
        self.spec = Some(Arc::new(spec));
    }

    /// The clusters of rate limit services.
    pub(super) fn services(&self) -> BTreeSet<Arc<str>> {
        self.spec.iter().flat_map(|spec| spec.clusters()).cloned().collect()
    }

    /// Publishes the policies with these clusters, unless that is what was published last. Nothing waits for a rate
    /// limit service: while it is not there, it is one that does not exist.
    pub(super) fn publish(&mut self, services: Services) {
        let Some(spec) = &self.spec else { return };
        let ids = |services: &Services| -> Vec<_> {
            services.values().map(|cluster| cluster.as_ref().map(|cluster| cluster.id)).collect()
        };
        let same =
            |(before, their): &(Arc<InboundSpec>, Services)| Arc::ptr_eq(before, spec) && ids(their) == ids(&services);
        if self.published.as_ref().is_some_and(same) {
            return;
        }
        let cluster = |name: &Arc<str>| {
            let there = services.get(name).cloned().flatten();
            there.unwrap_or_else(|| Arc::new(Cluster::missing(name.clone())))
        };
        self.news = Some(Arc::new(spec.inbound(cluster)));
        self.published = Some((spec.clone(), services));
    }

    /// What is to be published since this was last asked.
    pub(super) fn take(&mut self) -> Option<Arc<Inbound>> {
        self.news.take()
    }
}
