//! How an attempt ended, and what that is called.

use http::Response;
use weft_rules::outlier::Observation;
use weft_rules::retry::Outcome;

use crate::path::answer::{Reason, grpc_status};
use crate::path::body::Body;
use crate::path::discard::discard;
use crate::path::route::Failure;
use crate::path::upstream::{EndpointState, Overflow, SendError};
use crate::telemetry::conditions::Breaker;

/// How an attempt ended.
pub(super) enum Tried {
    Answered(Response<Body>),
    Failed(SendError),
    /// The time for one attempt was over.
    TimedOut,
    /// Neither side moved for as long as the route allows.
    Idle,
    /// The time for all attempts was over.
    OutOfTime,
}

impl Tried {
    pub(super) fn outcome(&self) -> Outcome<'_> {
        match self {
            Self::Answered(response) => Outcome::Answer {
                status: response.status(),
                headers: response.headers(),
                grpc_status: grpc_status(response.headers()),
            },
            Self::Failed(error) if error.is_unhandled() => Outcome::Unsent,
            Self::Failed(_) => Outcome::Reset,
            Self::TimedOut | Self::Idle | Self::OutOfTime => Outcome::PerTryTimeout,
        }
    }

    fn observation(&self) -> Option<Observation> {
        match self {
            Self::Answered(response) => Some(Observation::of_status(response.status())),
            // What a limit of our own says tells nothing about the endpoint.
            Self::Failed(SendError::Overflow(_)) => None,
            Self::Failed(_) | Self::TimedOut | Self::Idle | Self::OutOfTime => Some(Observation::GatewayFailure),
        }
    }

    pub(super) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Answered(_) => None,
            Self::Failed(error) => Some(reason(error).as_str()),
            Self::TimedOut => Some(Reason::PerTryTimeout.as_str()),
            Self::Idle => Some(Reason::IdleTimeout.as_str()),
            Self::OutOfTime => Some(Reason::Timeout.as_str()),
        }
    }

    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Answered(response) => Some(response.status().as_u16()),
            Self::Failed(_) | Self::TimedOut | Self::Idle | Self::OutOfTime => None,
        }
    }
}

/// Lets an endpoint's standing know how an attempt on it ended.
pub(super) fn observe(endpoint: &EndpointState, tried: &Tried) {
    if let Some(observation) = tried.observation() {
        endpoint.observe(observation);
    }
}

pub(super) fn reason(error: &SendError) -> Reason {
    match error {
        SendError::Overflow(overflow) => overflow_reason(overflow.which),
        error if error.is_unhandled() => Reason::ConnectFailed,
        _ => Reason::UpstreamReset,
    }
}

/// The reason that goes with a limit.
fn overflow_reason(which: Breaker) -> Reason {
    match which {
        Breaker::Requests => Reason::OverflowRequests,
        Breaker::Pending => Reason::OverflowPending,
        Breaker::Connections => Reason::OverflowConnections,
    }
}

impl From<Overflow> for Failure {
    fn from(overflow: Overflow) -> Self {
        Self::new(overflow_reason(overflow.which), overflow.to_string())
    }
}

pub(super) fn sent(answered: Result<Response<Body>, SendError>) -> Tried {
    answered.map_or_else(Tried::Failed, Tried::Answered)
}

/// Nobody waits for the rest of an answer that does not count.
pub(super) fn give_up(tried: Tried) {
    if let Tried::Answered(response) = tried
        && !http_body::Body::is_end_stream(response.body())
    {
        tokio::task::spawn_local(discard(response.into_body()));
    }
}
