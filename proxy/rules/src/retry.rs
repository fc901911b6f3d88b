//! Whether a failed attempt may be made again.

mod on;
#[cfg(test)]
mod tests;

use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode};

pub use on::{RetryOn, UnknownReason};

/// How many attempts a request has by default, the first one included.
pub const MAX_ATTEMPTS: u32 = 3;
/// The longest that an answer may make us wait before the next attempt; what asks for longer is final.
pub const MAX_WAIT: Duration = Duration::from_secs(30);

/// In milliseconds when to come again, or a negative number for never (gRFC A6).
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
/// In seconds, when the peer's rate limit is over.
const RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
/// The answer is that of a rate limit.
const ENVOY_RATELIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

/// When a route's requests are tried again (`envoy.config.route.v3.RetryPolicy`).
///
/// What never reached the application is always repeated, whatever the method and whatever `on` says; it differs in this
/// from Envoy, where a policy without `connect-failure` and its kin gives up what the default would have saved.
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

    /// The time before the `retry`th further attempt, the first being 1, for a uniformly distributed `random`.
    pub fn delay(&self, retry: u32, random: u64) -> Duration {
        let doubled = 1_u32.checked_shl(retry.saturating_sub(1)).map(|factor| self.base.saturating_mul(factor));
        share_of(doubled.unwrap_or(self.max).min(self.max), random)
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

impl RetryPolicy {
    /// What follows the last of the `attempts` that were made. `random` is uniformly distributed.
    ///
    /// Where a retry follows, the caller asks the [budget](crate::budget) as well, and only then. What was unsent is tried
    /// again at once the first time, since it goes elsewhere; all else waits its back-off, or for as long as the answer
    /// asks.
    pub fn decide(&self, method: &Method, attempts: u32, outcome: &Outcome<'_>, random: u64) -> Verdict {
        if attempts >= self.max_attempts {
            return Verdict::Final;
        }
        let backoff = Verdict::Retry { after: self.backoff.delay(attempts, random) };
        let repeatable = self.may_repeat(method);
        match outcome {
            Outcome::Unsent if attempts <= 1 => Verdict::Retry { after: Duration::ZERO },
            Outcome::Unsent => Verdict::Retry { after: self.backoff.delay(attempts - 1, random) },
            Outcome::Reset if repeatable && self.on.any(RetryOn::NO_ANSWER) => backoff,
            Outcome::PerTryTimeout if repeatable && self.on.any(RetryOn::NO_ANSWER | RetryOn::PER_TRY_TIMEOUT) => {
                backoff
            }
            Outcome::Answer { status, headers, grpc_status } => {
                if !(self.covers_grpc(headers, *grpc_status) || (repeatable && self.covers(*status, headers))) {
                    return Verdict::Final;
                }
                match self.asked_to_wait(headers, random) {
                    None => backoff,
                    Some(Wait::For(after)) if after <= MAX_WAIT => Verdict::Retry { after },
                    Some(Wait::For(_) | Wait::Forever) => Verdict::Final,
                }
            }
            Outcome::Reset | Outcome::PerTryTimeout => Verdict::Final,
        }
    }

    /// Whether a request with this method may be sent twice, so that both can reach the application.
    pub fn may_repeat(&self, method: &Method) -> bool {
        self.methods.as_ref().is_none_or(|methods| methods.contains(method))
    }

    /// Whether a gRPC call ended with a status that the policy names. All calls are POST: who names a status of gRPC's has
    /// said that the calls which end with it may be repeated.
    fn covers_grpc(&self, headers: &HeaderMap, grpc_status: Option<u32>) -> bool {
        let bit = grpc_status.and_then(|status| 1_u32.checked_shl(status));
        bit.is_some_and(|bit| self.grpc & bit != 0)
            && (!headers.contains_key(ENVOY_RATELIMITED) || self.on.any(RetryOn::RATE_LIMITED))
    }

    /// Whether an answer has a status after which is tried again.
    fn covers(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        if headers.contains_key(ENVOY_RATELIMITED) {
            return self.on.any(RetryOn::RATE_LIMITED);
        }
        let gateway = matches!(status.as_u16(), 502..=504);
        (self.on.any(RetryOn::SERVER_ERROR) && status.is_server_error())
            || (self.on.any(RetryOn::GATEWAY_ERROR) && gateway)
            || (self.on.any(RetryOn::RETRIABLE_4XX) && status == StatusCode::CONFLICT)
            || (self.on.any(RetryOn::STATUSES) && self.statuses.contains(&status.as_u16()))
    }

    /// How long an answer asks to wait. A push-back always counts; a malformed one is a no, as gRFC A6 tells.
    fn asked_to_wait(&self, headers: &HeaderMap, random: u64) -> Option<Wait> {
        if let Some(pushback) = headers.get(PUSHBACK) {
            let milliseconds = pushback.to_str().ok().and_then(|text| text.parse().ok());
            return Some(milliseconds.map_or(Wait::Forever, |wait| Wait::For(Duration::from_millis(wait))));
        }
        if !self.reset_headers {
            return None;
        }
        let seconds = |name| headers.get(name).and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
        let told = seconds(http::header::RETRY_AFTER).or_else(|| seconds(RATELIMIT_RESET)).filter(|wait| *wait > 0)?;
        let told = Duration::from_secs(told);
        // Up to half as much again, as Envoy does, so that not all come back in the same moment; but never too long for it.
        let later = told.saturating_add(share_of(told / 2, random));
        Some(Wait::For(if told <= MAX_WAIT { later.min(MAX_WAIT) } else { told }))
    }
}

/// How long an answer asks to wait.
enum Wait {
    For(Duration),
    Forever,
}

/// The part of a time that a uniformly distributed `random` falls on.
fn share_of(time: Duration, random: u64) -> Duration {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(((u128::from(nanoseconds) * u128::from(random)) >> 64) as u64)
}
