//! Whether a failed attempt may be made again.

#[cfg(test)]
mod tests;

use std::ops::BitOr;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};

/// How many attempts a request has by default, the first one included.
pub const MAX_ATTEMPTS: u32 = 3;
/// The longest that an answer may make us wait before the next attempt; what asks for longer is final.
pub const MAX_WAIT: Duration = Duration::from_secs(30);

/// When a route's requests are tried again (`envoy.config.route.v3.RetryPolicy`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// All attempts of a request, the first one included; at least 1.
    pub max_attempts: u32,
    /// After what.
    pub on: RetryOn,
    /// The statuses that [`RetryOn::STATUSES`] means.
    pub statuses: Vec<u16>,
    /// The gRPC statuses after which is tried again: bit `n` for status `n`.
    pub grpc: u32,
    /// The only methods whose requests may be repeated once they can have reached the application; `None`: all.
    pub methods: Option<Vec<Method>>,
    /// How long is waited between attempts.
    pub backoff: Backoff,
    /// Whether `retry-after` and `x-ratelimit-reset` of an answer, in seconds, tell how long to wait.
    pub reset_headers: bool,
    /// Whether a further attempt goes to an endpoint that had none yet, if there is one.
    pub other_endpoint: bool,
}

impl Default for RetryPolicy {
    /// Only what never reached the application, on another endpoint, three attempts in all.
    fn default() -> Self {
        Self {
            max_attempts: MAX_ATTEMPTS,
            on: RetryOn::CONNECT_FAILURE | RetryOn::REFUSED_STREAM,
            statuses: Vec::new(),
            grpc: 0,
            methods: None,
            backoff: Backoff::default(),
            reset_headers: false,
            other_endpoint: true,
        }
    }
}

/// A set of reasons to try again, named as Envoy's `retry_on` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RetryOn(u16);

impl RetryOn {
    /// None.
    pub const NOTHING: Self = Self(0);
    /// `connect-failure`: the connection could not be made.
    pub const CONNECT_FAILURE: Self = Self(1);
    /// `refused-stream`: the peer said that it did not process the request.
    pub const REFUSED_STREAM: Self = Self(1 << 1);
    /// `reset`: no answer, because the connection or the stream ended.
    pub const RESET: Self = Self(1 << 2);
    /// `gateway-error`: 502, 503 or 504, or no answer.
    pub const GATEWAY_ERROR: Self = Self(1 << 3);
    /// `5xx`: any of these, or no answer.
    pub const SERVER_ERROR: Self = Self(1 << 4);
    /// `retriable-4xx`: 409.
    pub const RETRIABLE_4XX: Self = Self(1 << 5);
    /// `retriable-status-codes`: the statuses of the policy.
    pub const STATUSES: Self = Self(1 << 6);
    /// `per-try-timeout`: the attempt's own time was over.
    pub const PER_TRY_TIMEOUT: Self = Self(1 << 7);
    /// `envoy-ratelimited`: the answer has `x-envoy-ratelimited`, without which such an answer is final.
    pub const RATE_LIMITED: Self = Self(1 << 8);

    /// Whether any of `other` is in the set.
    pub fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for RetryOn {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The time between attempts: drawn evenly from zero to `base`, then to twice `base`, and so on, never above `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The bound before the first further attempt.
    pub base: Duration,
    /// The greatest bound.
    pub max: Duration,
}

impl Default for Backoff {
    /// 25 ms, at most 250 ms.
    fn default() -> Self {
        Self::from_base(Duration::from_millis(25))
    }
}

impl Backoff {
    /// A back-off of at most ten times `base`, as Envoy's where no maximum is told.
    pub fn from_base(base: Duration) -> Self {
        Self { base, max: base.saturating_mul(10) }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// Nothing reached the application, for certain: the connection could not be made, the request was not yet written,
    /// or the peer said that it did not process it (`REFUSED_STREAM`, or a `GOAWAY` below the stream; RFC 9113, 8.7).
    Unsent,
    /// The stream or its connection ended before an answer came. The application may have handled the request.
    Reset,
    /// The attempt's own time was over.
    PerTryTimeout,
    /// The headers of an answer came.
    Answer {
        /// Its status.
        status: StatusCode,
        /// Its headers.
        headers: &'a HeaderMap,
        /// Its gRPC status, if there is one already: an answer without a body has it among the headers.
        grpc_status: Option<u32>,
    },
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: what there is, is the answer.
    Final,
    /// One more attempt, if the [budget](crate::budget) allows it too.
    Retry {
        /// So long from now.
        after: Duration,
    },
}

/// How much of a failed attempt can have reached the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Nothing, for certain: the connection could not be made, the request was not yet written, or the peer said that
    /// it did not process it (`REFUSED_STREAM`, or a `GOAWAY` below the stream; RFC 9113, 8.7).
    Nothing,
    /// Perhaps all of it. To repeat it could do twice what was asked for once.
    Maybe,
}

/// Whether one more attempt may follow the `attempts` that were made.
///
/// Only what never reached the application is repeated, and never beyond `max_attempts`. The caller then asks the
/// [budget](crate::budget) as well, and only then.
pub fn may_retry(attempts: u32, sent: Sent, max_attempts: u32) -> bool {
    sent == Sent::Nothing && attempts < max_attempts
}
