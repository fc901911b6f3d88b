//! Whether an endpoint is healthy, from probes.
//!
//! ```text
//!             unhealthy_threshold failures in a row
//!   healthy ─────────────────────────────────────────▶ unhealthy
//!      ▲                                                   │
//!      └──────── healthy_threshold successes in a row ─────┘
//! ```
//! An endpoint begins healthy, so that it need not wait for its first probe.

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode};

/// How endpoints are probed (`envoy.config.core.v3.HealthCheck`).
#[derive(Debug, Clone, PartialEq)]
pub struct HealthPolicy {
    /// The time between two probes of an endpoint.
    pub interval: Duration,
    /// How long a probe may take.
    pub timeout: Duration,
    /// So many successes in a row make an endpoint healthy again.
    pub healthy_threshold: u32,
    /// So many failures in a row make an endpoint unhealthy.
    pub unhealthy_threshold: u32,
    /// What is asked.
    pub probe: Probe,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// `GET` of a path.
    Http {
        /// The path.
        path: PathAndQuery,
        /// The host; `None`: the endpoint's address.
        host: Option<HeaderValue>,
        /// The statuses of a healthy endpoint, as half-open ranges; empty: 200.
        expected: Vec<Range<u16>>,
    },
    /// `grpc.health.v1.Health/Check` of a service; empty for the server as a whole.
    Grpc {
        /// The service's name.
        service: String,
    },
    /// A connection, and nothing else.
    Tcp,
}

impl Probe {
    /// Whether an HTTP answer with this status is that of a healthy endpoint. A gRPC probe looks at the answer's body as
    /// well.
    pub fn expects(&self, status: StatusCode) -> bool {
        match self {
            Self::Http { expected, .. } if !expected.is_empty() => {
                expected.iter().any(|range| range.contains(&status.as_u16()))
            }
            Self::Http { .. } | Self::Grpc { .. } | Self::Tcp => status == StatusCode::OK,
        }
    }
}

/// What an endpoint became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It may be used again.
    Healthy,
    /// It is left out.
    Unhealthy,
}

/// An endpoint's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthState {
    healthy: bool,
    /// Probes in a row that speak against `healthy`.
    against: u32,
    healthy_threshold: u32,
    unhealthy_threshold: u32,
}

impl HealthState {
    /// Healthy. A threshold of 0 is 1.
    pub fn new(policy: &HealthPolicy) -> Self {
        let HealthPolicy { healthy_threshold, unhealthy_threshold, .. } = *policy;
        Self { healthy: true, against: 0, healthy_threshold, unhealthy_threshold }
    }

    /// Takes the result of a probe, and says what changes by it.
    pub fn report(&mut self, ok: bool) -> Option<Change> {
        if ok == self.healthy {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        let threshold = if ok { self.healthy_threshold } else { self.unhealthy_threshold };
        if self.against < threshold {
            return None;
        }
        (self.healthy, self.against) = (ok, 0);
        Some(if ok { Change::Healthy } else { Change::Unhealthy })
    }

    /// Whether it may be used.
    pub fn is_healthy(&self) -> bool {
        self.healthy
    }
}
