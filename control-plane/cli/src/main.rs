//! The `weft` command: exit code 0 when done, 1 on failure (also of a shift of traffic that was rolled back), 2 when the
//! command line is wrong.

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use clap::Parser as _;
use weft_cli::args::Args;

fn main() -> ExitCode {
    match weft_cli::run(Args::parse()) {
        Ok(code) => code,
        // Whoever read the output, such as `head`, has seen enough.
        Err(error) if error.downcast_ref().is_some_and(|io: &io::Error| io.kind() == ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
