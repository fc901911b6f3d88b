//! The result: a table, a plot, JSON, and which targets were missed.

use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::Options;
use crate::mesh::ENDPOINTS;
use crate::scenarios::{Measured, Point};

mod plot;

/// From a change of an endpoint to the last proxy that it concerns, at p99.
const REACHES: Duration = Duration::from_millis(100);
/// Until all proxies that connect at once have what they need.
const RECONNECT: Duration = Duration::from_secs(10);
/// The control plane's resident memory: 300 MB.
const MEMORY_KIB: u64 = 300_000_000 / 1024;
/// How long after the last change of a rolling restart the last proxy has it: it keeps up, or else the work heaps up.
const BEHIND: Duration = Duration::from_secs(1);
/// The share of the rate that was asked for at which pods have to be replaced.
const RATE: f64 = 0.98;
/// What a proxy may grow by while the mesh does: 1 MB.
const GROWTH_KIB: i64 = 1_000_000 / 1024;

/// Writes what was measured to `out`. Whether all targets were met.
///
/// # Errors
/// Where nothing was measured, or the plot or `out` cannot be written.
pub(crate) fn show(out: &mut impl Write, options: &Options, measured: &Measured, growth: Option<i64>) -> Result<bool> {
    let last = measured.curve.last().context("no size of the fleet was measured")?;
    let mut missed = missed(measured, growth);
    if !options.untimed {
        missed.extend(late(options, measured, last));
    }
    write!(out, "{}", table(options, measured, growth))?;
    if let Some(path) = &options.plot {
        let drawn = std::fs::write(path, plot::svg(&about(options), &measured.curve));
        drawn.with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(out, "drawn in {}", path.display())?;
    }
    writeln!(out, "{}", plot::text(&measured.curve))?;
    if missed.is_empty() {
        let which = if options.untimed { ", times aside" } else { "" };
        writeln!(out, "all targets met{which}")?;
    }
    for missed in &missed {
        writeln!(out, "MISSED: {missed}")?;
    }
    if options.output == "json" {
        writeln!(out, "{}", object(options, measured, last, growth, &missed))?;
    }
    out.flush()?;
    Ok(missed.is_empty())
}

/// The targets that were missed, those aside that depend on how fast the machine is.
fn missed(measured: &Measured, growth: Option<i64>) -> Vec<String> {
    let mut missed = Missed::default();
    let Measured { needless, rss_peak, .. } = measured;
    missed.unless(*needless == 0, || format!("{needless} resources were sent to proxies that need none"));
    missed.unless(*rss_peak < MEMORY_KIB, || format!("the control plane has had {rss_peak} KiB, not {MEMORY_KIB}"));
    if let Some(growth) = growth {
        missed.unless(growth < GROWTH_KIB, || format!("a proxy grows by {growth} KiB with the mesh, not {GROWTH_KIB}"));
    }
    missed.0
}

/// The others.
fn late(options: &Options, measured: &Measured, last: &Point) -> Vec<String> {
    let mut missed = Missed::default();
    let Point { p99, reconnect, .. } = last;
    missed.unless(*p99 < REACHES, || format!("a change takes {p99:.1?} at p99, not {REACHES:?}"));
    missed.unless(*reconnect < RECONNECT, || format!("all proxies at once take {reconnect:.1?}, not {RECONNECT:?}"));
    let (behind, rate, asked) = (measured.restart.behind, measured.restart.rate(), options.rate);
    missed
        .unless(behind < BEHIND, || format!("the end of the rolling restart comes {behind:.1?} late, not {BEHIND:?}"));
    missed.unless(rate >= RATE * f64::from(asked), || format!("{rate:.0} pods were replaced a second, not {asked}"));
    missed.0
}

#[derive(Debug, Default)]
struct Missed(Vec<String>);

impl Missed {
    fn unless(&mut self, met: bool, text: impl FnOnce() -> String) {
        if !met {
            self.0.push(text());
        }
    }
}

