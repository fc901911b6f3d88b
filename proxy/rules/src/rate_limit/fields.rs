//! What answers tell of rate limits: `ratelimit` and `ratelimit-policy` (draft-ietf-httpapi-ratelimit-headers) and the older
//! `x-ratelimit-*`, which Envoy's limits also send.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Decision, Quota};

/// How much is left of each quota.
pub const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The quotas.
pub const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// The size of the quota that is the nearest to its end.
pub const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
/// How much is left of it.
pub const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
/// In how many seconds it is whole again.
pub const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// A limit that a request met.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its quota.
    pub quota: Quota,
    /// What it decided.
    pub decision: Decision,
}

/// Puts into an answer what the limits that its request met say; nothing if it met none.
///
/// `ratelimit: "name";r=2;t=7` are the requests that are left and the seconds until the quota is whole again;
/// `ratelimit-policy: "name";q=100;w=60` are the quota and its time in seconds, which is left out unless it is a whole number of
/// them. Of several limits each is told, and `x-ratelimit-*` tells that with the fewest requests left.
pub fn tell(limits: &[Told<'_>], headers: &mut HeaderMap) {
    let Some(tightest) = limits.iter().map(|limit| &limit.decision).min_by_key(|decision| decision.remaining) else {
        return;
    };
    let (mut left, mut policy) = (String::new(), String::new());
    for Told { name, quota, decision } in limits {
        let reset = seconds(decision.reset);
        // Writing to a string never fails.
        let _ = write!(item(&mut left, name), ";r={};t={reset}", decision.remaining);
        let _ = write!(item(&mut policy, name), ";q={}", quota.requests);
        if quota.per.subsec_nanos() == 0 {
            let _ = write!(policy, ";w={}", quota.per.as_secs());
        }
    }
    let numbers = [
        (X_LIMIT, u64::from(tightest.limit)),
        (X_REMAINING, u64::from(tightest.remaining)),
        (X_RESET, seconds(tightest.reset)),
    ];
    let texts = [(RATELIMIT, left), (RATELIMIT_POLICY, policy)];
    let texts = texts.into_iter().filter_map(|(name, text)| Some((name, HeaderValue::try_from(text).ok()?)));
    for (name, value) in texts.chain(numbers.map(|(name, number)| (name, HeaderValue::from(number)))) {
        // An answer that has no room for another header goes without.
        let _ = headers.try_insert(name, value);
    }
}

/// A time in whole seconds, rounded up, as `retry-after` has it: who waits for so long does not come too early.
pub fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Begins a list's next item: a structured field's string (RFC 9651, 3.3.3). What a string cannot have is left out.
fn item<'a>(list: &'a mut String, name: &str) -> &'a mut String {
    if !list.is_empty() {
        list.push_str(", ");
    }
    list.push('"');
    for character in name.chars().filter(|character| matches!(character, ' '..='~')) {
        if matches!(character, '"' | '\\') {
            list.push('\\');
        }
        list.push(character);
    }
    list.push('"');
    list
}
