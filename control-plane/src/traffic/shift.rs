//! Shifts: a Service's traffic goes to a backend step by step, by itself, as long as what proxies report is good.
//!
//! ```text
//! API ──> driver ──observes──> machine (pure) ──decides──> driver ──> store: split, shift and audit in one
//!           ^  ^                                              │
//!           │  └── load reports of the backend (tally)        └──> board ──> watchers
//!           └── rollout: which proxies have the step
//! ```
//!
//! [`plan`] is what somebody asked for, [`limits`] what must hold, [`machine`] what is to be done.

mod describe;
pub mod driver;
pub mod limits;
pub mod machine;
pub mod peers;
pub mod plan;

pub(super) use describe::audit;
pub use driver::Shifter;
pub use limits::Limits;
pub use machine::{Command, State};
pub use plan::Plan;
