//! The mesh -> xDS: what each connected proxy subscribes to, holds, and is sent.
//!
//! ```text
//! Mesh ──publish──> Publisher ──marks what changed──> Subscriber (one a stream) ──wakes──> session
//!                     │  index: name -> streams          │  what was sent, ACKed, NACKed      │
//!                     └─ resources, serialized once <────┴───────── looks up, sends ──────────┘
//! ```
//!
//! `server` is the gRPC service; a stream runs a `session` over a `protocol`, delta or state of the world. Nothing
//! is queued for a stream: it holds the set of names that may differ from what it sent, and looks each up when the
//! client is ready for more, so a slow client gets the newest state and costs no memory.

mod per_kind;
mod protocol;
mod publisher;
pub mod resources;
mod server;
mod session;
mod subscriber;
mod subscriptions;

pub use publisher::Publisher;
pub use server::Discovery;
pub(crate) use session::authorize;
pub use subscriber::{HeldResource, Subscriber};

/// The most names that a stream subscribes to.
pub const MAX_SUBSCRIPTIONS: usize = 10_000;
/// The longest name of a resource, in bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// The most streams at once.
pub const MAX_STREAMS: usize = 20_000;
/// The most streams of one pod at once: a proxy has one, proxyless clients one a process.
pub const MAX_STREAMS_A_POD: usize = 16;
