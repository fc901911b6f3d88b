//! The stages that a connection passes, in order.
//!
//! ```text
//! accept ─► detect ─► http ─► route ─► upstream ─► mesh       HTTP: each request finds its way
//!                └──► opaque ─────────► upstream ─► mesh       anything else: the connection does
//! ```
//!
//! [`accept`] learns where a connection was going, [`tls`] who called on an inbound one, [`detect`] what it speaks.
//! [`http1`] and [`http`] serve HTTP/1 and HTTP/2 and ask [`route`] where each request goes; [`opaque`] does so for a connection.
//! [`forward`] prepares a request for its backend, [`attempts`] tries the backend's endpoints, [`mirror`] sends copies.
//! [`upstream`] holds what a worker keeps for each endpoint: its load, its pooled connections; [`mesh`] is the
//! transport between sidecars; [`copy`] moves bytes when nothing is left to decide.

pub(crate) mod accept;
mod affinity;
pub(crate) mod answer;
pub(crate) mod application;
mod attempts;
pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod copy;
pub(crate) mod detect;
mod discard;
pub(crate) mod exchange;
mod forward;
pub(crate) mod http;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod mesh;
pub(crate) mod mirror;
pub(crate) mod opaque;
pub(crate) mod prefixed;
pub(crate) mod rate_limit;
pub(crate) mod replay;
pub(crate) mod route;
mod scratch;
pub(crate) mod socket;
pub(crate) mod tls;
pub(crate) mod upgrade;
mod upload;
pub(crate) mod upstream;
