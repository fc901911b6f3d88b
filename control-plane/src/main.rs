//! `weft-control run`: the Weft control plane.

use clap::Parser;
use weft_control::config::Flags;

/// The Weft control plane: discovery, certificates and traffic shifting.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT.
    Run(Box<Flags>),
}

fn main() -> anyhow::Result<()> {
    let Command::Run(flags) = Cli::parse().command;
    weft_control::serve(&flags)
}
