//! How long a request may take.

#[cfg(test)]
mod tests;

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::route::is_grpc;

/// How long the caller of a gRPC method is going to wait.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The most digits of a `grpc-timeout`.
const MAX_DIGITS: usize = 8;
/// The first number that has more of them.
const TOO_MUCH: u128 = 100_000_000;
/// The units of `grpc-timeout` with their length in nanoseconds, the finest first.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

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

impl Timeouts {
    /// How long the whole exchange of a request with these headers may take: the route's time, or the caller's where that
    /// is shorter.
    pub fn effective(&self, headers: &HeaderMap) -> Option<Duration> {
        let asked = if self.honour_grpc && is_grpc(headers) { grpc_timeout(headers) } else { None };
        match (self.request, asked) {
            (Some(route), Some(caller)) => Some(route.min(caller)),
            (route, caller) => route.or(caller),
        }
    }
}

/// How long the caller of a gRPC method is going to wait, from `grpc-timeout`: at most eight digits and one of `HMSmun`.
/// `None` where there is none, or what is there is malformed.
pub fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let (unit, digits) = headers.get(GRPC_TIMEOUT)?.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number: u64, digit| number * 10 + u64::from(digit - b'0'));
    let nanoseconds = UNITS.iter().find(|(name, _)| name == unit)?.1;
    // Eight digits of hours are below 2^64 seconds, but not below 2^64 nanoseconds.
    let total = u128::from(number) * u128::from(nanoseconds);
    Some(Duration::new(u64::try_from(total / 1_000_000_000).ok()?, (total % 1_000_000_000) as u32))
}

/// A time as a value of `grpc-timeout`: in the finest unit that eight digits can tell it in, rounded down, so that who gets
/// it never waits for longer.
pub fn format_grpc_timeout(time: Duration) -> HeaderValue {
    let nanoseconds = time.as_nanos();
    let told = UNITS.iter().map(|(name, unit)| (*name, nanoseconds / u128::from(*unit)));
    let (unit, number) = told.into_iter().find(|(_, number)| *number < TOO_MUCH).unwrap_or((b'H', TOO_MUCH - 1));
    let mut text = [0; MAX_DIGITS + 1];
    let mut rest = number as u32;
    let mut start = MAX_DIGITS;
    for (index, byte) in text.iter_mut().enumerate().rev() {
        if index == MAX_DIGITS {
            *byte = unit;
        } else if rest > 0 || start == MAX_DIGITS {
            *byte = b'0' + (rest % 10) as u8;
            rest /= 10;
            start = index;
        }
    }
    let text = text.get(start..).unwrap_or_default();
    HeaderValue::from_bytes(text).unwrap_or_else(|_| HeaderValue::from_static("0n"))
}
