//! What people see while the demo runs: steps as lines that stay, and the state, redrawn in place on a terminal and a
//! line each second elsewhere.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use parking_lot::Mutex;
use weft_api::traffic::{Backend, Split};

use super::counters::Counted;
use super::histogram::Histogram;
use super::load::{Totals, Window};
use crate::args::Output;
use crate::text;

/// The width of a bar, in characters.
const BAR: usize = 36;

/// The state at one moment.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    /// Since the traffic began.
    pub(super) elapsed: Duration,
    /// The split in force.
    pub(super) split: Option<&'a Split>,
    /// What came since the last frame.
    pub(super) window: &'a Window,
    /// The time that the window covers.
    pub(super) window_length: Duration,
    /// What came since the beginning.
    pub(super) totals: &'a Totals,
    /// What the proxies have counted.
    pub(super) counted: &'a Counted,
    /// Spans that reached a collector.
    pub(super) spans: u64,
}

/// Where the demo's progress goes: standard output, or standard error where JSON is asked for.
#[derive(Debug)]
pub(super) struct View {
    to_stderr: bool,
    is_terminal: bool,
    /// Lines of the frame that is on the terminal now.
    drawn: Mutex<usize>,
}

impl View {
    /// For this form of output.
    pub(super) fn new(output: Output) -> Self {
        let to_stderr = output == Output::Json;
        let is_terminal = if to_stderr { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
        Self { to_stderr, is_terminal, drawn: Mutex::new(0) }
    }

    /// Prints a line that stays.
    pub(super) fn step(&self, line: &str) {
        let mut drawn = self.drawn.lock();
        self.write(&format!("{}{line}\n", erase(*drawn)));
        *drawn = 0;
    }

    /// Shows the state.
    pub(super) fn frame(&self, frame: &Frame<'_>) {
        if !self.is_terminal {
            return self.write(&(frame.line() + "\n"));
        }
        let lines = frame.block();
        let mut drawn = self.drawn.lock();
        // Without line wrap, so that the number of lines is known.
        self.write(&format!("{}\x1b[?7l{}\n\x1b[?7h", erase(*drawn), lines.join("\n")));
        *drawn = lines.len();
    }

    /// A reader that has gone is no reason to stop.
    fn write(&self, text: &str) {
        let bytes = text.as_bytes();
        drop(match self.to_stderr {
            true => io::stderr().write_all(bytes),
            false => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
        });
    }
}

/// The control sequence that erases the last `lines` lines.
fn erase(lines: usize) -> String {
    if lines == 0 { String::new() } else { format!("\x1b[{lines}A\x1b[J") }
}

impl Frame<'_> {
    /// The state in one line.
    fn line(&self) -> String {
        let answers: u64 = self.window.versions.values().sum();
        let shares: Vec<_> = self
            .window
            .versions
            .iter()
            .map(|(version, count)| format!("{version} {}", share(*count, answers)))
            .collect();
        let shares = if shares.is_empty() { "no answers".to_owned() } else { shares.join(", ") };
        format!(
            "{}  {shares}  {}/s  {}  failed {}  mTLS {}  spans {}",
            clock(self.elapsed),
            self.rate(answers),
            latencies(&self.window.latencies),
            self.totals.failed,
            self.counted.mtls_requests,
            self.spans
        )
    }

    /// The state in a block of lines.
    fn block(&self) -> Vec<String> {
        let answers: u64 = self.window.versions.values().sum();
        let mut lines =
            vec![format!("{}  {}", clock(self.elapsed), self.split.map_or_else(|| "no split".to_owned(), held))];
        let mut versions: BTreeSet<&str> = ["v1", "v2"].into();
        versions.extend(self.window.versions.keys().map(String::as_str));
        for version in versions {
            let count = self.window.versions.get(version).copied().unwrap_or_default();
            let filled = (count as usize * BAR).checked_div(answers as usize).unwrap_or_default().min(BAR);
            let bar = "█".repeat(filled) + &"░".repeat(BAR - filled);
            lines.push(format!(
                "  web → api {version}  {bar}  {:>6}  {:>4}/s",
                share(count, answers),
                self.rate(count)
            ));
        }
        let Totals { requests, failed, .. } = self.totals;
        lines.push(format!("  requests {requests}   failed {failed}   {}", latencies(&self.window.latencies)));
        lines.push(format!("  mutual TLS {} requests   spans {}   peers:", self.counted.mtls_requests, self.spans));
        lines.extend(self.counted.identities.iter().map(|identity| format!("    {identity}")));
        lines
    }

    fn rate(&self, count: u64) -> u64 {
        (count as f64 / self.window_length.as_secs_f64().max(0.001)).round() as u64
    }
}

/// A split in force: `api = v1 90 %, v2 10 %  (version 1, held by 1 of 1 proxies)`.
fn held(split: &Split) -> String {
    let rollout = split.rollout.clone().unwrap_or_default();
    format!(
        "{}  (version {}, held by {} of {} proxies)",
        weights(split),
        split.version,
        rollout.current,
        rollout.proxies
    )
}

/// A split's weights: `api = v1 90 %, v2 10 %`.
pub(super) fn weights(split: &Split) -> String {
    let sum = split.backends.iter().map(|backend| backend.weight).fold(0, i64::saturating_add);
    let prefix = format!("{}-", split.service);
    let share = |backend: &Backend| {
        let version = backend.service.strip_prefix(&prefix).unwrap_or(&backend.service);
        format!("{version} {}", text::share(backend.weight, sum))
    };
    format!("{} = {}", split.service, split.backends.iter().map(share).collect::<Vec<_>>().join(", "))
}

/// `p50 2.1 ms  p99 6.3 ms`.
pub(super) fn latencies(histogram: &Histogram) -> String {
    let quantile =
        |q| histogram.quantile(q).map_or_else(|| "-".to_owned(), |d| format!("{:.1} ms", d.as_secs_f64() * 1e3));
    format!("p50 {}  p99 {}", quantile(0.5), quantile(0.99))
}

fn share(count: u64, of: u64) -> String {
    text::share(i64::try_from(count).unwrap_or(i64::MAX), i64::try_from(of).unwrap_or(i64::MAX))
}

fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests;
