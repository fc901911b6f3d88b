//! What distinguishes one series of a metric from another.

use std::sync::Arc;

use super::family::Key;

/// The destination of everything that a family has no series of its own for.
pub(super) const OVERFLOW: &str = "overflow";

/// Which way a connection or request goes, seen from the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Direction {
    /// To the application.
    Inbound,
    /// From the application.
    Outbound,
}

impl Direction {
    /// All of them, in the order of their discriminants.
    pub(super) const ALL: [Self; 2] = [Self::Inbound, Self::Outbound];

    /// As it stands in labels and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// What a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireProtocol {
    /// HTTP in the open.
    Http,
    /// Bytes.
    Opaque,
    /// The mesh's own transport, mutual TLS.
    Mesh,
}

impl WireProtocol {
    /// All of them, in the order of their discriminants.
    pub(super) const ALL: [Self; 3] = [Self::Http, Self::Opaque, Self::Mesh];

    /// As it stands in labels.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Opaque => "opaque",
            Self::Mesh => "tls",
        }
    }
}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It was not redirected: somebody dialled the proxy's own port.
    NotRedirected,
    /// No Service has the address, and `WEFT_UNKNOWN_DESTINATION` is `refuse`.
    UnknownDestination,
    /// The TLS handshake failed: no certificate, or one that is not acceptable.
    Handshake,
    /// Plaintext for a port that takes mutual TLS alone.
    Plaintext,
}

impl Refusal {
    /// All of them, in the order of their discriminants.
    pub(super) const ALL: [Self; 4] = [Self::NotRedirected, Self::UnknownDestination, Self::Handshake, Self::Plaintext];

    /// As it stands in labels.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NotRedirected => "not_redirected",
            Self::UnknownDestination => "unknown_destination",
            Self::Handshake => "handshake",
            Self::Plaintext => "plaintext",
        }
    }
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLabels<'a> {
    /// Which way they go.
    pub(crate) direction: Direction,
    /// `NAMESPACE/SERVICE:PORT`, or `NAMESPACE/WORKLOAD:PORT` of this pod.
    pub(crate) destination: &'a str,
    /// The other side's SPIFFE id; empty if it has proven none.
    pub(crate) peer: &'a str,
    /// Whether they come or go over mutual TLS.
    pub(crate) tls: bool,
}

/// A series of `weft_requests_total`, apart from the status.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RequestKey {
    pub(super) direction: Direction,
    pub(super) destination: Arc<str>,
    pub(super) peer: Arc<str>,
    pub(super) tls: bool,
}

/// A series of `weft_request_duration_seconds`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct DurationKey {
    pub(super) direction: Direction,
    pub(super) destination: Arc<str>,
}

/// A series of `weft_retries_total`: the destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RetryKey(pub(super) Arc<str>);

impl RequestKey {
    pub(super) fn of(labels: &RequestLabels<'_>) -> Self {
        Self {
            direction: labels.direction,
            destination: labels.destination.into(),
            peer: labels.peer.into(),
            tls: labels.tls,
        }
    }

    pub(super) fn duration(&self) -> DurationKey {
        DurationKey { direction: self.direction, destination: Arc::clone(&self.destination) }
    }
}

impl Key for RequestKey {
    fn overflow(&self) -> Self {
        Self { direction: self.direction, destination: OVERFLOW.into(), peer: "".into(), tls: self.tls }
    }
}

impl Key for DurationKey {
    fn overflow(&self) -> Self {
        Self { direction: self.direction, destination: OVERFLOW.into() }
    }
}

impl Key for RetryKey {
    fn overflow(&self) -> Self {
        Self(OVERFLOW.into())
    }
}
