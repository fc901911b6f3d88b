//! The result: a table, bars, JSON, and which targets were missed.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context, Result, ensure};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value, json};
use weft_cli::world::proxy_program;
use weft_tests::plot::figure;

use crate::Options;
use crate::cells::{Measured, Sample};
use crate::figures::{Lack, Limit, Row, Target, Verdict, rows};
use crate::peers::Peer;
use crate::setting::Setting;

mod bars;

/// The peers that have columns, in their order.
const SHOWN: [Peer; 3] = [Peer::Envoy, Peer::Haproxy, Peer::Weft];

/// Writes what was measured to `out`. Whether all that must be met is met, and neither a cell nor a request of Weft's failed.
/// What was not judged is told, and no failure.
///
/// # Errors
/// Where nothing was measured, or the plot or `out` cannot be written.
pub(crate) fn show(out: &mut impl Write, options: &Options, setting: &Setting, measured: &Measured) -> Result<bool> {
    let rows = rows(measured);
    ensure!(!rows.is_empty() || !measured.failed.is_empty(), "nothing was measured: of `direct`, only `steady` is");
    let outcome = Outcome::of(measured, &rows);
    let about = about(options, setting, &rows);
    writeln!(out, "{about}\n\n{}\n", table(options, &rows))?;
    if let Some(path) = &options.plot {
        let drawn = std::fs::write(path, bars::svg(&about, &rows));
        drawn.with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(out, "drawn in {}", path.display())?;
    }
    outcome.tell(out)?;
    if options.output == "json" {
        writeln!(out, "{}", object(options, setting, measured, &rows, &outcome))?;
    }
    out.flush()?;
    Ok(outcome.is_good())
}

/// What there is to say of a run beside its figures.
#[derive(Clone, Debug)]
struct Outcome {
    /// Targets that are held against nothing, and why.
    not_judged: Vec<String>,
    /// Requests of the others that failed.
    noted: Vec<String>,
    /// Cells that came to nothing, and requests of Weft's that failed.
    failed: Vec<String>,
    /// Targets that must be met, and are not.
    missed: Vec<String>,
}

impl Outcome {
    fn of(measured: &Measured, rows: &[Row]) -> Self {
        let (mut noted, mut failed) = (Vec::new(), measured.failed.clone());
        for sample in &measured.samples {
            let count = sample.metrics.get("failed").copied().unwrap_or_default();
            if count > 0.0 {
                let told = if sample.peer == Peer::Weft { &mut failed } else { &mut noted };
                let Sample { round, workload, peer, .. } = sample;
                told.push(format!("round {round}, {workload}, {peer}: {count} requests failed"));
            }
        }
        Self { not_judged: not_judged(rows), noted, failed, missed: rows.iter().filter_map(missed).collect() }
    }

    fn is_good(&self) -> bool {
        self.failed.is_empty() && self.missed.is_empty()
    }

    fn tell(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { not_judged, noted, failed, missed } = self;
        for (what, lines) in [("not judged", not_judged), ("note", noted), ("FAILED", failed), ("MISSED", missed)] {
            for line in lines {
                writeln!(out, "{what}: {line}")?;
            }
        }
        Ok(())
    }
}

/// A line for each reason.
fn not_judged(rows: &[Row]) -> Vec<String> {
    let mut lacking: BTreeMap<Lack, Vec<&str>> = BTreeMap::new();
    for row in rows {
        if let Some(Err(lack)) = row.verdict {
            lacking.entry(lack).or_default().push(row.figure.name);
        }
    }
    lacking.iter().map(|(lack, names)| format!("{} ({lack})", names.join(", "))).collect()
}

fn missed(row: &Row) -> Option<String> {
    let must = row.verdict?.ok()?.must;
    let (weft, unit) = (row.values.get(&Peer::Weft)?, row.figure.unit);
    (!must.met).then(|| format!("{} is {} {unit}, not {}", row.figure.name, figure(*weft), figure(must.value)))
}

/// How it was measured, so that it can be compared with another result.
fn about(options: &Options, setting: &Setting, rows: &[Row]) -> String {
    let Options { rounds, seconds, .. } = options;
    let noise = rows.iter().filter_map(|row| row.noise).reduce(f64::max);
    let noise = noise.map(|noise| format!("; noise at most {} %", figure(noise))).unwrap_or_default();
    format!("A pair of sidecars, medians of {rounds} rounds of {seconds} s: {setting}{noise}")
}

