//! `weft.dev` FaultInjection: what a route does to some of its requests on purpose.

use std::sync::Arc;
use std::time::Duration;

use super::{ObjectName, TextMatch};

/// A FaultInjection. Shares are of a million.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultInjection {
    /// Namespace and name.
    pub name: ObjectName,
    /// How long requests are held back, and how many of them.
    pub delay: Option<(Duration, u32)>,
    /// What requests are answered with, and how many of them.
    pub abort: Option<(Abort, u32)>,
    /// The requests that it is for: those with all of these headers, their names in lower case.
    pub headers: Vec<(Arc<str>, TextMatch)>,
}

/// The answer to a request that is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// An HTTP status, from 200 to 599.
    Http(u16),
    /// A gRPC status, from 1 to 16.
    Grpc(u32),
}
