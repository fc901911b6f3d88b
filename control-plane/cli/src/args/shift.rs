//! `weft traffic shift ...`

use clap::{Args, Subcommand};

use super::Namespace;

/// Shifts traffic, or looks after a shift that is under way.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct ShiftArgs {
    /// What to do with a shift that there is; without it, one begins.
    #[command(subcommand)]
    pub command: Option<ShiftCommand>,
    /// The Service that is dialled
    #[arg(required = true)]
    pub service: Option<String>,
    /// The Service that traffic goes to: `v2` also finds the Service `SERVICE-v2`; a port is added as in `v2:8080`
    #[arg(long, required = true, value_name = "BACKEND")]
    pub to: Option<Target>,
    /// Its shares in percent, one after the other
    #[arg(long, value_name = "PERCENT,...", value_delimiter = ',', default_value = "5,25,50,100",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub steps: Vec<u32>,
    /// For how long each step is watched before the next, from when all proxies have it
    #[arg(long, value_name = "TIME", default_value = "1m")]
    pub interval: String,
    /// What takes the traffic back at once: error-rate>PERCENT%, pNN>TIME
    #[arg(long, value_name = "LIMIT,...", default_value = "error-rate>1%")]
    pub abort_if: String,
    /// By how many requests to the backend a step is judged at least; below that it waits
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub min_requests: u64,
    /// Return as soon as the first step is written, instead of following the shift until its end
    #[arg(short, long)]
    pub detach: bool,
    /// Where the Service is.
    #[command(flatten)]
    pub place: Namespace,
}

/// `weft traffic shift pause ...` and the like.
#[derive(Debug, Subcommand)]
pub enum ShiftCommand {
    /// How a shift stands; without a Service, all shifts
    Status {
        /// The Service that is dialled
        service: Option<String>,
        /// The Service's namespace [default: default; without a Service: all]
        #[arg(short, long, value_name = "NS")]
        namespace: Option<String>,
        /// Follow it until its end
        #[arg(short, long, requires = "service")]
        follow: bool,
    },
    /// Stay at the step that it has come to; it is still guarded
    Pause(OfService),
    /// Go on; the step is watched anew
    Resume(OfService),
    /// Go to the last step at once
    Promote(OfService),
    /// Put back the weights that were before, at once
    Abort(OfService),
}

/// A shift by its Service.
#[derive(Debug, Args)]
pub struct OfService {
    /// The Service that is dialled
    pub service: String,
    /// Where the Service is.
    #[command(flatten)]
    pub place: Namespace,
}

/// `BACKEND` or `BACKEND:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The backend's Service, or the part of its name after `SERVICE-`.
    pub service: String,
    /// The Service's port; 0: the port that was dialled.
    pub port: u32,
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (service, port) = super::backend(text)?;
        if service.is_empty() {
            return Err(format!("'{text}' names no backend"));
        }
        Ok(Self { service, port })
    }
}
