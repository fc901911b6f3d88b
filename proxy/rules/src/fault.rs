//! Faults that are injected on purpose.

#[cfg(test)]
mod tests;

use std::time::Duration;

use http::{HeaderMap, StatusCode};

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

impl FaultPolicy {
    /// What is injected into a request with these headers. Each of the `random` numbers is uniformly distributed and used
    /// for one of the two shares, so that a request may meet both faults.
    pub fn decide(&self, headers: &HeaderMap, random: [u64; 2]) -> FaultDecision {
        if !self.headers.iter().all(|header| header.matches(headers)) {
            return FaultDecision::default();
        }
        let [for_delay, for_abort] = random;
        FaultDecision {
            delay: self.delay.filter(|(_, share)| share.hits(for_delay)).map(|(delay, _)| delay),
            abort: self.abort.filter(|(_, share)| share.hits(for_abort)).map(|(abort, _)| abort),
        }
    }
}
