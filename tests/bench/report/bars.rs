//! The figures as bars: a panel for each, Weft's beside the others', and lines at what must and what should be met.

use weft_tests::plot::{Bar, Sheet};

use super::SHOWN;
use crate::figures::Row;
use crate::peers::Peer;

/// Panels side by side.
const COLUMNS: usize = 4;
const MUST: &str = "#c33";
const SHOULD: &str = "#393";

pub(super) fn svg(about: &str, rows: &[Row]) -> String {
    let about = format!("{about}; red: what Weft must not exceed, green: what it should not");
    let mut sheet = Sheet::new(&about, rows.len(), COLUMNS);
    for row in rows {
        let bars: Vec<Bar> = SHOWN.into_iter().filter_map(|peer| bar(row, peer)).collect();
        let verdict = row.verdict.and_then(Result::ok);
        let limits = verdict.map(|verdict| [(verdict.must.value, MUST), (verdict.should.value, SHOULD)]);
        let limits = limits.into_iter().flatten();
        let most = bars.iter().map(|bar| bar.value).chain(limits.clone().map(|(value, _)| value)).fold(0.0, f64::max);
        let mut panel = sheet.panel(row.figure.name, row.figure.unit, most);
        panel.bars(&bars);
        limits.for_each(|(value, color)| panel.limit(value, color));
    }
    sheet.finish()
}

fn bar(row: &Row, peer: Peer) -> Option<Bar> {
    let color = match peer {
        Peer::Direct => "#ddd",
        Peer::Envoy => "#aaa",
        Peer::Haproxy => "#888",
        Peer::Weft => "#27c",
    };
    row.values.get(&peer).map(|value| Bar { value: *value, label: peer.to_string(), color })
}