fn table(options: &Options, rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(if options.markdown { presets::ASCII_MARKDOWN } else { presets::UTF8_FULL_CONDENSED });
    let [envoy, haproxy, weft] = SHOWN.map(Peer::title);
    table.set_header(["workload", envoy, haproxy, weft, "Weft / Envoy", "must", "should", "met"]);
    for row in rows {
        let name = format!("{} ({})", row.figure.name, row.figure.unit);
        let values = SHOWN.map(|peer| row.values.get(&peer).map_or_else(dash, |value| figure(*value)));
        let ratio = row.to_envoy().map_or_else(dash, |ratio| format!("{ratio:.2}"));
        let bounds = row.figure.target.map_or_else(|| [dash(), dash()], bounds);
        table.add_row([name].into_iter().chain(values).chain([ratio]).chain(bounds).chain([met(row).to_owned()]));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// What a target asks for: so many times another's figure, or figures.
fn bounds(Target { of, must, should }: Target) -> [String; 2] {
    [must, should].map(|limit| of.map_or_else(|| figure(limit), |peer| format!("{limit:.2} of {}", peer.title())))
}

/// Which of the two was met.
fn met(row: &Row) -> &'static str {
    match row.verdict {
        None => "-",
        Some(Err(_)) => "not judged",
        Some(Ok(Verdict { should: Limit { met: true, .. }, .. })) => "both",
        Some(Ok(Verdict { must: Limit { met: true, .. }, .. })) => "must",
        Some(Ok(_)) => "MISSED",
    }
}

fn dash() -> String {
    "-".to_owned()
}

fn object(options: &Options, setting: &Setting, measured: &Measured, rows: &[Row], outcome: &Outcome) -> Value {
    let samples = measured.samples.iter().map(|sample| {
        let metrics = sample.metrics.iter().map(|(name, value)| ((*name).to_owned(), rounded(*value)));
        json!({
            "round": sample.round,
            "workload": sample.workload.to_string(),
            "peer": sample.peer.to_string(),
            "metrics": metrics.collect::<Map<_, _>>(),
        })
    });
    let versions = setting.versions.iter().map(|(peer, version)| (peer.to_string(), json!(version)));
    json!({
        "rounds": options.rounds,
        "seconds": options.seconds,
        "rate": options.rate,
        "idle": options.idle,
        "weft_proxy": proxy_program().ok().map(|path| path.display().to_string()),
        "versions": versions.collect::<Map<_, _>>(),
        "commit": setting.commit,
        "cpu": setting.cpu,
        "cores": setting.cores,
        "figures": rows.iter().map(row_object).collect::<Vec<_>>(),
        "samples": samples.collect::<Vec<_>>(),
        "not_judged": outcome.not_judged,
        "noted": outcome.noted,
        "failed": outcome.failed,
        "missed": outcome.missed,
    })
}

fn row_object(row: &Row) -> Value {
    let verdict = row.verdict.and_then(Result::ok);
    let limit = |target: Target, times: f64, limit: Option<Limit>| {
        json!({
            "of": target.of.map(|peer| peer.to_string()),
            "times": target.of.map(|_| times),
            "value": limit.map(|limit| rounded(limit.value)),
            "met": limit.map(|limit| limit.met),
        })
    };
    let target = row.figure.target;
    json!({
        "figure": row.figure.name,
        "workload": row.figure.workload.to_string(),
        "unit": row.figure.unit,
        "values": row.values.iter().map(|(peer, value)| (peer.to_string(), rounded(*value))).collect::<Map<_, _>>(),
        "to_envoy": row.to_envoy().map(rounded),
        "must": target.map(|target| limit(target, target.must, verdict.map(|verdict| verdict.must))),
        "should": target.map(|target| limit(target, target.should, verdict.map(|verdict| verdict.should))),
        "noise": row.noise.map(rounded),
    })
}

/// To a thousandth; JSON has no number for what is none.
fn rounded(value: f64) -> Value {
    json!((value * 1000.0).round() / 1000.0)
}
