//! The library behind the `weft` command.
//!
//! [`args`] says what can be typed, [`run`] does it. [`world`] makes small meshes on one machine, for `weft demo` and for
//! the tests.

pub mod args;
mod check;
mod client;
mod cluster;
pub mod demo;
mod failure;
mod inject;
mod install;
mod output;
mod status;
mod text;
mod traffic;
mod uninstall;
mod why;
pub mod world;

use std::future::Future;
use std::io;
use std::process::ExitCode;

use clap::CommandFactory as _;

pub use self::failure::Failure;

use self::args::{Args, Command};

/// Runs one command line; prints its answer to standard output.
///
/// The caller must not have started a thread yet: `weft demo` enters namespaces of its own.
///
/// # Errors
/// With what happened and, where there is one, the next step; see [`Failure`].
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { global, command } = args;
    let mut out = io::stdout().lock();
    match command {
        Command::Traffic(command) => return wait_for(traffic::run(command, &global, &mut out)),
        Command::Status { namespace, resources } => wait_for(status::run(namespace, resources, &global, &mut out))?,
        Command::Why(args) => wait_for(why::run(args, &global, &mut out))?,
        Command::Inject(args) => inject::run(&args, &global, &mut out)?,
        Command::Install(args) => wait_for(install::run(args, &global, &mut out))?,
        Command::Uninstall(args) => wait_for(uninstall::run(args, &global, &mut out))?,
        Command::Check(args) => return wait_for(check::run(args, &global, &mut out)),
        Command::Completions { shell } => clap_complete::generate(shell, &mut Args::command(), "weft", &mut out),
        Command::Demo(demo) => {
            drop(out);
            return demo::run(&demo, global.output);
        }
        Command::DemoApp(app) => wait_for(demo::app::run(app))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn wait_for<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
