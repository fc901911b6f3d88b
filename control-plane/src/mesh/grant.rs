//! `gateway.networking.k8s.io` ReferenceGrant: who may name the Services of another namespace.

use std::sync::Arc;

use super::{ObjectName, RouteKind};

/// A ReferenceGrant, as far as it is about routes and Services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceGrant {
    /// Namespace and name. The grant is about Services in its own namespace.
    pub name: ObjectName,
    /// The routes that may: their kind and namespace.
    pub from: Vec<(RouteKind, Arc<str>)>,
    /// The Services; `None`: all.
    pub to: Vec<Option<Arc<str>>>,
}

impl ReferenceGrant {
    /// Whether a route of a kind and namespace may name a Service.
    pub fn allows(&self, kind: RouteKind, namespace: &str, service: &ObjectName) -> bool {
        service.namespace == self.name.namespace
            && self.from.iter().any(|(from, of)| *from == kind && **of == *namespace)
            && self.to.iter().any(|to| to.as_ref().is_none_or(|name| *name == service.name))
    }
}
