//! `weft-control run`: the Weft control plane.

use clap::Parser;
use weft_control::config::Flags;

/// Two thousand proxies come at once and go again: what they leave free is to be used again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
