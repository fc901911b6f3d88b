//! Whether a failed attempt may be made again.

#[cfg(test)]
mod tests;

/// How many attempts a request has by default, the first one included.
pub const MAX_ATTEMPTS: u32 = 3;

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
