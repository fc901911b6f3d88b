//! Weft on a real Kubernetes cluster: what the issue of a cluster's users must hold. See [`weft_tests::kube`].

use std::process::ExitCode;
use std::time::Duration;

use weft_tests::kube::run;

mod basics;
mod chart;
// mod conformance;
mod definitions;
mod install;

const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    run(|suite| {
        basics::add(suite);
        definitions::add(suite);
        chart::add(suite);
        install::add(suite);
        // conformance::add(suite);
        install::add_last(suite);
        suite.hold();
    })
}
