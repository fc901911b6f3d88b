//! Weft on a real Kubernetes cluster: what must hold for those who run it there. See [`weft_tests::kube`].

use std::process::ExitCode;
use std::time::Duration;

use weft_tests::kube::run;

mod authority;
mod availability;
mod basics;
mod certificates;
mod chart;
mod command;
mod conformance;
mod definitions;
mod docs;
mod identity;
mod injection;
mod install;
mod pods;
mod probes;
mod streams;
mod traffic;

const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    run(|suite| {
        basics::add(suite);
        definitions::add(suite);
        chart::add(suite);
        docs::add(suite);
        install::add(suite);
        injection::add(suite);
        pods::add(suite);
        probes::add(suite);
        streams::add(suite);
        identity::add(suite);
        authority::add(suite);
        availability::add(suite);
        conformance::add(suite);
        traffic::add(suite);
        install::add_last(suite);
        authority::add_last(suite);
        command::add_last(suite);
        suite.hold();
    })
}
