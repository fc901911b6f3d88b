//! The reasons to try again, as Envoy names them.

use std::ops::{BitOr, BitOrAssign};

/// A set of reasons to try again, named as Envoy's `retry_on` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RetryOn(u16);

/// A token of `retry_on` that means nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{token:?} is not a reason to retry; known are {}", known())]
pub struct UnknownReason {
    /// The token.
    pub token: String,
}

/// The reasons with their names.
const REASONS: [(&str, RetryOn); 10] = [
    ("connect-failure", RetryOn::CONNECT_FAILURE),
    ("refused-stream", RetryOn::REFUSED_STREAM),
    // What was reset before it was sent is as safe as what was refused.
    ("reset-before-request", RetryOn::REFUSED_STREAM),
    ("reset", RetryOn::RESET),
    ("gateway-error", RetryOn::GATEWAY_ERROR),
    ("5xx", RetryOn::SERVER_ERROR),
    ("retriable-4xx", RetryOn::RETRIABLE_4XX),
    ("retriable-status-codes", RetryOn::STATUSES),
    ("per-try-timeout", RetryOn::PER_TRY_TIMEOUT),
    ("envoy-ratelimited", RetryOn::RATE_LIMITED),
];

/// The gRPC statuses with their names and numbers.
const GRPC_STATUSES: [(&str, u32); 5] =
    [("cancelled", 1), ("deadline-exceeded", 4), ("resource-exhausted", 8), ("internal", 13), ("unavailable", 14)];

fn known() -> String {
    let names = REASONS.iter().map(|(name, _)| *name).chain(GRPC_STATUSES.iter().map(|(name, _)| *name));
    names.collect::<Vec<_>>().join(", ")
}

impl RetryOn {
    /// None.
    pub const NOTHING: Self = Self(0);
    /// `connect-failure`: the connection could not be made.
    pub const CONNECT_FAILURE: Self = Self(1);
    /// `refused-stream`: the peer said that it did not process the request. Also `reset-before-request`.
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
    /// `envoy-ratelimited`: the answer has `x-envoy-ratelimited`. Without this such an answer is final.
    pub const RATE_LIMITED: Self = Self(1 << 8);
    /// What covers an attempt without an answer.
    pub(super) const NO_ANSWER: Self = Self(Self::RESET.0 | Self::GATEWAY_ERROR.0 | Self::SERVER_ERROR.0);

    /// Reads `retry_on`: tokens between commas. The second value are the gRPC statuses among them, bit `n` for status `n`.
    ///
    /// # Errors
    /// The first token that is not known.
    pub fn parse(tokens: &str) -> Result<(Self, u32), UnknownReason> {
        let (mut on, mut grpc) = (Self::NOTHING, 0);
        for token in tokens.split(',').map(str::trim).filter(|token| !token.is_empty()) {
            if let Some((_, reason)) = REASONS.iter().find(|(name, _)| *name == token) {
                on |= *reason;
            } else if let Some((_, status)) = GRPC_STATUSES.iter().find(|(name, _)| *name == token) {
                grpc |= 1 << status;
            } else {
                return Err(UnknownReason { token: token.to_owned() });
            }
        }
        Ok((on, grpc))
    }

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

impl BitOrAssign for RetryOn {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}
