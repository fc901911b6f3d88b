//! The result: a table, bars, JSON, and which targets were missed.

use std::io::Write;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value, json};
use weft_cli::world::proxy_program;
use weft_tests::plot::figure;

use crate::Options;
use crate::cells::Measured;
use crate::figures::{Limit, Row, rows};
use crate::peers::Peer;

mod bars;

/// The peers that have columns, in their order.
const SHOWN: [Peer; 3] = [Peer::Envoy, Peer::Haproxy, Peer::Weft];

/// Writes what was measured to `out`. Whether all that must be met is met, and no cell failed.
///
/// # Errors
/// Where nothing was measured, or the plot or `out` cannot be written.
pub(crate) fn show(out: &mut impl Write, options: &Options, measured: &Measured) -> Result<bool> {
    let rows = rows(measured);
    let missed: Vec<String> = rows.iter().filter_map(missed).collect();
    writeln!(out, "{}", table(options, &rows))?;
    if let Some(path) = &options.plot {
        let drawn = std::fs::write(path, bars::svg(&about(options), &rows));
        drawn.with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(out, "drawn in {}", path.display())?;
    }
    for sample in measured.samples.iter().filter(|sample| sample.metrics.get("failed").is_some_and(|n| *n > 0.0)) {
        let failed = sample.metrics.get("failed").copied().unwrap_or_default();
        writeln!(out, "round {}, {}, {}: {failed} requests failed", sample.round, sample.workload, sample.peer)?;
    }
    for failed in &measured.failed {
        writeln!(out, "FAILED: {failed}")?;
    }
    for missed in &missed {
        writeln!(out, "MISSED: {missed}")?;
    }
    if options.output == "json" {
        writeln!(out, "{}", object(options, measured, &rows, &missed))?;
    }
    out.flush()?;
    Ok(missed.is_empty() && measured.failed.is_empty())
}

fn about(options: &Options) -> String {
    let Options { rounds, seconds, .. } = options;
    format!("a pair of sidecars, medians of {rounds} rounds of {seconds} s")
}

fn missed(row: &Row) -> Option<String> {
    let must = row.must.filter(|must| must.met == Some(false))?;
    let (weft, unit) = (row.values.get(&Peer::Weft)?, row.figure.unit);
    Some(format!("{} is {} {unit}, not {}", row.figure.name, figure(*weft), figure(must.value)))
}

fn table(options: &Options, rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(if options.markdown { presets::ASCII_MARKDOWN } else { presets::UTF8_FULL_CONDENSED });
    let shown: Vec<Peer> = SHOWN.into_iter().filter(|peer| options.peers.contains(peer)).collect();
    let heads = shown.iter().map(Peer::to_string);
    let judged = ["Weft / Envoy", "must", "should", "noise %"].map(str::to_owned);
    table.set_header(["figure", "unit"].map(str::to_owned).into_iter().chain(heads).chain(judged));
    for row in rows {
        let values = shown.iter().map(|peer| written(row.values.get(peer).copied()));
        let ratio = row.to_envoy().map_or_else(dash, |ratio| format!("{ratio:.2}"));
        let judged = [ratio, verdict(row.must), verdict(row.should), written(row.noise)];
        let name = [row.figure.name, row.figure.unit].map(str::to_owned);
        table.add_row(name.into_iter().chain(values).chain(judged));
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn written(value: Option<f64>) -> String {
    value.map_or_else(dash, figure)
}

fn verdict(limit: Option<Limit>) -> String {
    let Some(Limit { value, of, met }) = limit else { return dash() };
    let limit = match of {
        Some((peer, factor)) => format!("{factor:.2} of {peer}"),
        None => figure(value),
    };
    match met {
        Some(true) => format!("{limit}: met"),
        Some(false) => format!("{limit}: MISSED"),
        None => limit,
    }
}

fn dash() -> String {
    "-".to_owned()
}

fn object(options: &Options, measured: &Measured, rows: &[Row], missed: &[String]) -> Value {
    let limit = |limit: Limit| {
        json!({
            "value": rounded(limit.value),
            "of": limit.of.map(|(peer, _)| peer.to_string()),
            "times": limit.of.map(|(_, factor)| factor),
            "met": limit.met,
        })
    };
    let row = |row: &Row| {
        json!({
            "figure": row.figure.name,
            "workload": row.figure.workload.to_string(),
            "unit": row.figure.unit,
            "values": row.values.iter().map(|(peer, value)| (peer.to_string(), rounded(*value))).collect::<Map<_, _>>(),
            "to_envoy": row.to_envoy().map(rounded),
            "must": row.must.map(limit),
            "should": row.should.map(limit),
            "noise": row.noise.map(rounded),
        })
    };
    let samples = measured.samples.iter().map(|sample| {
        let metrics = sample.metrics.iter().map(|(name, value)| ((*name).to_owned(), rounded(*value)));
        json!({
            "round": sample.round,
            "workload": sample.workload.to_string(),
            "peer": sample.peer.to_string(),
            "metrics": metrics.collect::<Map<_, _>>(),
        })
    });
    json!({
        "rounds": options.rounds,
        "seconds": options.seconds,
        "rate": options.rate,
        "idle": options.idle,
        "weft_proxy": proxy_program().ok().map(|path| path.display().to_string()),
        "figures": rows.iter().map(row).collect::<Vec<_>>(),
        "samples": samples.collect::<Vec<_>>(),
        "failed": measured.failed,
        "missed": missed,
    })
}

/// To a thousandth; JSON has no number for what is none.
fn rounded(value: f64) -> Value {
    json!((value * 1000.0).round() / 1000.0)
}
