//! `weft-proxy linger`: returns when the application has ended, for the hook that keeps a classic sidecar from ending
//! before it.
//!
//! All containers of a pod get SIGTERM at the same moment. The application may still have requests to send and to answer
//! then, so the proxy's comes later: when nobody but the proxy listens in the pod any more.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

#[cfg(test)]
mod tests;

/// Between two looks: the kernel tells nobody that a socket was closed.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// The kubelet ends the wait long before.
const LONGEST: Duration = Duration::from_secs(3600);
/// Where the kernel lists sockets of this network namespace.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
/// `TCP_LISTEN`, as the kernel writes it.
const LISTENS: &str = "0A";

/// Wait until nobody but this user listens in the network namespace.
#[derive(Debug, clap::Args)]
pub(crate) struct LingerArgs {
    /// How long to wait in any case, such as 5s
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    at_least: Duration,
}

impl LingerArgs {
    /// Waits. A table that can't be read has nobody in it: then the least time is all there is to wait.
    pub(crate) fn run(self) -> Result<()> {
        let began = Instant::now();
        thread::sleep(self.at_least.min(LONGEST));
        let own = nix::unistd::getuid().as_raw();
        while began.elapsed() < LONGEST && TABLES.iter().any(|table| somebody_listens(Path::new(table), own)) {
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }
}

fn somebody_listens(table: &Path, own: u32) -> bool {
    std::fs::read_to_string(table).is_ok_and(|text| text.lines().skip(1).any(|line| is_of_another(line, own)))
}

/// Whether a line of the table is a listening socket of another user:
/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid ...`.
fn is_of_another(line: &str, own: u32) -> bool {
    let mut fields = line.split_ascii_whitespace();
    let state = fields.nth(3);
    let user = fields.nth(3).and_then(|text| text.parse::<u32>().ok());
    state == Some(LISTENS) && user.is_some_and(|user| user != own)
}
