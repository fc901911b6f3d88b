//! Trials in worlds of pods: network namespaces with real sidecars, redirect rules and a control plane.
//!
//! One program for all of them, because each program is another minute of compiling. A file's name is its trials' kind:
//! `make test ARGS="--test worlds -- streams"` runs those of `streams.rs`.

mod balance;
mod breakers;
mod faults;
mod intercept;
mod names;
mod protocols;
mod rate_limits;
mod resilience;
mod retries;
mod routing;
mod security;
mod shifts;
mod streams;
mod traces;
mod traffic;
mod world;

use std::process::ExitCode;

use weft_tests::run;

fn main() -> ExitCode {
    if let Some(code) = world::play_if_told() {
        return code;
    }
    // Those that move most come last, so that they run beside no others.
    let files = [
        ("world", world::trials()),
        ("intercept", intercept::trials()),
        ("names", names::trials()),
        ("protocols", protocols::trials()),
        ("routing", routing::trials()),
        ("traffic", traffic::trials()),
        ("shifts", shifts::trials()),
        ("balance", balance::trials()),
        ("retries", retries::trials()),
        ("breakers", breakers::trials()),
        ("faults", faults::trials()),
        ("rate_limits", rate_limits::trials()),
        ("security", security::trials()),
        ("traces", traces::trials()),
        ("resilience", resilience::trials()),
        ("streams", streams::trials()),
    ];
    run(files
        .into_iter()
        .flat_map(|(file, trials)| trials.into_iter().map(move |trial| trial.with_kind(file)))
        .collect())
}
