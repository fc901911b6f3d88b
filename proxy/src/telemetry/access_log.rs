//! The access log: one line on standard output for each request or opaque connection.
//!
//! Lines are made by the worker and written by a thread of their own, through a bounded queue: when whoever reads the
//! log is slow, lines are dropped and counted, and traffic goes on. Everything that came from outside is escaped, so that
//! nobody can forge a line or control a terminal.

mod flags;
mod line;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::TraceId;
use prometheus_client::metrics::counter::Counter;

use super::metrics::Direction;
use crate::config::{AccessLog as Mode, LogFormat};

pub(crate) use flags::{Flag, Flags};

/// Lines that wait to be written; more are dropped.
const QUEUE: usize = 4096;

/// The workers' end. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct AccessLog {
    mode: Mode,
    format: LogFormat,
    /// None where the log is off.
    lines: Option<SyncSender<String>>,
    dropped: Counter,
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct Writer {
    /// Closed when the thread has written everything.
    ended: Receiver<()>,
}

/// What a line tells. Fields that are not known are left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// When it ended.
    pub(crate) time: SystemTime,
    /// Which way it went.
    pub(crate) direction: Direction,
    /// The request's method.
    pub(crate) method: Option<&'a str>,
    /// The request's path, without the query, which often carries secrets.
    pub(crate) path: Option<&'a str>,
    /// `HTTP/1.1`, `HTTP/2`, `tcp`.
    pub(crate) protocol: &'a str,
    /// The status of the answer; none where there was none, as for an opaque connection.
    pub(crate) status: Option<u16>,
    /// Why it failed, or why the proxy answered: a short name, such as `connect_failed`. None: it did not fail.
    pub(crate) reason: Option<&'a str>,
    /// The same in Envoy's short names, and what else was out of the ordinary.
    pub(crate) flags: Flags,
    /// Bytes of the body from and to the client.
    pub(crate) bytes: Option<(u64, u64)>,
    /// From its first to its last byte.
    pub(crate) duration: Duration,
    /// The other side's SPIFFE id.
    pub(crate) peer: Option<&'a str>,
    /// `NAMESPACE/SERVICE:PORT`, or the address that was dialled.
    pub(crate) destination: &'a str,
    /// Where it went.
    pub(crate) upstream: Option<SocketAddr>,
    /// The trace that it belongs to.
    pub(crate) trace_id: Option<TraceId>,
}

impl AccessLog {
    /// Starts the log on standard output. Ending it takes two steps: drop all `AccessLog`s, then [`Writer::finish`].
    ///
    /// # Errors
    /// Where the thread cannot be started.
    pub(crate) fn start(mode: Mode, format: LogFormat, dropped: Counter) -> io::Result<(Self, Writer)> {
        Self::start_to(io::stdout(), mode, format, dropped)
    }

    fn start_to(
        output: impl Write + Send + 'static,
        mode: Mode,
        format: LogFormat,
        dropped: Counter,
    ) -> io::Result<(Self, Writer)> {
        let (end, ended) = mpsc::sync_channel(0);
        let lines = if mode == Mode::Off {
            None
        } else {
            let (sender, receiver) = mpsc::sync_channel(QUEUE);
            thread::Builder::new().name("access-log".to_owned()).spawn(move || {
                write_all(output, &receiver);
                drop(end);
            })?;
            Some(sender)
        };
        Ok((Self { mode, format, lines, dropped }, Writer { ended }))
    }

    /// Whether a line is wanted, so that nothing need be gathered for one that is not. Errors are requests without an
    /// answer, with one of 500 and above, or with a reason.
    pub(crate) fn wants(&self, status: Option<u16>, reason: Option<&str>) -> bool {
        match self.mode {
            Mode::Off => false,
            Mode::Errors => reason.is_some() || status.is_some_and(|status| status >= 500),
            Mode::All => true,
        }
    }

    /// Writes a line if it is [wanted](Self::wants). Never waits: without room it is dropped and counted.
    pub(crate) fn record(&self, entry: &Entry<'_>) {
        if let Some(lines) = &self.lines
            && self.wants(entry.status, entry.reason)
            && lines.try_send(line::line(self.format, entry)).is_err()
        {
            self.dropped.inc();
        }
    }
}

impl Writer {
    /// Waits until what is in the queue is written, at most for `limit`, and for as long if an `AccessLog` is left.
    pub(crate) fn finish(self, limit: Duration) {
        // An answer is never sent: the channel is closed, or the time is over.
        let _ = self.ended.recv_timeout(limit);
    }
}

/// Writes lines as they come, those that are there already with one call.
fn write_all(mut output: impl Write, lines: &Receiver<String>) {
    let mut block = String::new();
    while let Ok(first) = lines.recv() {
        block.push_str(&first);
        block.extend(lines.try_iter().take(QUEUE));
        if let Err(error) = output.write_all(block.as_bytes()).and_then(|()| output.flush()) {
            tracing::warn!(%error, "access-log lines are lost");
        }
        block.clear();
    }
}
