//! `weft-proxy wait`: returns when the proxy beside it is ready, for containers that must not start before it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use weft_api::ports;

/// Between two looks: there is no event to wait for before the proxy listens.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// One look takes no longer than this.
const LOOK: Duration = Duration::from_secs(1);
/// What is read of an answer, at most.
const ANSWER_BYTES: u64 = 64 * 1024;

/// Wait until the proxy on this pod's loopback is ready.
#[derive(Debug, clap::Args)]
pub(crate) struct WaitArgs {
    /// How long to wait at most, such as 500ms, 60s or 2m
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// The proxy's port for metrics and health
    #[arg(long, value_name = "PORT", env = "WEFT_METRICS_PORT", default_value_t = ports::PROXY_METRICS)]
    metrics_port: u16,
}

impl WaitArgs {
    /// Polls `/readyz` until it answers 200.
    ///
    /// # Errors
    /// After the time-out: the last answer, or why there was none.
    pub(crate) fn run(self) -> Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.metrics_port));
        let end = Instant::now() + self.timeout;
        loop {
            let Err(error) = look(address) else { return Ok(()) };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let waited = humantime::format_duration(self.timeout);
                return Err(error.context(format!("the proxy is not ready after {waited} (http://{address}/readyz)")));
            }
            thread::sleep(LOOK_AGAIN.min(left));
        }
    }
}

fn look(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, LOOK).context("no connection: does weft-proxy run?")?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(LOOK))?;
    stream.write_all(format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).context("no answer")?;
    judge(&String::from_utf8_lossy(&answer))
}

/// Ready on any 2xx; else an error with the answer's status and body.
fn judge(answer: &str) -> Result<()> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    match status.starts_with('2') {
        true => Ok(()),
        false => bail!("it answers {status}: {}", body.trim()),
    }
}

#[cfg(test)]
mod tests;
