//! The cases, by theme.

mod calls;
mod requests;
mod retries;

use crate::case::Case;

/// All cases, in the order in which they are told.
pub(crate) fn all() -> Vec<Case> {
    [
        requests::matching(),
        requests::precedence(),
        requests::weights(),
        requests::redirects(),
        requests::rewrites(),
        requests::headers(),
        retries::time_outs(),
        retries::by_status(),
        retries::by_failure(),
        retries::waiting(),
        calls::grpc_calls(),
        calls::faults(),
        calls::mirrors(),
        calls::balancing(),
    ]
    .concat()
}
