//! The Weft control plane.
//!
//! ```text
//! registry (files, or kubernetes) ─┐
//!                                  ├─> mesh (joined model) ─> xds (resources, subscriptions) ─> proxies
//! traffic (splits, shifts) ────────┘                                                             ^
//!     ^                                                       ca (attested certificates) ────────┤
//!     └── load (what the proxies report) <────────────────────────────────────────────────────────┘
//! ```
//!
//! [`app`] puts the parts together; [`config`] is everything that can be set from outside.

pub mod api;
pub mod app;
pub mod ca;
pub mod cluster;
pub mod config;
pub mod inject;
pub mod leading;
pub mod load;
pub mod mesh;
pub mod metrics;
pub mod registry;
mod serve;
pub mod status;
pub mod tls_listener;
pub mod traffic;
pub mod webhook;
pub mod xds;

pub use serve::serve;
