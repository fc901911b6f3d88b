//! HTTP/1.1 as most of it is: persistent connections, bodies that have a length or come in chunks.
//!
//! hyper reads and writes all of HTTP/1, with a task and buffers for each connection and a map of spellings for each message
//! (`docs/performance.md` has what that costs). What is here reads and writes [ordinary](head::request) messages alone, in the
//! task and at the moment at which they are forwarded, and holds no buffer while nothing comes. At the first request that is
//! anything else (an upgrade, CONNECT, `Expect`, HTTP/1.0, or nothing that is acceptable HTTP) a connection is handed over to
//! hyper, with all that was read of it, and stays there.
//!
//! ```text
//!           ┌ ordinary ─► server ─► Request<Body> ─► … ─► client ─► the next connection
//! bytes ────┤
//!           └ else ─────► hyper  ─► Request<Body> ─► … ─► hyper  ─► the next connection
//! ```
//!
//! The tests hold both against each other, byte by byte (`tests/differential.rs`).

pub mod bench;
mod body;
pub(crate) mod client;
mod framing;
mod head;
pub(crate) mod server;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use body::Http1Body;
pub(crate) use framing::FramingError;
pub(crate) use wire::Wire;

/// The most that a message's header may be long, in bytes, to be ordinary.
const MAX_HEAD: usize = super::http::MAX_HEADER_BYTES;
/// Likewise the number of its fields.
const MAX_FIELDS: usize = super::http::MAX_HEADERS;
