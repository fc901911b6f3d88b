//! Runs trials, each in a world of its own, and prints what its processes logged when one fails.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow};
use futures::FutureExt as _;
use libtest_mimic::{Arguments, Failed, Trial};
use weft_cli::world::{self, World};

/// Lines of each process's log that a failed trial prints.
const LOG_LINES: usize = 40;

/// A trial that fails when `test` does, or when it takes longer than `limit`.
pub fn trial<F, T>(name: &str, limit: Duration, test: T) -> Trial
where
    T: FnOnce(World) -> F + Send + 'static,
    F: Future<Output = Result<()>>,
{
    Trial::test(name, move || {
        let world = World::new().map_err(report)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let guarded = async { AssertUnwindSafe(test(world.clone())).catch_unwind().await };
        let outcome = runtime.block_on(async { tokio::time::timeout(limit, guarded).await });
        let result = match outcome {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(anyhow!("panicked: {}", message(panic.as_ref()))),
            Err(_) => Err(anyhow!("still at it after {limit:?}")),
        };
        runtime.shutdown_background();
        result.map_err(|error| Failed::from(format!("{error:?}\n{}", world.log_tails(LOG_LINES))))
    })
}

/// Enters namespaces, runs the trials that the command line asks for, and gives the exit code.
///
/// Must come first in `main`. Where there are no namespaces to be had, every trial fails, with the reason.
pub fn run(trials: Vec<Trial>) -> ExitCode {
    match world::enter() {
        Ok(()) => libtest_mimic::run(&Arguments::from_args(), trials).exit_code(),
        Err(error) => {
            eprintln!("These tests need network namespaces: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report(error: anyhow::Error) -> Failed {
    Failed::from(format!("{error:?}"))
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}
