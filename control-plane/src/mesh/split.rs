//! The weights that the traffic API wrote.

use std::sync::Arc;

use super::ObjectName;

/// How a Service's traffic is divided, as written through the traffic API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The Service that clients dial.
    pub service: ObjectName,
    /// Goes up with each write.
    pub version: u64,
    /// The destinations, all in the Service's own namespace.
    pub backends: Vec<SplitBackend>,
}

/// One destination of a [`Split`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitBackend {
    /// A Service in the same namespace.
    pub service: Arc<str>,
    /// The Service's port; `None`: the port that was dialled.
    pub port: Option<u16>,
    /// The share is weight / sum of weights, at most 1,000,000; 0 takes the backend out.
    pub weight: u32,
}
