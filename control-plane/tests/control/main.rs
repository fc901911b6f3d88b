//! A whole control plane, as proxies, people and scripts meet it. One program, because each is another minute of compiling.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop at a surprise"
)]
#![allow(unreachable_pub, reason = "nothing here is anybody else's")]

mod configuration;
mod discovery;
mod load;
mod process;
mod shift;
mod support;
mod traffic;
