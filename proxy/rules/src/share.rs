//! A share of all requests.

#[cfg(test)]
mod tests;

/// What a share is counted in.
const WHOLE: u32 = 1_000_000;

/// A share of all requests, in parts of a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Share {
    parts_per_million: u32,
}

impl Share {
    /// No request.
    pub const NONE: Self = Self { parts_per_million: 0 };
    /// Every request.
    pub const ALL: Self = Self { parts_per_million: WHOLE };

    /// `numerator / denominator` of all, rounded down to a millionth; at most all, and none where the denominator is 0.
    pub fn from(numerator: u32, denominator: u32) -> Self {
        let parts = (u64::from(numerator) * u64::from(WHOLE)).checked_div(u64::from(denominator)).unwrap_or(0);
        Self { parts_per_million: u32::try_from(parts).unwrap_or(WHOLE).min(WHOLE) }
    }

    /// How many of a million requests.
    pub fn parts_per_million(self) -> u32 {
        self.parts_per_million
    }

    /// Whether a request with this uniformly distributed `random` is one of the share.
    pub fn hits(self, random: u64) -> bool {
        // Scales 0..2^64 to 0..1,000,000 without a division.
        let point = (u128::from(random) * u128::from(WHOLE)) >> 64;
        point < u128::from(self.parts_per_million)
    }
}
