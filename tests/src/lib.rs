//! Worlds of pods in network namespaces, and what must hold in them.
//!
//! Each folder in `tests/tests` is one program: it enters namespaces of its own, then runs its trials, each in
//! a [`World`](weft_cli::world::World) of its own. Applications and clients run in this process, on threads inside
//! the pods' namespaces ([`apps`], [`client`]); proxies and the control plane are the real programs.

pub mod apps;
pub mod capture;
pub mod cast;
pub mod client;
pub mod collector;
pub mod duo;
mod harness;
pub mod kube;
pub mod load;
pub mod message;
pub mod pattern;
pub mod plot;
pub mod quantile;
pub mod server_hello;

pub use self::harness::{run, trial};
