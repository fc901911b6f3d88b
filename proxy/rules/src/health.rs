//! Whether an endpoint is healthy, from probes.

use std::ops::Range;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;

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
        /// The host; `None`: the cluster's name.
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
