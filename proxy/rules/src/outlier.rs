//! Which endpoints are left out for a while because of how they answered.
//!
//! ```text
//!              five failures in a row, or a success rate far below the others'
//!   in use ────────────────────────────────────────────────────────────────────▶ ejected
//!      ▲                                                                            │
//!      └────────────── base time × times ejected, at most the maximum ──────────────┘
//! ```
//! At no time are more endpoints ejected than the policy's share of them.

mod detector;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use detector::{Detector, Sweep};

/// When an endpoint is left out, and for how long (`envoy.config.cluster.v3.OutlierDetection`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutlierPolicy {
    /// So many failures or 5xx answers in a row; `None`: not looked at.
    pub consecutive_5xx: Option<u32>,
    /// So many failures or answers 502, 503 or 504 in a row; `None`: not looked at.
    pub consecutive_gateway: Option<u32>,
    /// Much more failures than the other endpoints have; `None`: not looked at.
    pub success_rate: Option<SuccessRate>,
    /// How often success rates are compared.
    pub interval: Duration,
    /// How long an endpoint is left out, times how often it was.
    pub base_ejection: Duration,
    /// The longest that an endpoint is left out, unless `base_ejection` is longer.
    pub max_ejection: Duration,
    /// The greatest share of a cluster's endpoints that is left out at a time. Above 0, one endpoint may be, however few
    /// there are.
    pub max_ejected_percent: u8,
}

impl Default for OutlierPolicy {
    /// As Envoy's defaults: five 5xx or gateway failures in a row, success rates with 5 endpoints of 100 requests below
    /// 1.9 standard deviations, each 10 s; left out for 30 s at first and at most 300 s, 10 % at a time.
    fn default() -> Self {
        Self {
            consecutive_5xx: Some(5),
            consecutive_gateway: Some(5),
            success_rate: Some(SuccessRate::default()),
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejected_percent: 10,
        }
    }
}

impl OutlierPolicy {
    /// How many of so many endpoints may be left out at a time.
    pub fn max_ejected(&self, hosts: usize) -> usize {
        match self.max_ejected_percent {
            0 => 0,
            percent => (hosts.saturating_mul(usize::from(percent)) / 100).max(1).min(hosts),
        }
    }

    /// How long an endpoint is left out the `times`th time in a row, the first being 1.
    pub fn ejection(&self, times: u32) -> Duration {
        self.base_ejection.saturating_mul(times.max(1)).min(self.max_ejection.max(self.base_ejection))
    }
}

/// When an endpoint's success rate is far below that of the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SuccessRate {
    /// So many endpoints must have enough requests.
    pub min_hosts: u32,
    /// So many requests in an interval are enough.
    pub min_requests: u32,
    /// Out is who is below the mean by so many standard deviations.
    pub stdev_factor: f64,
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self { min_hosts: 5, min_requests: 100, stdev_factor: 1.9 }
    }
}

/// How an attempt at an endpoint went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// An answer below 500.
    Success,
    /// No answer (no connection, a reset, a time-out), or 502, 503 or 504.
    GatewayFailure,
    /// Another 5xx.
    ServerError,
}

impl Observation {
    /// What an answer with this status says of its endpoint.
    pub fn of_status(status: http::StatusCode) -> Self {
        match status.as_u16() {
            502..=504 => Self::GatewayFailure,
            500.. => Self::ServerError,
            _ => Self::Success,
        }
    }
}

/// Why an endpoint is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Too many failures or 5xx answers in a row.
    Consecutive5xx,
    /// Too many failures or answers 502, 503 or 504 in a row.
    ConsecutiveGateway,
    /// A success rate far below that of the others.
    SuccessRate,
}

impl Cause {
    /// Its name in telemetry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive5xx => "consecutive_5xx",
            Self::ConsecutiveGateway => "consecutive_gateway",
            Self::SuccessRate => "success_rate",
        }
    }
}

/// An endpoint is left out from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// Until then.
    pub until: std::time::Instant,
    /// Why.
    pub cause: Cause,
    /// How often in a row; 1 the first time.
    pub times: u32,
}
