//! How long a request may take.

use std::time::Duration;

/// The time-outs of a route. `None` is for as long as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// The whole exchange, from the request's end to the answer's end, all attempts together.
    pub request: Option<Duration>,
    /// Each attempt, until its answer's headers have come.
    pub per_try: Option<Duration>,
    /// Time without a byte in either direction.
    pub idle: Option<Duration>,
    /// Whether a request's own `grpc-timeout` counts where it is shorter than `request`.
    pub honour_grpc: bool,
    /// The whole life of the stream, however busy it is.
    pub max_stream: Option<Duration>,
}
