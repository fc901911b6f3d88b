//! Why a request did not go its ordinary way, in Envoy's short names (`%RESPONSE_FLAGS%`).

use std::fmt;

/// One reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    NoRoute,
    NoCluster,
    NoHealthyUpstream,
    ConnectionFailure,
    ConnectionTermination,
    RequestTimeout,
    IdleTimeout,
    MaxStreamAge,
    Overflow,
    OverloadManager,
    RetriesExhausted,
    DelayInjected,
    FaultInjected,
    RateLimited,
    RateLimitServiceError,
    ProtocolError,
    ClientLeft,
}

impl Flag {
    const ALL: [Self; 17] = [
        Self::NoRoute,
        Self::NoCluster,
        Self::NoHealthyUpstream,
        Self::ConnectionFailure,
        Self::ConnectionTermination,
        Self::RequestTimeout,
        Self::IdleTimeout,
        Self::MaxStreamAge,
        Self::Overflow,
        Self::OverloadManager,
        Self::RetriesExhausted,
        Self::DelayInjected,
        Self::FaultInjected,
        Self::RateLimited,
        Self::RateLimitServiceError,
        Self::ProtocolError,
        Self::ClientLeft,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::NoRoute => "NR",
            Self::NoCluster => "NC",
            Self::NoHealthyUpstream => "UH",
            Self::ConnectionFailure => "UF",
            Self::ConnectionTermination => "UC",
            Self::RequestTimeout => "UT",
            Self::IdleTimeout => "SI",
            Self::MaxStreamAge => "UMSDR",
            Self::Overflow => "UO",
            Self::OverloadManager => "OM",
            Self::RetriesExhausted => "URX",
            Self::DelayInjected => "DI",
            Self::FaultInjected => "FI",
            Self::RateLimited => "RL",
            Self::RateLimitServiceError => "RLSE",
            Self::ProtocolError => "DPE",
            Self::ClientLeft => "DC",
        }
    }
}

/// The reasons of one request; shown as `UF,URX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u32);

impl Flags {
    /// Adds a reason.
    pub(crate) fn set(&mut self, flag: Flag) {
        self.0 |= 1 << flag as u32;
    }

    /// Whether there is none.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = Flag::ALL.into_iter().filter(|flag| self.0 & (1 << *flag as u32) != 0);
        for (place, flag) in set.enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            f.write_str(flag.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
