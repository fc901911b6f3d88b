//! `weft install`, `weft uninstall`, `weft check`.

use std::path::PathBuf;

/// `weft install ...`
#[derive(Debug, clap::Args)]
pub struct InstallArgs {
    /// A value of the chart, such as replicas=3; may be given several times (docs/reference/chart.md)
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub values: Vec<String>,
    /// A YAML file with values of the chart; may be given several times
    #[arg(short = 'f', long = "values", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print what would be installed, and install nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How long to wait until it is ready, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    pub timeout: u32,
}

/// `weft uninstall ...`
#[derive(Debug, clap::Args)]
pub struct UninstallArgs {
    /// Don't ask
    #[arg(short, long)]
    pub yes: bool,
    /// Leave Weft's own kinds and their objects (TrafficPolicy, FaultInjection, TrafficShift)
    #[arg(long)]
    pub keep_crds: bool,
    /// Leave the namespace that Weft was installed in; it stays anyway where there is something else in it
    #[arg(long)]
    pub keep_namespace: bool,
}

/// `weft check ...`
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Only what has to hold before an installation
    #[arg(long)]
    pub pre: bool,
}
