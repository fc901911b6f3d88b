//! The kinds that are read: their names, their versions.

use std::fmt;

use crate::mesh::RouteKind;

/// The kinds that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::registry) enum Kind {
    Service,
    EndpointSlice,
    Pod,
    ServiceAccount,
    Secret,
    Route(RouteKind),
    ReferenceGrant,
    TrafficPolicy,
    FaultInjection,
    Namespace,
    Node,
}

impl Kind {
    pub(in crate::registry) const ALL: [Self; 14] = [
        Self::Service,
        Self::EndpointSlice,
        Self::Pod,
        Self::ServiceAccount,
        Self::Secret,
        Self::Route(RouteKind::Http),
        Self::Route(RouteKind::Grpc),
        Self::Route(RouteKind::Tls),
        Self::Route(RouteKind::Tcp),
        Self::ReferenceGrant,
        Self::TrafficPolicy,
        Self::FaultInjection,
        Self::Namespace,
        Self::Node,
    ];

    /// As manifests have it.
    pub(in crate::registry) fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Pod => "Pod",
            Self::ServiceAccount => "ServiceAccount",
            Self::Secret => "Secret",
            Self::Route(kind) => kind.name(),
            Self::ReferenceGrant => "ReferenceGrant",
            Self::TrafficPolicy => "TrafficPolicy",
            Self::FaultInjection => "FaultInjection",
            Self::Namespace => "Namespace",
            Self::Node => "Node",
        }
    }

    /// As an API server's paths have it.
    pub(in crate::registry) fn plural(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::EndpointSlice => "endpointslices",
            Self::Pod => "pods",
            Self::ServiceAccount => "serviceaccounts",
            Self::Secret => "secrets",
            Self::Route(RouteKind::Http) => "httproutes",
            Self::Route(RouteKind::Grpc) => "grpcroutes",
            Self::Route(RouteKind::Tls) => "tlsroutes",
            Self::Route(RouteKind::Tcp) => "tcproutes",
            Self::ReferenceGrant => "referencegrants",
            Self::TrafficPolicy => "trafficpolicies",
            Self::FaultInjection => "faultinjections",
            Self::Namespace => "namespaces",
            Self::Node => "nodes",
        }
    }

    /// Whether its objects are in no namespace.
    pub(super) fn is_cluster_wide(self) -> bool {
        matches!(self, Self::Namespace | Self::Node)
    }

    /// Whether Weft writes a status of its objects.
    pub(in crate::registry) fn has_status(self) -> bool {
        matches!(self, Self::Route(_) | Self::TrafficPolicy | Self::FaultInjection)
    }

    /// The versions that are read, the newest first; they do not differ in what is read.
    pub(in crate::registry) fn api_versions(self) -> &'static [&'static str] {
        match self {
            Self::EndpointSlice => &["discovery.k8s.io/v1"],
            Self::Route(RouteKind::Http | RouteKind::Grpc) => &["gateway.networking.k8s.io/v1"],
            Self::Route(RouteKind::Tls) => &[
                "gateway.networking.k8s.io/v1",
                "gateway.networking.k8s.io/v1alpha3",
                "gateway.networking.k8s.io/v1alpha2",
            ],
            Self::Route(RouteKind::Tcp) => &["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2"],
            Self::ReferenceGrant => &["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"],
            Self::TrafficPolicy | Self::FaultInjection => &["weft.dev/v1alpha1"],
            Self::Service | Self::Pod | Self::ServiceAccount | Self::Secret | Self::Namespace | Self::Node => &["v1"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
