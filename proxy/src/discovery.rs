//! What the control plane says: xDS streams in, immutable snapshots out.
//!
//! ```text
//!  worker threads                     control thread
//!  ──────────────                     ──────────────
//!  Directory::destination ──want──▶ Client ──subscribe by name──▶ control plane
//!        ▲                            │ ◀──────resources───────────┘
//!        │                          Graph: checks, joins, waits until all is there
//!        └──── Destination ◀─publish──┘
//!               └ Traffic ─▶ Cluster ─▶ Endpoints      (each swapped as a whole)
//! ```
//!
//! Look-ups of what is held take no lock and wake no other thread. What is held stays in force while the control plane
//! is away; a bad resource is refused by itself and its last good version stays.

mod client;
mod delta;
mod directory;
mod dns;
mod graph;
mod link;
mod resources;
mod snapshot;
mod state;
#[cfg(test)]
pub(crate) mod testing;
mod values;

pub(crate) use client::{Client, Settings};
pub(crate) use directory::{Answer, Counts, Directory};
pub(crate) use snapshot::Snapshot;
pub(crate) use state::ResourceState;
pub(crate) use values::{
    Cluster, ClusterCounters, ClusterPolicy, Destination, Endpoint, EndpointHealth, Endpoints, GlobalRule, Mtls, Place,
    PortPolicy, Protocol, RateLimits, Traffic,
};