fn about(options: &Options) -> String {
    let Options { services, dialled, .. } = options;
    format!("{services} Services, {} endpoints; each proxy dials {dialled} Services", services * ENDPOINTS)
}

fn table(options: &Options, measured: &Measured, growth: Option<i64>) -> String {
    let mut text = format!(
        "{}\n\
         | proxies | a change, p50 | p99 | CPU a change | all at once | CPU for that | resident |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        about(options)
    );
    for point in &measured.curve {
        let Point { proxies, p50, p99, cpu, reconnect, reconnect_cpu, rss } = point;
        let _ = writeln!(
            text,
            "| {proxies} | {:.1} ms | {:.1} ms | {:.2} ms | {:.2} s | {:.2} s | {:.0} MiB |",
            millis(*p50),
            millis(*p99),
            millis(*cpu),
            reconnect.as_secs_f64(),
            reconnect_cpu.as_secs_f64(),
            mib(*rss)
        );
    }
    let restart = &measured.restart;
    let _ = writeln!(
        text,
        "{} pods replaced, {:.0} a second: p50 {:.1} ms, p99 {:.1} ms, {:.1} ms after the last one all was told; {:.0} % of a \
         core\nready after {:.1} s; resident before the first proxy {:.0} MiB, at the end {:.0} MiB, at most {:.0} MiB; \
         {} needless pushes, {} broken streams",
        restart.changes,
        restart.rate(),
        millis(restart.p50),
        millis(restart.p99),
        millis(restart.behind),
        100.0 * restart.cpu.as_secs_f64() / restart.took.as_secs_f64(),
        measured.start.as_secs_f64(),
        mib(measured.rss_alone),
        mib(measured.rss),
        mib(measured.rss_peak),
        measured.needless,
        measured.retries
    );
    if let Some(growth) = growth {
        let _ = writeln!(
            text,
            "a proxy that dials ten Services: {growth} KiB more at {} Services than at ten",
            options.grow_to
        );
    }
    text
}

fn object(options: &Options, measured: &Measured, last: &Point, growth: Option<i64>, missed: &[String]) -> Value {
    let point = |point: &Point| {
        json!({
            "proxies": point.proxies,
            "p50_ms": rounded(millis(point.p50)),
            "p99_ms": rounded(millis(point.p99)),
            "cpu_ms_per_change": rounded(millis(point.cpu)),
            "reconnect_all_s": rounded(point.reconnect.as_secs_f64()),
            "reconnect_cpu_s": rounded(point.reconnect_cpu.as_secs_f64()),
            "rss_mib": rounded(mib(point.rss)),
        })
    };
    let restart = &measured.restart;
    json!({
        "proxies": last.proxies,
        "services": options.services,
        "endpoints": options.services * ENDPOINTS,
        "p50_ms": rounded(millis(last.p50)),
        "p99_ms": rounded(millis(last.p99)),
        "reconnect_all_s": rounded(last.reconnect.as_secs_f64()),
        "rss_mib": rounded(mib(measured.rss)),
        "rss_peak_mib": rounded(mib(measured.rss_peak)),
        "rss_alone_mib": rounded(mib(measured.rss_alone)),
        "uninterested_pushes": measured.needless,
        "broken_streams": measured.retries,
        "proxy_growth_kib": growth,
        "start_s": rounded(measured.start.as_secs_f64()),
        "restart": {
            "changes": restart.changes,
            "changes_per_s": rounded(restart.rate()),
            "p50_ms": rounded(millis(restart.p50)),
            "p99_ms": rounded(millis(restart.p99)),
            "behind_ms": rounded(millis(restart.behind)),
            "cpu_share": rounded(restart.cpu.as_secs_f64() / restart.took.as_secs_f64()),
        },
        "curve": measured.curve.iter().map(point).collect::<Vec<_>>(),
        "missed": missed,
    })
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
