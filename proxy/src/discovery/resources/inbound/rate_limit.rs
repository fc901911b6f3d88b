//! HTTP filters of the inbound listener -> rate limits.

use std::sync::Arc;

use crate::discovery::values::{Cluster, GlobalRule, LocalRule, RateLimits};

/// The rate limits of a port, with names of clusters.
#[derive(Debug, Default)]
pub(super) struct LimitsSpec {
    local: Vec<Arc<LocalRule>>,
    global: Vec<GlobalRule<Arc<str>>>,
}

impl LimitsSpec {
    /// The clusters of rate limit services.
    pub(super) fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        self.global.iter().map(|rule| &rule.cluster)
    }

    /// Takes local limits over where they are the same.
    pub(super) fn keep_rules(&mut self, before: &Self) {
        for rule in &mut self.local {
            if let Some(same) = before.local.iter().find(|before| before.is_same(rule)) {
                *rule = Arc::clone(same);
            }
        }
    }

    /// The limits, with clusters in place of names.
    pub(super) fn limits(&self, cluster: &impl Fn(&Arc<str>) -> Arc<Cluster>) -> RateLimits {
        let global = self.global.iter().map(|rule| rule.map(cluster));
        RateLimits { local: self.local.clone(), global: global.collect() }
    }
}
