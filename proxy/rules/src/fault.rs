//! Faults that are injected on purpose.

use std::time::Duration;

use http::StatusCode;

use crate::route::HeaderMatch;
use crate::share::Share;

/// Faults for a share of the requests that a rule is for (`envoy.extensions.filters.http.fault.v3.HTTPFault`).
#[derive(Debug, Clone, Default)]
pub struct FaultPolicy {
    /// How long a request waits before anything is done with it, and how many requests do.
    pub delay: Option<(Duration, Share)>,
    /// What requests are answered in the application's place, and how many are; decided apart from the delay.
    pub abort: Option<(Abort, Share)>,
    /// Only requests whose headers all match are concerned.
    pub headers: Vec<HeaderMatch>,
}

/// An answer in the application's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// An HTTP status.
    Http(StatusCode),
    /// A gRPC status, with HTTP status 200.
    Grpc(u32),
}

/// What is injected into one request. The delay comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultDecision {
    /// Wait so long.
    pub delay: Option<Duration>,
    /// Then answer this, and do not forward.
    pub abort: Option<Abort>,
}
