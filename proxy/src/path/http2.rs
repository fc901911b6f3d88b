//! HTTP/2 (RFC 9113) by the h2 crate alone: with applications, and what the transport between sidecars has in common with it.

mod body;
pub(super) mod client;
pub(super) mod ping;
pub(crate) mod server;

pub(crate) use body::Http2Body;
pub(super) use body::send_body;
